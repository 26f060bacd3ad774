//! The worker's own binary: its settings, and the adapters that they name.

mod settings;
#[cfg(feature = "cloud")]
mod wiring;

pub use self::settings::{DatabaseSettings, SnapshotterSettings};
#[cfg(feature = "cloud")]
pub use self::wiring::service;
