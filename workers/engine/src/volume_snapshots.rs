//! The port to volume snapshots and restore claims.
//!
//! Contract, held by `testkit::volume_snapshots_contract` on every adapter:
//! - The claim is the lock. A target has one fixed-name claim; [`VolumeSnapshots::acquire`] creates it for one version and
//!   only the first of any number of racing callers gets it. So the claim comes *before* the volume snapshot. In
//!   Kubernetes that is the restore claim, a PVC whose `dataSource` names a VolumeSnapshot that does not exist yet: it
//!   stays Pending until [`VolumeSnapshots::ensure_snapshot`] has made it, and creating it is the atomic step.
//! - Teardown goes the other way: the volume snapshot first, the claim last, so that a teardown that was cut short still
//!   shows in [`VolumeSnapshots::held`] and nobody takes the lock meanwhile. Neither waits for the other to be gone, and
//!   no finalizer is ever patched away.
//! - Every verb may be called again, by the same life or the next, after success and after any error; a second call
//!   changes nothing that is done. After an error it is unknown whether the call took effect.
//! - Nobody retries inside an adapter beyond what its client library does: the event's redelivery does.
//! - A verb whose future is dropped leaves nothing that a later call of the same verb, or `release`, does not put right.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use polkashots_shared::ids::{TargetId, Version};

/// Takes volume snapshots and holds the restore claims made of them.
#[async_trait]
pub trait VolumeSnapshots: Send + Sync {
    /// Takes the target's claim for `version`, or says which version has it. The version that has it acquires it again.
    async fn acquire(&self, target: &TargetId, version: Version) -> Result<Acquire, VolumeSnapshotError>;

    /// Makes the volume snapshot of `version`, once, and waits until its claim can be read.
    ///
    /// The target's claim must be held by `version`, otherwise a transient error. A call after success returns the same
    /// [`Ready`]: a volume snapshot is never taken anew under the same version once it was returned.
    async fn ensure_snapshot(&self, target: &TargetId, version: Version) -> Result<Ready, VolumeSnapshotError>;

    /// Removes the volume snapshot of `version`, and the claim where `version` holds it; another version's are untouched.
    ///
    /// Something missing is not an error, nor is a target that is not configured any more.
    async fn release(&self, target: &TargetId, version: Version) -> Result<(), VolumeSnapshotError>;

    /// Everything that is there, of every target, finished or not, ordered by target and version.
    async fn held(&self) -> Result<Vec<Held>, VolumeSnapshotError>;
}

/// What became of [`VolumeSnapshots::acquire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquire {
    /// The caller's version holds the claim.
    Acquired,
    /// Another version does.
    Busy {
        /// The version that holds it.
        held_by: Version,
    },
}

/// A volume snapshot whose claim can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The volume snapshot's name.
    pub name: String,
    /// The claim's name.
    pub claim: String,
    /// When the volume snapshot was taken, in whole seconds.
    pub taken_at: DateTime<Utc>,
}

/// Something that is there and has to be released some day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its target.
    pub target: TargetId,
    /// Its version.
    pub version: Version,
    /// When it came to be.
    pub since: DateTime<Utc>,
    /// What it is.
    pub kind: HeldKind,
}

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeldKind {
    /// The target's claim: the lock.
    Claim,
    /// A volume snapshot, whole or half made.
    VolumeSnapshot,
}

/// Says what went wrong at the volumes.
#[derive(Debug, thiserror::Error)]
pub enum VolumeSnapshotError {
    /// A later call may succeed.
    #[error("{operation} {name}: {source}")]
    Transient {
        /// What was tried.
        operation: &'static str,
        /// The volume snapshot or target.
        name: String,
        /// The adapter's own error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No later call will succeed without a person's help.
    #[error("{operation} {name}: {source}")]
    Permanent {
        /// What was tried.
        operation: &'static str,
        /// The volume snapshot or target.
        name: String,
        /// The adapter's own error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The volume snapshot was not ready in time; trying again would take as long.
    #[error("{operation} {name}: not done within {}: {hint}", humane(.deadline))]
    DeadlineExceeded {
        /// What was tried.
        operation: &'static str,
        /// The volume snapshot or target.
        name: String,
        /// The time that it had.
        deadline: Duration,
        /// What the person can do.
        hint: String,
    },
}

impl VolumeSnapshotError {
    /// True where the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }
}

/// A duration as people write it: `90s`, `15m`.
fn humane(duration: &Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}
