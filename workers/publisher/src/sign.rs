//! Signing: what an unsigned manifest names is read whole and compared before the key is used.
//!
//! The signature of the sums is written first, the one of the manifest last: it is what makes a snapshot complete. A
//! snapshot whose files are missing or wrong is refused: a failure record says why, it is never listed, and no other
//! snapshot is affected. A refused snapshot is not read again; delete its `.failed.json` to have it checked once more.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use polkashots_shared::event::SnapshotFailed;
use polkashots_shared::failure::{self, Failure};
use polkashots_shared::ids::{Sha256, TargetId, Version};
use polkashots_shared::manifest::{Artifact, FileRef, Manifest};
use polkashots_shared::minisign;
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{Headers, ObjectStore, Precondition, StoreError};
use polkashots_shared::target::{Format, Target};
use polkashots_shared::tree;
use sha2::Digest;
use tracing::{error, info};

use crate::catalog::{Catalog, Signature, Snapshot, TargetCatalog};
use crate::{Deps, NAME, PublishError};

/// The largest list of SHA-256 sums that is read, in bytes.
const MAX_SUMS_BYTES: u64 = 1024 * 1024;
/// How many files of a tree are read at the same time.
const PARALLEL_FILES: usize = 8;
/// What the reason of a refusal starts with; other failures of the publisher are tried again.
const REFUSED: &str = "not signed: ";

/// Says why a snapshot is not signed.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{key} is not there, the manifest names it")]
    Missing { key: String },
    #[error("{key} is {found} bytes, the manifest says {expected}")]
    Size { key: String, found: u64, expected: u64 },
    #[error("{key} has SHA-256 {found}, the manifest says {expected}")]
    Digest { key: String, found: Sha256, expected: Sha256 },
    #[error("{key}: {reason}")]
    Sums { key: String, reason: String },
    #[error("genesis is {found}, the chain {chain} of target {target} has {expected}")]
    Genesis { target: TargetId, chain: String, found: String, expected: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Signs every unsigned manifest whose files are right and refuses the others; true where anything was written.
pub async fn sign_all(deps: &Deps, catalog: &Catalog) -> Result<bool, PublishError> {
    let mut wrote = false;
    for (id, found) in &catalog.targets {
        let Some(target) = deps.targets.get(id) else { continue };
        for snapshot in unsigned(found) {
            wrote |= sign_or_refuse(deps, target, snapshot).await?;
        }
    }
    Ok(wrote)
}

/// The reason for which a snapshot was refused, if it was.
pub fn refusal(found: &TargetCatalog, version: Version) -> Option<&str> {
    found.failures.get(&version).filter(|failure| is_refusal(failure)).map(|failure| failure.reason.as_str())
}

/// The trusted comment of a snapshot's signatures.
pub fn trusted_comment(manifest: &Manifest) -> String {
    format!(
        "target={} version={} genesis={} height={} hash={}",
        manifest.target, manifest.version, manifest.chain.genesis_hash, manifest.block.height, manifest.block.hash
    )
}

fn is_refusal(failure: &Failure) -> bool {
    failure.worker == NAME && failure.reason.starts_with(REFUSED)
}

fn unsigned(found: &TargetCatalog) -> impl Iterator<Item = &Snapshot> {
    found
        .snapshots
        .iter()
        .filter(|(version, snapshot)| {
            matches!(snapshot.signature, Signature::Missing)
                && !found.retired.contains_key(version)
                && refusal(found, **version).is_none()
        })
        .map(|(_, snapshot)| snapshot)
}

async fn sign_or_refuse(deps: &Deps, target: &Target, snapshot: &Snapshot) -> Result<bool, PublishError> {
    let manifest = &snapshot.manifest;
    match check(deps.store.as_ref(), target, manifest).await {
        Ok(sums) => sign(deps, snapshot, &sums).await.map(|()| true),
        Err(Refusal::Store(error)) => Err(error.into()),
        Err(refusal) => Ok(refuse(deps, manifest, &refusal).await.map(|()| true)?),
    }
}

async fn refuse(deps: &Deps, manifest: &Manifest, refusal: &Refusal) -> Result<(), StoreError> {
    let (target, version) = (&manifest.target, manifest.version);
    error!(%target, %version, %refusal, "snapshot refused: not signed, not listed");
    let failed =
        SnapshotFailed { target: target.clone(), version, worker: NAME.into(), reason: format!("{REFUSED}{refusal}") };
    failure::record(deps.store.as_ref(), &failed, deps.clock.now()).await.map(|_| ())
}

async fn sign(deps: &Deps, snapshot: &Snapshot, sums: &[u8]) -> Result<(), PublishError> {
    let (target, version) = (&snapshot.manifest.target, snapshot.manifest.version);
    let comment = trusted_comment(&snapshot.manifest);
    let sums_signature = names::sums_key(target, version) + names::SIGNATURE_SUFFIX;
    put_signature(deps, &sums_signature, sums, &comment).await?;
    put_signature(deps, &names::manifest_signature_key(target, version), &snapshot.bytes, &comment).await?;
    info!(%target, %version, height = snapshot.manifest.block.height, "signed");
    Ok(())
}

/// Create-only. A signature that is there already stays: the next reading of the store judges it.
async fn put_signature(deps: &Deps, key: &str, signed: &[u8], comment: &str) -> Result<(), PublishError> {
    let text = minisign::sign(&deps.signing_key, signed, comment)?;
    let headers = Headers::immutable("text/plain; charset=utf-8");
    match deps.store.put(key, text.into(), Precondition::Create, &headers).await {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads every file that the manifest names; returns the sums, which are signed too.
async fn check(store: &dyn ObjectStore, target: &Target, manifest: &Manifest) -> Result<Vec<u8>, Refusal> {
    if manifest.chain.genesis_hash != target.chain.genesis_hash {
        return Err(Refusal::Genesis {
            target: target.id.clone(),
            chain: target.chain.name.clone(),
            found: manifest.chain.genesis_hash.to_string(),
            expected: target.chain.genesis_hash.to_string(),
        });
    }
    let sums = check_sums(store, manifest).await?;
    for file in manifest.referenced_files() {
        check_file(store, &manifest.key_of(&file.file), &file).await?;
    }
    if let Some(list) = manifest.artifact(Format::Tree) {
        check_tree(store, manifest, list).await?;
    }
    Ok(sums)
}

/// Reads every file of the tree, whose list of digests is the manifest's artifact.
async fn check_tree(store: &dyn ObjectStore, manifest: &Manifest, list: &Artifact) -> Result<(), Refusal> {
    let key = manifest.key_of(&list.file);
    let wrong = |error: &dyn std::fmt::Display| Refusal::Sums { key: key.clone(), reason: error.to_string() };
    let bytes = match store.get(&key, tree::MAX_SUMS_BYTES).await {
        Ok(object) => object.bytes,
        Err(StoreError::NotFound { .. }) => return Err(Refusal::Missing { key }),
        Err(error @ StoreError::TooLarge { .. }) => return Err(wrong(&error)),
        Err(error) => return Err(error.into()),
    };
    let files = tree::sums_from_bytes(&bytes, manifest.version).map_err(|error| wrong(&error))?;
    let checks = files.into_iter().map(|file| check_tree_file(store, manifest.key_of(&file.path), file.sha256));
    futures::stream::iter(checks).buffered(PARALLEL_FILES).try_collect().await
}

async fn check_tree_file(store: &dyn ObjectStore, key: String, expected: Sha256) -> Result<(), Refusal> {
    let Some(meta) = store.head(&key).await? else { return Err(Refusal::Missing { key }) };
    let found = match digest(store, &key, meta.size).await {
        Err(StoreError::NotFound { .. }) => return Err(Refusal::Missing { key }),
        found => found?,
    };
    if found != expected {
        return Err(Refusal::Digest { key, found, expected });
    }
    Ok(())
}

async fn check_file(store: &dyn ObjectStore, key: &str, expected: &FileRef) -> Result<(), Refusal> {
    let key = key.to_owned();
    let Some(meta) = store.head(&key).await? else { return Err(Refusal::Missing { key }) };
    if meta.size != expected.size {
        return Err(Refusal::Size { key, found: meta.size, expected: expected.size });
    }
    let found = match digest(store, &key, meta.size).await {
        Err(StoreError::NotFound { .. }) => return Err(Refusal::Missing { key }),
        found => found?,
    };
    if found != expected.sha256 {
        return Err(Refusal::Digest { key, found, expected: expected.sha256 });
    }
    Ok(())
}

async fn digest(store: &dyn ObjectStore, key: &str, size: u64) -> Result<Sha256, StoreError> {
    let mut hasher = sha2::Sha256::new();
    if size > 0 {
        let mut chunks = store.read(key, 0..size).await?;
        while let Some(chunk) = chunks.next().await {
            hasher.update(chunk?);
        }
    }
    Ok(Sha256(hasher.finalize().into()))
}

async fn check_sums(store: &dyn ObjectStore, manifest: &Manifest) -> Result<Vec<u8>, Refusal> {
    let key = names::sums_key(&manifest.target, manifest.version);
    let bytes = match store.get(&key, MAX_SUMS_BYTES).await {
        Ok(object) => object.bytes,
        Err(StoreError::NotFound { .. }) => return Err(Refusal::Missing { key }),
        Err(error @ StoreError::TooLarge { .. }) => return Err(Refusal::Sums { key, reason: error.to_string() }),
        Err(error) => return Err(error.into()),
    };
    match sums_agree(&bytes, manifest) {
        Ok(()) => Ok(bytes.to_vec()),
        Err(reason) => Err(Refusal::Sums { key, reason }),
    }
}

/// Every artifact has its line, and every line is that of a file the manifest names.
fn sums_agree(bytes: &[u8], manifest: &Manifest) -> Result<(), String> {
    let named: BTreeMap<String, Sha256> =
        manifest.referenced_files().map(|file| (file.file.clone(), file.sha256)).collect();
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let mut listed = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let parsed = line.split_once("  ").and_then(|(sum, file)| Some((sum.parse::<Sha256>().ok()?, file)));
        let Some((sum, file)) = parsed else {
            return Err(format!("line {}: expected a SHA-256, two spaces and a file name", number + 1));
        };
        if named.get(file) != Some(&sum) {
            return Err(format!("line {}: {file:?} with {sum} is not what the manifest names", number + 1));
        }
        listed.push(file);
    }
    match manifest.artifacts.iter().find(|artifact| !listed.contains(&artifact.file.as_str())) {
        Some(artifact) => Err(format!("{:?} has no line", artifact.file)),
        None => Ok(()),
    }
}
