//! Volume snapshots on one machine, each target by the method that its source is configured with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use polkashots_shared::adapters::chain::locate;
use polkashots_shared::clock::Clock;
use polkashots_shared::ids::{DatabaseKind, TargetId, Version};
use polkashots_shared::ports::chain_database::DatabaseLocation;
use polkashots_shared::target::Target;
use tracing::warn;

use super::btrfs;
use super::copy;
use super::error::LocalError;
use super::quiesce::{self, Quiesce};
use super::state::StateFolder;
use super::tree::Limit;
use crate::{Acquire, Held, Ready, VolumeSnapshotError, VolumeSnapshots};

/// How a target's volume snapshots are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A copy of the database folder, with shared blocks where the filesystem can; not of a live node.
    Copy,
    /// A read-only snapshot of the btrfs subvolume, of live nodes too.
    Btrfs,
}

/// Where the node of a target keeps its database, and how it is snapshotted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The node's base path, or a chain folder, or a database folder.
    pub path: PathBuf,
    /// The engine to look for below `path`.
    pub database: Option<DatabaseKind>,
    /// The folder under `chains/` to look for below `path`.
    pub chain_id: Option<String>,
    /// How it is snapshotted.
    pub method: Method,
    /// How the node is stopped for a copy; none means that a live node is refused.
    pub quiesce: Option<Quiesce>,
    /// A folder on the filesystem of `path` for btrfs snapshots; none means the state folder.
    pub snapshots: Option<PathBuf>,
}

impl Source {
    /// A source of that target's database and chain at `path`.
    pub fn of_target(target: &Target, path: impl Into<PathBuf>, method: Method) -> Self {
        Self {
            path: path.into(),
            database: Some(target.database),
            chain_id: Some(target.chain.id.clone()),
            method,
            quiesce: None,
            snapshots: None,
        }
    }

    /// The database below `path`.
    pub(super) fn locate(&self) -> Result<DatabaseLocation, LocalError> {
        Ok(locate(&self.path, self.database, self.chain_id.as_deref())?)
    }
}

/// Volume snapshots on one machine.
#[derive(Debug, Clone)]
pub struct LocalVolumes {
    state: StateFolder,
    sources: Arc<BTreeMap<TargetId, Source>>,
}

impl LocalVolumes {
    /// Opens the state folder, making it where it is missing, and starts the nodes that a crashed life left stopped.
    ///
    /// A claim of [`polkashots_shared::names::claim_name`] is then found in [`LocalVolumes::claims_dir`].
    pub async fn open(
        state: &Path,
        sources: BTreeMap<TargetId, Source>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VolumeSnapshotError> {
        let root = state.to_owned();
        let opened = blocking(move || {
            let state = StateFolder::open(&root, clock)?;
            start_stopped_nodes(&state)?;
            Ok(state)
        });
        let state = opened.await.map_err(|error| error.of("open state folder", state.display()))?;
        Ok(Self { state, sources: Arc::new(sources) })
    }

    /// Lists what the volumes of a state folder hold, and changes nothing: no node is started.
    pub async fn look(state: &Path, clock: Arc<dyn Clock>) -> Result<Vec<Held>, VolumeSnapshotError> {
        let root = state.to_owned();
        let held = blocking(move || StateFolder::open(&root, clock)?.held());
        held.await.map_err(|error| error.of("list what is held in", state.display()))
    }

    /// The folder of the claims: each is a link to a chain folder.
    pub fn claims_dir(&self) -> PathBuf {
        self.state.root().join("claims")
    }
}

#[async_trait]
impl VolumeSnapshots for LocalVolumes {
    async fn acquire(&self, target: &TargetId, version: Version) -> Result<Acquire, VolumeSnapshotError> {
        let (state, of) = (self.state.clone(), target.clone());
        let acquired = blocking(move || state.acquire(&of, version)).await;
        acquired.map_err(|error| error.of_version("acquire claim for", target, version))
    }

    async fn ensure_snapshot(&self, target: &TargetId, version: Version) -> Result<Ready, VolumeSnapshotError> {
        let (state, of) = (self.state.clone(), target.clone());
        let source = self.sources.get(target).cloned();
        let (limit, _stops_when_dropped) = Limit::until_dropped();
        let ready = blocking(move || ensure(&state, source.as_ref(), &of, version, &limit)).await;
        ready.map_err(|error| error.of_version("take volume snapshot", target, version))
    }

    async fn release(&self, target: &TargetId, version: Version) -> Result<(), VolumeSnapshotError> {
        let (state, of) = (self.state.clone(), target.clone());
        let released = blocking(move || state.release(&of, version)).await;
        released.map_err(|error| error.of_version("release", target, version))
    }

    async fn held(&self) -> Result<Vec<Held>, VolumeSnapshotError> {
        let state = self.state.clone();
        let held = blocking(move || {
            start_stopped_nodes(&state)?;
            state.held()
        });
        held.await.map_err(|error| error.of("list what is held in", self.state.root().display()))
    }
}

fn ensure(
    state: &StateFolder,
    source: Option<&Source>,
    target: &TargetId,
    version: Version,
    limit: &Limit,
) -> Result<Ready, LocalError> {
    let _at_work = state.go_to_work(target)?;
    state.require_held(target, version)?;
    if let Some(ready) = state.ready(target, version)? {
        return Ok(ready);
    }
    quiesce::recover(state, target)?;
    state.remove_volume(target, version)?;
    let source = source.ok_or_else(|| LocalError::NoSource { target: target.clone() })?;
    match source.method {
        Method::Copy => copy::take(state, source, target, version, limit)?,
        Method::Btrfs => btrfs::take(state, source, target, version)?,
    }
    let path = state.volume_path(target, version);
    state.ready(target, version)?.ok_or(LocalError::Changed { path })
}

/// Starts what a crash left stopped; a target that somebody is at work on is left to them.
fn start_stopped_nodes(state: &StateFolder) -> Result<(), LocalError> {
    for target in quiesce::marked(state)? {
        match state.go_to_work(&target) {
            Ok(_at_work) => quiesce::recover(state, &target)?,
            Err(LocalError::Busy { .. }) => {}
            Err(error) => warn!(%target, %error, "a stopped node was not looked after"),
        }
    }
    Ok(())
}

/// Runs on a thread that the runtime waits for at its end, so that a stopped node is started even then.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LocalError> + Send + 'static,
) -> Result<T, LocalError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(LocalError::Cancelled),
    }
}
