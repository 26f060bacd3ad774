//! The worker's own binary: its settings, and the adapters that they name.

mod settings;

pub use self::settings::{DatabaseSettings, SnapshotterSettings};
