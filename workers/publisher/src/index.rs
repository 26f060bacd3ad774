//! The index in the store: a pure function of the catalog, swapped by generation, then signed.
//!
//! Index and signature are two objects, so a reader may see one of before a swap and one of after it: where the
//! signature does not match, it reads both again, and gives up after a few tries. Writers cannot leave them apart: both
//! are swapped by the generation seen at the start of a run, and a run that finds either changed starts again.

use std::collections::BTreeMap;

use bytes::Bytes;
use polkashots_shared::ids::TargetId;
use polkashots_shared::index::{Index, IndexSnapshot, IndexTarget, MAX_INDEX_BYTES, SCHEMA};
use polkashots_shared::minisign::{self, SecretKey, SignatureError};
use polkashots_shared::names::{INDEX_KEY, INDEX_SIGNATURE_KEY};
use polkashots_shared::ports::object_store::{Headers, Object, ObjectStore, Precondition, StoreError};
use polkashots_shared::target::Target;
use tracing::{info, warn};

use crate::PublishError;
use crate::catalog::{Catalog, MAX_SIGNATURE_BYTES, Signature};

/// The index of a catalog: of every configured target the newest complete snapshots, as many as it keeps.
pub fn build(catalog: &Catalog, targets: &BTreeMap<TargetId, Target>, archive_url: &str) -> Index {
    let entry = |(id, target): (&TargetId, &Target)| {
        let found = catalog.targets.get(id)?;
        let snapshots: Vec<IndexSnapshot> = found
            .listed(target.retention.keep)
            .map(|(_, snapshot)| IndexSnapshot::new(&snapshot.manifest, &snapshot.bytes))
            .collect();
        (!snapshots.is_empty()).then(|| IndexTarget {
            id: id.clone(),
            permalink: target.permalink.clone(),
            chain: target.chain.clone(),
            snapshots,
        })
    };
    Index { schema: SCHEMA, archive_url: archive_url.to_owned(), targets: targets.iter().filter_map(entry).collect() }
}

/// The index with its signature, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIndex {
    /// `index.json`.
    pub bytes: Bytes,
    /// `index.json.minisig`.
    pub signature: Bytes,
}

impl SignedIndex {
    /// Signs an index; the same index gives the same bytes.
    pub fn new(index: &Index, key: &SecretKey) -> Result<Self, SignatureError> {
        let bytes = Bytes::from(index.to_bytes());
        let newest = index.targets.iter().filter_map(|target| target.snapshots.first()).map(|s| s.version).max();
        let newest = newest.map_or("none".to_owned(), |version| version.to_string());
        let comment = format!("index targets={} newest={newest}", index.targets.len());
        let signature = Bytes::from(minisign::sign(key, &bytes, &comment)?);
        Ok(Self { bytes, signature })
    }
}

/// The index and its signature as a run found them; what it writes replaces only these.
#[derive(Debug)]
pub struct StoredIndex {
    index: Option<Object>,
    signature: Option<Object>,
}

/// What became of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The store holds the new index with its signature.
    Done,
    /// Somebody else changed one of them meanwhile: read everything again.
    Changed,
}

impl StoredIndex {
    /// Reads both; to be called before the catalog is read.
    pub async fn read(store: &dyn ObjectStore) -> Result<Self, StoreError> {
        Ok(Self {
            index: get(store, INDEX_KEY, MAX_INDEX_BYTES).await?,
            signature: get(store, INDEX_SIGNATURE_KEY, MAX_SIGNATURE_BYTES).await?,
        })
    }

    /// Refuses a new index in which a target's newest version would go backwards.
    ///
    /// A version whose manifest is gone was withdrawn by a person and may go.
    pub fn check_not_backwards(&self, new: &Index, catalog: &Catalog) -> Result<(), PublishError> {
        let Some(old) = self.parse()? else { return Ok(()) };
        for target in &old.targets {
            let Some(found) = catalog.targets.get(&target.id) else { continue };
            let Some(newest) = target.snapshots.first().map(|snapshot| snapshot.version) else { continue };
            let now = new.find(target.id.as_str()).and_then(|target| target.snapshots.first()).map(|s| s.version);
            if now >= Some(newest) {
                continue;
            }
            let (target, version) = (target.id.clone(), newest);
            match found.snapshots.get(&newest).map(|snapshot| &snapshot.signature) {
                Some(Signature::Invalid(reason)) => {
                    return Err(PublishError::Backwards { target, version, reason: reason.clone() });
                }
                _ => warn!(%target, %version, "newest version withdrawn: its manifest or signature is gone"),
            }
        }
        Ok(())
    }

    /// Puts the new index, then its signature; what is there already is not written again.
    pub async fn swap(&self, store: &dyn ObjectStore, new: &SignedIndex) -> Result<Swap, StoreError> {
        if put(store, INDEX_KEY, self.index.as_ref(), &new.bytes, "application/json").await? == Swap::Changed {
            return Ok(Swap::Changed);
        }
        put(store, INDEX_SIGNATURE_KEY, self.signature.as_ref(), &new.signature, "text/plain; charset=utf-8").await
    }

    fn parse(&self) -> Result<Option<Index>, PublishError> {
        let Some(object) = &self.index else { return Ok(None) };
        let index: Index = serde_json::from_slice(&object.bytes)
            .map_err(|error| PublishError::Index { reason: format!("{error}; delete it to have it written anew") })?;
        if index.schema > SCHEMA {
            let reason = format!("schema {}, this program writes {SCHEMA}: update polkashots", index.schema);
            return Err(PublishError::Index { reason });
        }
        Ok(Some(index))
    }
}

/// True where the store's index is `bytes`.
pub async fn is_current(store: &dyn ObjectStore, bytes: &Bytes) -> Result<bool, StoreError> {
    Ok(get(store, INDEX_KEY, MAX_INDEX_BYTES).await?.is_some_and(|object| object.bytes == *bytes))
}

async fn get(store: &dyn ObjectStore, key: &str, max_bytes: u64) -> Result<Option<Object>, StoreError> {
    match store.get(key, max_bytes).await {
        Ok(object) => Ok(Some(object)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn put(
    store: &dyn ObjectStore,
    key: &str,
    before: Option<&Object>,
    bytes: &Bytes,
    content_type: &str,
) -> Result<Swap, StoreError> {
    let precondition = match before {
        Some(object) if object.bytes == *bytes => return Ok(Swap::Done),
        Some(object) => Precondition::Generation(object.meta.generation.clone()),
        None => Precondition::Create,
    };
    match store.put(key, bytes.clone(), precondition, &Headers::no_cache(content_type)).await {
        Ok(_) => {
            info!(key, size_bytes = bytes.len(), "swapped");
            Ok(Swap::Done)
        }
        Err(StoreError::Changed { .. } | StoreError::AlreadyExists { .. } | StoreError::NotFound { .. }) => {
            Ok(Swap::Changed)
        }
        Err(error) => Err(error),
    }
}
