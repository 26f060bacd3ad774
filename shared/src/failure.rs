//! The record of a snapshot that will not be: `<target>/<version>.failed.json`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Payload, SnapshotFailed};
use crate::ids::{TargetId, Version};
use crate::names;
use crate::ports::object_store::{Headers, ObjectStore, Precondition, StoreError};

/// The largest failure record that is read, in bytes.
pub const MAX_FAILURE_BYTES: u64 = 64 * 1024;
/// Longer reasons are cut to this many characters.
const MAX_REASON_CHARS: usize = 2000;

/// Why a snapshot failed; the site shows it until it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The snapshot's target.
    pub target: TargetId,
    /// The snapshot's version.
    pub version: Version,
    /// The worker that gave up.
    pub worker: String,
    /// Why, as a chain of causes on one line.
    pub reason: String,
    /// When the worker gave up.
    pub failed_at: DateTime<Utc>,
}

/// The failure that giving up on `event` means; `None` where no snapshot depends on the event.
pub fn of_event(worker: &str, event: &Event, reason: &str) -> Option<SnapshotFailed> {
    let version = match &event.payload {
        Payload::Tick(_) => Version::from_time(event.time),
        Payload::VolumeSnapshotReady(ready) => ready.version,
        Payload::SnapshotUploaded(uploaded) => uploaded.version,
        Payload::SnapshotFailed(_) | Payload::SnapshotPublished(_) => return None,
    };
    Some(SnapshotFailed {
        target: event.payload.target().clone(),
        version,
        worker: worker.to_owned(),
        reason: reason.chars().take(MAX_REASON_CHARS).collect(),
    })
}

/// Writes the record, once; false where the snapshot did not fail: its manifest is there, and for the publisher, which may
/// refuse a manifest, its signature.
pub async fn record(
    store: &dyn ObjectStore,
    failed: &SnapshotFailed,
    failed_at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let (target, version) = (&failed.target, failed.version);
    let proof = match failed.worker.as_str() {
        "publisher" => names::manifest_signature_key(target, version),
        _ => names::manifest_key(target, version),
    };
    if store.head(&proof).await?.is_some() {
        return Ok(false);
    }
    let failure = Failure {
        target: target.clone(),
        version,
        worker: failed.worker.clone(),
        reason: failed.reason.clone(),
        failed_at,
    };
    let bytes = serde_json::to_vec_pretty(&failure).expect("strings and times always serialise");
    let headers = Headers::immutable("application/json");
    match store.put(&names::failure_key(target, version), bytes.into(), Precondition::Create, &headers).await {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}
