//! The snapshotter on its cloud adapters.

use std::error::Error;
use std::sync::Arc;

use polkashots_shared::adapters::chain::Databases;
use polkashots_shared::clock::SystemClock;
use polkashots_shared::service::{Metrics, Service, ServiceSettings, open_store, subscribe};
use polkashots_shared::settings::RunSettings;
use polkashots_shared::worker::LoopDeps;

use super::TOPICS;
use super::settings::{DatabaseSettings, SnapshotterSettings};
use crate::blocks::Exporter;
use crate::handle::NAME;
use crate::{ClaimMount, Deps, Snapshotter};

impl ServiceSettings for SnapshotterSettings {
    fn run(&self) -> &RunSettings {
        &self.run
    }
}

impl Deps {
    /// The snapshotter's effects on a bucket; it reads the one claim that is mounted.
    pub async fn cloud(
        settings: &SnapshotterSettings,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let database = &settings.database;
        let scratch = database.scratch_dir.clone().map_or_else(Databases::default, Databases::with_scratch);
        Ok(Self {
            targets: Arc::new(settings.targets.load()?),
            store: open_store(&settings.store, metrics).await?,
            chain_database: Arc::new(scratch),
            claims: ClaimMount::Fixed(database.claim_dir.clone()),
            exporter: exporter(database),
        })
    }
}

/// The whole worker: adapters, queue and loop.
pub async fn service(
    settings: &SnapshotterSettings,
    metrics: Arc<Metrics>,
) -> Result<Service, Box<dyn Error + Send + Sync>> {
    let deps = Deps::cloud(settings, metrics).await?;
    let (events, queues) = subscribe(&settings.run, &settings.queue, NAME, &TOPICS).await?;
    let loop_deps = LoopDeps { events, store: deps.store.clone(), clock: Arc::new(SystemClock) };
    Ok(Service { worker: Arc::new(Snapshotter(deps)), queues, deps: loop_deps })
}

fn exporter(database: &DatabaseSettings) -> Option<Exporter> {
    let binary = database.node_binary.clone()?;
    Some(Exporter { binary, chain: database.node_chain.clone(), deadline: database.export_deadline })
}
