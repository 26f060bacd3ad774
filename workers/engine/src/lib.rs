//! The engine: a tick becomes a volume snapshot with its restore claim; both are torn down when the run is over.

pub mod adapters;
pub mod binary;
mod handle;
mod sweep;
#[cfg(feature = "testkit")]
pub mod testkit;
mod volume_snapshots;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use polkashots_shared::clock::Clock;
use polkashots_shared::event::Event;
use polkashots_shared::ids::TargetId;
use polkashots_shared::ports::object_store::ObjectStore;
use polkashots_shared::target::Target;
use polkashots_shared::worker::{HandleError, Outcome, Worker};

pub use handle::handle;
pub use volume_snapshots::{Acquire, Held, HeldKind, Ready, VolumeSnapshotError, VolumeSnapshots};

/// The worker's name in events, records and subscriptions.
pub const NAME: &str = "engine";

/// Everything through which the engine has an effect.
#[derive(Clone)]
pub struct Deps {
    /// The targets that a tick may name.
    pub targets: Arc<BTreeMap<TargetId, Target>>,
    /// Where volume snapshots are taken.
    pub volumes: Arc<dyn VolumeSnapshots>,
    /// Where manifests and failure records tell which runs are over.
    pub store: Arc<dyn ObjectStore>,
    /// Tells future ticks and dead runs.
    pub clock: Arc<dyn Clock>,
    /// What a host may set.
    pub settings: Settings,
}

/// What a host may set of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The age at which a run with neither manifest nor failure record counts as dead, and an unfinished upload as
    /// abandoned. Must be longer than the longest run.
    pub sweep_min_age: Duration,
}

impl Default for Settings {
    /// 26 hours: a run of a day's schedule, and a margin.
    fn default() -> Self {
        Self { sweep_min_age: Duration::from_secs(26 * 3600) }
    }
}

/// The engine as a worker of the shared loop.
#[derive(Clone)]
pub struct Engine(pub Deps);

#[async_trait]
impl Worker for Engine {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn handle(&self, event: &Event) -> Result<Outcome, HandleError> {
        handle(event, &self.0).await
    }
}
