//! The worker's own binary: its settings, and the adapters that they name.

mod settings;
#[cfg(feature = "cloud")]
mod wiring;

use polkashots_shared::event::Topic;

pub use self::settings::{DatabaseSettings, SnapshotterSettings};
#[cfg(feature = "cloud")]
pub use self::wiring::service;

/// The topics that the snapshotter reads.
pub const TOPICS: [Topic; 1] = [Topic::VolumeSnapshotReady];
/// The topics that it writes to.
pub const EMITS: [Topic; 2] = [Topic::SnapshotUploaded, Topic::SnapshotFailed];
