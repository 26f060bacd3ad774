//! `volume-snapshot.ready` in, artifacts and a manifest in the store, `snapshot.uploaded` out.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use polkashots_shared::event::{Event, Payload, SnapshotUploaded, VolumeSnapshotReady};
use polkashots_shared::failure::{Failure, MAX_FAILURE_BYTES};
use polkashots_shared::ids::{BlockHash, DatabaseKind, TargetId, Version};
use polkashots_shared::names;
use polkashots_shared::ports::chain_database::{ChainDatabase, ChainDatabaseError, DatabaseLocation, Identity};
use polkashots_shared::ports::object_store::{ObjectStore, StoreError};
use polkashots_shared::target::{Format, Target};
use polkashots_shared::worker::{HandleError, Outcome, Worker};

use crate::blocks::{BlocksError, Exporter};
use crate::claim::ClaimMount;
use crate::error::ArchiveError;
use crate::snapshot;

/// The worker's name in events, logs and failure records.
pub(crate) const NAME: &str = "snapshotter";

/// Everything that the handler acts through.
#[derive(Clone)]
pub struct Deps {
    /// The targets that this host snapshots.
    pub targets: Arc<BTreeMap<TargetId, Target>>,
    /// Where artifacts go.
    pub store: Arc<dyn ObjectStore>,
    /// Reads the database's identity.
    pub chain_database: Arc<dyn ChainDatabase>,
    /// Where restore claims are mounted.
    pub claims: ClaimMount,
    /// Exports blocks, for targets with that format; none where no node is at hand.
    pub exporter: Option<Exporter>,
}

/// The worker for the shared loop.
#[derive(Clone)]
pub struct Snapshotter(
    /// What it acts through.
    pub Deps,
);

#[async_trait]
impl Worker for Snapshotter {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn handle(&self, event: &Event) -> Result<Outcome, HandleError> {
        handle(event, &self.0).await
    }
}

/// Uploads the snapshot that a `volume-snapshot.ready` asks for.
///
/// Called again after the manifest was written, it changes nothing and tells of it again. Called again after a part of the
/// work, it makes the same bytes again and finds those that are there already. A snapshot with a failure record stays
/// failed. A claim that is not there may be mounted late, so that is tried again up to the last attempt.
pub async fn handle(event: &Event, deps: &Deps) -> Result<Outcome, HandleError> {
    let Payload::VolumeSnapshotReady(ready) = &event.payload else {
        return Err(HandleError::permanent(SnapshotError::OtherEvent { found: event.payload.topic().to_string() }));
    };
    upload(ready, deps).await.map_err(SnapshotError::into_handle_error)?;
    let uploaded = SnapshotUploaded {
        target: ready.target.clone(),
        version: ready.version,
        manifest: names::manifest_key(&ready.target, ready.version),
    };
    Ok(Outcome::emit(Event::new(NAME, event.time, Payload::SnapshotUploaded(uploaded))))
}

async fn upload(ready: &VolumeSnapshotReady, deps: &Deps) -> Result<(), SnapshotError> {
    let target = known_target(&ready.target, deps)?;
    let store = deps.store.as_ref();
    if store.head(&names::manifest_key(&ready.target, ready.version)).await?.is_some() {
        return Ok(());
    }
    refuse_failed(store, ready).await?;
    refuse_without_node(target, deps)?;
    let location = deps.claims.locate(ready, target)?;
    let identity = deps.chain_database.identity(&location).await?;
    check_identity(&identity, &location, target)?;
    let source = snapshot::Source { target, version: ready.version, taken_at: ready.taken_at, location, identity };
    let manifest = snapshot::upload_artifacts(&source, deps.exporter.as_ref(), store).await?;
    // The engine may have given the snapshot up meanwhile: its claim is then gone, and so must be the wish to publish it.
    refuse_failed(store, ready).await?;
    snapshot::commit(&manifest, store).await
}

fn known_target<'a>(id: &TargetId, deps: &'a Deps) -> Result<&'a Target, SnapshotError> {
    deps.targets.get(id).ok_or_else(|| {
        let known: Vec<&str> = deps.targets.keys().map(TargetId::as_str).collect();
        SnapshotError::UnknownTarget { target: id.clone(), known: known.join(", ") }
    })
}

async fn refuse_failed(store: &dyn ObjectStore, ready: &VolumeSnapshotReady) -> Result<(), SnapshotError> {
    let key = names::failure_key(&ready.target, ready.version);
    let reason = match store.get(&key, MAX_FAILURE_BYTES).await {
        Err(StoreError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(object) => serde_json::from_slice::<Failure>(&object.bytes).map(|failure| failure.reason),
    };
    let reason = reason.unwrap_or_else(|error| format!("unreadable record: {error}"));
    Err(SnapshotError::FailedBefore { version: ready.version, reason })
}

fn refuse_without_node(target: &Target, deps: &Deps) -> Result<(), SnapshotError> {
    if target.formats.contains(&Format::BlocksZst) && deps.exporter.is_none() {
        return Err(SnapshotError::NoNode { target: target.id.clone() });
    }
    Ok(())
}

fn check_identity(identity: &Identity, location: &DatabaseLocation, target: &Target) -> Result<(), SnapshotError> {
    let path = || location.full_dir();
    if identity.database != target.database {
        return Err(SnapshotError::Kind { path: path(), found: identity.database, expected: target.database });
    }
    let chain = &target.chain;
    if identity.genesis_hash != chain.genesis_hash {
        let (found, expected) = (identity.genesis_hash, chain.genesis_hash);
        return Err(SnapshotError::Genesis { path: path(), found, expected, chain: chain.name.clone() });
    }
    let (Some(expected), Some(found)) = (pruning_mode(&target.pruning), identity.pruning.as_deref()) else {
        return Ok(());
    };
    if expected == found {
        return Ok(());
    }
    Err(SnapshotError::Pruning { path: path(), found: found.to_owned(), expected, pruning: target.pruning.clone() })
}

/// The database's word for a node's `--state-pruning`; `None` where it says nothing that the database would.
fn pruning_mode(setting: &str) -> Option<&'static str> {
    match setting {
        "archive" => Some("archive"),
        "archive-canonical" | "archive_canonical" => Some("archive_canonical"),
        blocks if blocks.parse::<u32>().is_ok() => Some("constrained"),
        _ => None,
    }
}

/// Says why a snapshot was not uploaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The event is not this worker's.
    #[error("snapshotter handles volume-snapshot-ready events, found {found}: check the subscription's topic")]
    OtherEvent {
        /// Its topic.
        found: String,
    },
    /// The event names a target that is not configured.
    #[error("unknown target {target}: this host has {known}; add it to the configuration or correct the event")]
    UnknownTarget {
        /// The target named.
        target: TargetId,
        /// The targets configured.
        known: String,
    },
    /// The event names a claim that is not its target's.
    #[error("event names claim {found:?}, expected {expected:?}: engine and snapshotter must be of one version")]
    Claim {
        /// The claim named.
        found: String,
        /// The target's claim.
        expected: String,
    },
    /// The claim is not mounted, or no longer.
    #[error("restore claim {}: {source}: expected a mounted folder with the database in it", path.display())]
    NoClaim {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The snapshot failed before; a version is tried once.
    #[error("snapshot {version} has failed already ({reason}): ask for a new one with a tick")]
    FailedBefore {
        /// The snapshot's version.
        version: Version,
        /// The recorded reason.
        reason: String,
    },
    /// Blocks are asked for, and there is no node to export them.
    #[error(
        "target {target}: format \"blocks.zst\" needs the chain's own node: name it with --node-binary or \
         POLKASHOTS_NODE_BINARY, or leave the format out"
    )]
    NoNode {
        /// The target.
        target: TargetId,
    },
    /// The blocks could not be exported.
    #[error("{artifact}: {source}")]
    Blocks {
        /// The artifact's key.
        artifact: String,
        /// Why.
        source: BlocksError,
    },
    /// The database has no readable identity.
    #[error(transparent)]
    Identity(#[from] ChainDatabaseError),
    /// The database is of the other engine.
    #[error("{}: holds a {found} database, expected {expected}: set database = \"{found}\"", path.display())]
    Kind {
        /// The database.
        path: PathBuf,
        /// Its engine.
        found: DatabaseKind,
        /// The target's engine.
        expected: DatabaseKind,
    },
    /// The database is of another chain.
    #[error(
        "{}: genesis is {found}, expected {expected} of chain {chain}: the target reads another chain's database, or its \
         chain is misconfigured",
        path.display()
    )]
    Genesis {
        /// The database.
        path: PathBuf,
        /// Its genesis.
        found: BlockHash,
        /// The chain's genesis.
        expected: BlockHash,
        /// The chain's name.
        chain: String,
    },
    /// The database is pruned otherwise than the target says.
    #[error(
        "{}: state pruning is {found}, expected {expected} as the target says pruning = \"{pruning}\": correct the target \
         or the node's --state-pruning",
        path.display()
    )]
    Pruning {
        /// The database.
        path: PathBuf,
        /// The mode that the database says.
        found: String,
        /// The mode that the target means.
        expected: &'static str,
        /// The target's setting.
        pruning: String,
    },
    /// The archive could not be made.
    #[error("{artifact}: {source}")]
    Archive {
        /// The artifact's key.
        artifact: String,
        /// Why.
        source: ArchiveError,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SnapshotError {
    fn is_transient(&self) -> bool {
        match self {
            Self::NoClaim { .. } => true,
            Self::Identity(ChainDatabaseError::Io { source, .. }) => !is_permission_denied(source.as_ref()),
            Self::Archive { source, .. } => source.is_transient(),
            Self::Blocks { source, .. } => source.is_transient(),
            Self::Store(error) => error.is_transient(),
            _ => false,
        }
    }

    fn into_handle_error(self) -> HandleError {
        if self.is_transient() { HandleError::transient(self) } else { HandleError::permanent(self) }
    }
}

fn is_permission_denied(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_settings_map_to_what_databases_say() {
        assert_eq!(pruning_mode("archive"), Some("archive"));
        assert_eq!(pruning_mode("archive-canonical"), Some("archive_canonical"));
        assert_eq!(pruning_mode("256"), Some("constrained"));
        assert_eq!(pruning_mode("by hand"), None);
    }
}
