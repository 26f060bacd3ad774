//! `latest_version.meta.txt`: the version of the newest listed snapshot with a tree, as Parity's chart asks for it.
//!
//! Written once the index with that snapshot is in the store, and removed when no listed snapshot has a tree any more, so it
//! never names a tree that is not there. It is swapped like the index: of two publishers the slower one starts again.

use std::collections::BTreeMap;

use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{Headers, Object, ObjectStore, Precondition, StoreError};
use polkashots_shared::target::{Format, Target};
use tracing::info;

use crate::catalog::{Catalog, Snapshot, TargetCatalog};
use crate::index::Swap;

/// The largest such file that is read, in bytes; a version and its newline are 16.
const MAX_BYTES: u64 = 1024;

/// Points every target that has or had trees at the newest one that is listed.
pub async fn point(
    store: &dyn ObjectStore,
    catalog: &Catalog,
    targets: &BTreeMap<TargetId, Target>,
) -> Result<Swap, StoreError> {
    for (id, found) in &catalog.targets {
        let Some(target) = targets.get(id) else { continue };
        if !found.snapshots.values().any(has_tree) {
            continue;
        }
        if point_target(store, id, found, target.retention.keep).await? == Swap::Changed {
            return Ok(Swap::Changed);
        }
    }
    Ok(Swap::Done)
}

fn has_tree(snapshot: &Snapshot) -> bool {
    snapshot.manifest.artifact(Format::Tree).is_some()
}

async fn point_target(
    store: &dyn ObjectStore,
    id: &TargetId,
    found: &TargetCatalog,
    keep: u32,
) -> Result<Swap, StoreError> {
    let key = names::latest_tree_key(id);
    let current = match store.get(&key, MAX_BYTES).await {
        Ok(object) => Some(object),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    let newest = found.listed(keep).find(|(_, snapshot)| has_tree(snapshot)).map(|(version, _)| version);
    let Some(newest) = newest else {
        if current.is_some() {
            store.delete(&key).await?;
            info!(key, "no listed snapshot has a tree any more");
        }
        return Ok(Swap::Done);
    };
    if named(current.as_ref()) == Some(newest) || is_newer(store, id, current.as_ref(), newest).await? {
        return Ok(Swap::Done);
    }
    let precondition =
        current.map_or(Precondition::Create, |current| Precondition::Generation(current.meta.generation));
    let headers = Headers::no_cache("text/plain; charset=utf-8");
    match store.put(&key, format!("{newest}\n").into(), precondition, &headers).await {
        Ok(_) => info!(key, version = %newest, "newest tree"),
        Err(StoreError::AlreadyExists { .. } | StoreError::Changed { .. }) => return Ok(Swap::Changed),
        Err(error) => return Err(error),
    }
    Ok(Swap::Done)
}

fn named(current: Option<&Object>) -> Option<Version> {
    std::str::from_utf8(&current?.bytes).ok()?.trim().parse().ok()
}

/// True where somebody else published a newer tree since this run read the store.
async fn is_newer(
    store: &dyn ObjectStore,
    id: &TargetId,
    current: Option<&Object>,
    newest: Version,
) -> Result<bool, StoreError> {
    match named(current).filter(|current| *current > newest) {
        Some(current) => Ok(store.head(&names::manifest_signature_key(id, current)).await?.is_some()),
        None => Ok(false),
    }
}
