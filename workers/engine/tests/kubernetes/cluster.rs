//! One test's part of the shared API server: a namespace with a node's claim, and a Role for the engine.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};
use polkashots_engine::adapters::kubernetes::{KubernetesSettings, KubernetesVolumes, VolumeSnapshot};
use polkashots_engine::testkit::api_server::ApiServer;
use polkashots_engine::testkit::csi::{Script, SnapshotController, create_source};
use polkashots_engine::testkit::rights;
use polkashots_shared::ids::{TargetId, Version};

pub fn version(text: &str) -> Version {
    text.parse().expect("a legal version")
}

pub fn target_id(text: &str) -> TargetId {
    text.parse().expect("a legal target id")
}

/// A namespace with a node's claim `data` of 10Gi.
pub struct Cluster {
    pub server: &'static ApiServer,
    pub admin: Client,
    pub settings: KubernetesSettings,
    /// The engine's ServiceAccount, with the Role that k8s/ gives it.
    pub engine: String,
    controller: Option<SnapshotController>,
}

impl Cluster {
    /// None where there is no API server; that was said then.
    pub async fn with_namespace(namespace: &str) -> Option<Self> {
        let server = ApiServer::shared(&format!("kubernetes::{namespace}")).await?;
        let (admin, settings) = prepare(server, namespace).await;
        let engine = rights::grant(admin.clone(), namespace).await;
        Some(Self { server, admin, settings, engine, controller: None })
    }

    /// Where the same engine sees to another target.
    pub async fn another_namespace(&self, namespace: &str) -> KubernetesSettings {
        let (admin, settings) = prepare(self.server, namespace).await;
        rights::grant_also(admin, namespace, &self.settings.namespace).await;
        settings
    }

    /// Lets a snapshot controller play `script`.
    pub fn play(&mut self, script: Script) {
        self.controller = Some(self.play_in(&self.settings.namespace, script));
    }

    /// Lets the snapshot controller stop, as one that crashed does.
    pub fn pause(&mut self) {
        self.controller = None;
    }

    pub fn play_in(&self, namespace: &str, script: Script) -> SnapshotController {
        SnapshotController::start(self.admin.clone(), namespace, script)
    }

    /// The adapter of target `first`, under the engine's Role.
    pub async fn volumes(&self) -> KubernetesVolumes {
        self.volumes_of([&self.settings]).await
    }

    /// The adapter of targets `first` and `second`, under the engine's Role.
    pub async fn volumes_of<const N: usize>(&self, settings: [&KubernetesSettings; N]) -> KubernetesVolumes {
        let ids = ["first", "second"].map(target_id);
        let targets: BTreeMap<_, _> = ids.into_iter().zip(settings.map(Clone::clone)).collect();
        let volumes = KubernetesVolumes::new(self.server.client_as(&self.engine).await, targets);
        // A busy machine's controllers take their time to let a deleted claim go.
        volumes.with_termination_grace(Duration::from_secs(60))
    }

    pub fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.admin.clone(), &self.settings.namespace)
    }

    pub fn snapshots(&self) -> Api<VolumeSnapshot> {
        Api::namespaced(self.admin.clone(), &self.settings.namespace)
    }

    pub async fn claim(&self, name: &str) -> Option<PersistentVolumeClaim> {
        self.claims().get_opt(name).await.expect("an answer")
    }

    pub async fn snapshot(&self, name: &str) -> Option<VolumeSnapshot> {
        self.snapshots().get_opt(name).await.expect("an answer")
    }

    /// The size that a claim asks for.
    pub async fn size_of(&self, claim: &str) -> String {
        let claim = self.claim(claim).await.expect("a claim");
        let requests = claim.spec.and_then(|spec| spec.resources).and_then(|resources| resources.requests);
        requests.expect("requests").remove("storage").expect("a size").0
    }

    /// Reasons and notes of the Events on the object of that name.
    pub async fn events_on(&self, name: &str) -> Vec<(String, String)> {
        let events: Api<Event> = Api::namespaced(self.admin.clone(), &self.settings.namespace);
        let events = events.list(&ListParams::default()).await.expect("events");
        let about = |event: &Event| event.regarding.as_ref().and_then(|object| object.name.as_deref()) == Some(name);
        let text = |event: Event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default());
        events.into_iter().filter(about).map(text).collect()
    }
}

/// Makes a namespace with a node's claim.
async fn prepare(server: &ApiServer, namespace: &str) -> (Client, KubernetesSettings) {
    let admin = server.client().await;
    server.create_namespace(namespace).await;
    create_source(admin.clone(), namespace, "data", "10Gi").await;
    let mut settings = KubernetesSettings::new(namespace, "data");
    settings.ready_deadline = Duration::from_secs(60);
    (admin, settings)
}
