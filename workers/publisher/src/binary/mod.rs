//! The worker's own binary: its settings, and the adapters that they name.

#[cfg(feature = "cloud")]
mod observed;
#[cfg(feature = "cloud")]
mod rollback;
mod settings;
#[cfg(feature = "cloud")]
mod wiring;

use polkashots_shared::event::Topic;

#[cfg(feature = "cloud")]
pub use self::rollback::rollback_if_asked;
pub use self::settings::{PublisherSettings, RollbackSettings, SigningSettings, SiteHostLocation, SiteHostSettings};
#[cfg(feature = "cloud")]
pub use self::wiring::service;

/// The topics that the publisher reads.
pub const TOPICS: [Topic; 2] = [Topic::SnapshotUploaded, Topic::SnapshotFailed];
/// The topics that it writes to.
pub const EMITS: [Topic; 2] = [Topic::SnapshotPublished, Topic::SnapshotFailed];
