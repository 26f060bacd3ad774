//! The worker's own binary: its settings, and the adapters that they name.

mod name_pattern;
#[cfg(feature = "cloud")]
mod observed;
mod permissions;
mod settings;
#[cfg(feature = "cloud")]
mod wiring;

use polkashots_shared::event::Topic;

pub use self::name_pattern::NamePattern;
pub use self::permissions::{PERMISSIONS, Permission};
pub use self::settings::{EngineSettings, VolumeSettings};
#[cfg(feature = "cloud")]
pub use self::wiring::service;

/// The topics that the engine reads.
pub const TOPICS: [Topic; 3] = [Topic::Tick, Topic::SnapshotUploaded, Topic::SnapshotFailed];
/// The topics that it writes to.
pub const EMITS: [Topic; 2] = [Topic::VolumeSnapshotReady, Topic::SnapshotFailed];
