//! The catalog: what lies in the store, read once, as plain values that everything else is computed from.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use polkashots_shared::failure::{Failure, MAX_FAILURE_BYTES};
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::manifest::{MAX_MANIFEST_BYTES, Manifest};
use polkashots_shared::minisign::{self, PublicKey};
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{ObjectMeta, ObjectStore, StoreError};
use polkashots_shared::target::Target;
use serde::{Deserialize, Serialize};
use tracing::warn;

/// The largest signature that is read, in bytes.
pub const MAX_SIGNATURE_BYTES: u64 = 16 * 1024;
/// The largest record of a retirement that is read, in bytes.
const MAX_RETIREMENT_BYTES: u64 = 4 * 1024;
/// How many objects are read at the same time.
const PARALLEL_READS: usize = 16;

/// What lies in the store, of the configured targets.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Every configured target, with or without snapshots.
    pub targets: BTreeMap<TargetId, TargetCatalog>,
}

/// What lies in the store of one target.
#[derive(Debug, Clone, Default)]
pub struct TargetCatalog {
    /// Snapshots with a readable manifest.
    pub snapshots: BTreeMap<Version, Snapshot>,
    /// Versions whose manifest cannot be read, and why.
    pub unreadable: BTreeMap<Version, String>,
    /// Records of snapshots that failed.
    pub failures: BTreeMap<Version, Failure>,
    /// Records of snapshots that left the index.
    pub retired: BTreeMap<Version, Retirement>,
    /// Every object of every version.
    pub objects: BTreeMap<Version, Vec<ObjectMeta>>,
}

/// One snapshot whose manifest is there.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The manifest.
    pub manifest: Manifest,
    /// Its bytes, as they are signed.
    pub bytes: Bytes,
    /// Its signature.
    pub signature: Signature,
}

/// What is known of a manifest's signature.
#[derive(Debug, Clone)]
pub enum Signature {
    /// There is none yet.
    Missing,
    /// A known key made it: the snapshot is complete. The text of the `.minisig` file.
    Valid(String),
    /// No known key made it, and what the check said.
    Invalid(String),
}

/// The record of a snapshot's leaving of the index: `<target>/<version>.retired.json`. It is never listed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// When the index without it was in the store; the grace period starts here.
    pub left_at: DateTime<Utc>,
}

impl TargetCatalog {
    /// The complete snapshots, newest first: signed by a known key.
    pub fn complete(&self) -> impl Iterator<Item = (Version, &Snapshot)> {
        self.snapshots
            .iter()
            .rev()
            .filter(|(_, snapshot)| matches!(snapshot.signature, Signature::Valid(_)))
            .map(|(version, snapshot)| (*version, snapshot))
    }

    /// The complete snapshots that never left the index, newest first, at most `keep`.
    pub fn listed(&self, keep: u32) -> impl Iterator<Item = (Version, &Snapshot)> {
        self.complete().filter(|(version, _)| !self.retired.contains_key(version)).take(keep.max(1) as usize)
    }
}

/// Reads the store. An object that vanishes between the listing and the reading counts as not there.
pub async fn read(
    store: &dyn ObjectStore,
    targets: &BTreeMap<TargetId, Target>,
    keys: &[PublicKey],
) -> Result<Catalog, StoreError> {
    let mut catalog = Catalog::default();
    for target in targets.keys() {
        let found = read_target(store, target, keys).await?;
        catalog.targets.insert(target.clone(), found);
    }
    Ok(catalog)
}

async fn read_target(
    store: &dyn ObjectStore,
    target: &TargetId,
    keys: &[PublicKey],
) -> Result<TargetCatalog, StoreError> {
    let mut found = TargetCatalog::default();
    for meta in store.list(&names::target_prefix(target)).await? {
        let Some((owner, version, _)) = names::parse_object_key(&meta.key) else { continue };
        if owner == *target {
            found.objects.entry(version).or_default().push(meta);
        }
    }
    let versions: Vec<Version> = found.objects.keys().copied().collect();
    let records: Vec<Records> = futures::stream::iter(versions)
        .map(|version| read_version(store, target, version, &found.objects[&version], keys))
        .buffered(PARALLEL_READS)
        .try_collect()
        .await?;
    for records in records {
        records.sort_into(&mut found);
    }
    Ok(found)
}

/// What the small objects of one version say.
struct Records {
    version: Version,
    manifest: Option<Result<Snapshot, String>>,
    failure: Option<Failure>,
    retired: Option<Retirement>,
}

impl Records {
    fn sort_into(self, found: &mut TargetCatalog) {
        match self.manifest {
            Some(Ok(snapshot)) => drop(found.snapshots.insert(self.version, snapshot)),
            Some(Err(reason)) => drop(found.unreadable.insert(self.version, reason)),
            None => {}
        }
        if let Some(failure) = self.failure {
            found.failures.insert(self.version, failure);
        }
        if let Some(retired) = self.retired {
            found.retired.insert(self.version, retired);
        }
    }
}

async fn read_version(
    store: &dyn ObjectStore,
    target: &TargetId,
    version: Version,
    objects: &[ObjectMeta],
    keys: &[PublicKey],
) -> Result<Records, StoreError> {
    let there = |key: String| objects.iter().any(|meta| meta.key == key).then_some(key);
    let mut records = Records { version, manifest: None, failure: None, retired: None };
    if let Some(key) = there(names::failure_key(target, version)) {
        records.failure = read_json(store, &key, MAX_FAILURE_BYTES).await?;
    }
    if let Some(key) = there(names::retirement_key(target, version)) {
        records.retired = read_json(store, &key, MAX_RETIREMENT_BYTES).await?;
    }
    if let Some(key) = there(names::manifest_key(target, version)) {
        let signature = there(names::manifest_signature_key(target, version));
        records.manifest = read_snapshot(store, target, version, &key, signature.as_deref(), keys).await?;
    }
    Ok(records)
}

async fn read_snapshot(
    store: &dyn ObjectStore,
    target: &TargetId,
    version: Version,
    key: &str,
    signature_key: Option<&str>,
    keys: &[PublicKey],
) -> Result<Option<Result<Snapshot, String>>, StoreError> {
    let bytes = match get(store, key, MAX_MANIFEST_BYTES).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error @ StoreError::TooLarge { .. }) => return Ok(Some(Err(error.to_string()))),
        Err(error) => return Err(error),
    };
    let manifest = match parse(&bytes, target, version) {
        Ok(manifest) => manifest,
        Err(reason) => {
            warn!(%target, %version, reason, "manifest not listed");
            return Ok(Some(Err(reason)));
        }
    };
    let signature = match signature_key {
        Some(key) => read_signature(store, key, &bytes, keys).await?,
        None => Signature::Missing,
    };
    if let Signature::Invalid(reason) = &signature {
        warn!(%target, %version, reason, "manifest not listed: no known key made its signature");
    }
    Ok(Some(Ok(Snapshot { manifest, bytes, signature })))
}

fn parse(bytes: &[u8], target: &TargetId, version: Version) -> Result<Manifest, String> {
    let manifest = Manifest::from_bytes(bytes).map_err(|error| error.to_string())?;
    if manifest.target != *target || manifest.version != version {
        return Err(format!(
            "manifest says it is {} {}, expected {target} {version} from its name",
            manifest.target, manifest.version
        ));
    }
    Ok(manifest)
}

async fn read_signature(
    store: &dyn ObjectStore,
    key: &str,
    signed: &[u8],
    keys: &[PublicKey],
) -> Result<Signature, StoreError> {
    let Some(bytes) = get(store, key, MAX_SIGNATURE_BYTES).await? else { return Ok(Signature::Missing) };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut refused = None;
    for key in keys {
        match minisign::verify(key, signed, &text) {
            Ok(_) => return Ok(Signature::Valid(text)),
            Err(error) => refused = refused.or(Some(error.to_string())),
        }
    }
    Ok(refused.map_or(Signature::Missing, Signature::Invalid))
}

async fn get(store: &dyn ObjectStore, key: &str, max_bytes: u64) -> Result<Option<Bytes>, StoreError> {
    match store.get(key, max_bytes).await {
        Ok(object) => Ok(Some(object.bytes)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a small record; one that cannot be understood is reported and counts as not there.
async fn read_json<T: for<'de> Deserialize<'de>>(
    store: &dyn ObjectStore,
    key: &str,
    max_bytes: u64,
) -> Result<Option<T>, StoreError> {
    let bytes = match get(store, key, max_bytes).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error @ StoreError::TooLarge { .. }) => {
            warn!(key, %error, "record ignored");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let parsed = serde_json::from_slice(&bytes);
    if let Err(error) = &parsed {
        warn!(key, %error, "record ignored");
    }
    Ok(parsed.ok())
}
