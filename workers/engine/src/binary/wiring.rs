//! The engine on its cloud adapters.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use polkashots_shared::clock::{Clock, SystemClock};
use polkashots_shared::ids::TargetId;
use polkashots_shared::service::{Metrics, Service, ServiceSettings, open_store, subscribe};
use polkashots_shared::settings::RunSettings;
use polkashots_shared::target::Target;
use polkashots_shared::worker::LoopDeps;

use super::TOPICS;
use super::observed::ObservedVolumes;
use super::settings::{EngineSettings, VolumeSettings};
use crate::adapters::kubernetes::{KubernetesSettings, KubernetesVolumes};
use crate::{Deps, Engine, NAME, Settings};

impl ServiceSettings for EngineSettings {
    fn run(&self) -> &RunSettings {
        &self.run
    }
}

impl Deps {
    /// The engine's effects on a bucket and in Kubernetes.
    pub async fn cloud(settings: &EngineSettings, metrics: Arc<Metrics>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let targets = settings.targets.load()?;
        let sites = sites(&targets, &settings.kubernetes);
        let volumes = KubernetesVolumes::connect(sites).await?;
        Ok(Self {
            targets: Arc::new(targets),
            volumes: Arc::new(ObservedVolumes::new(volumes, metrics.clone())),
            store: open_store(&settings.store, metrics).await?,
            clock: Arc::new(SystemClock),
            settings: Settings { sweep_min_age: settings.sweep_min_age },
        })
    }
}

/// The whole worker: adapters, queues and loop.
pub async fn service(
    settings: &EngineSettings,
    metrics: Arc<Metrics>,
) -> Result<Service, Box<dyn Error + Send + Sync>> {
    let deps = Deps::cloud(settings, metrics).await?;
    let (events, queues) = subscribe(&settings.run, &settings.queue, NAME, &TOPICS).await?;
    let (store, clock): (_, Arc<dyn Clock>) = (deps.store.clone(), deps.clock.clone());
    Ok(Service { worker: Arc::new(Engine(deps)), queues, deps: LoopDeps { events, store, clock } })
}

fn sites(targets: &BTreeMap<TargetId, Target>, volumes: &VolumeSettings) -> BTreeMap<TargetId, KubernetesSettings> {
    let site = |id: &TargetId| KubernetesSettings {
        snapshot_class: volumes.snapshot_class.clone(),
        storage_class: volumes.storage_class.clone(),
        ready_deadline: volumes.ready_deadline,
        ..KubernetesSettings::new(volumes.namespace.name(id), volumes.source_claim.name(id))
    };
    targets.keys().map(|id| (id.clone(), site(id))).collect()
}
