//! Plays a snapshot controller with its CSI driver: it binds VolumeSnapshots and makes them ready, or not.

use std::collections::BTreeMap;
use std::pin::pin;

use futures::StreamExt;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::adapters::kubernetes::VolumeSnapshot;

/// The finalizer that the real controller puts on every VolumeSnapshot.
const FINALIZER: &str = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection";

/// The states that a VolumeSnapshot goes through, one after the other; each is its `status`.
#[derive(Debug, Clone)]
pub struct Script(Vec<Value>);

impl Script {
    /// Ready at once, with that `restoreSize`.
    pub fn ready(restore_size: &str) -> Self {
        Self::new([ready(restore_size)])
    }

    /// These states, in this order.
    pub fn new(states: impl IntoIterator<Item = Value>) -> Self {
        Self(states.into_iter().collect())
    }
}

/// A status that is bound and not ready; an error of before is gone.
pub fn bound() -> Value {
    json!({ "boundVolumeSnapshotContentName": "snapcontent-1", "readyToUse": false, "error": null })
}

/// A status with an error, as the controller writes it before it tries again.
pub fn failing(message: &str) -> Value {
    let error = json!({ "message": message, "time": "2026-11-22T04:00:05Z" });
    json!({ "boundVolumeSnapshotContentName": "snapcontent-1", "readyToUse": false, "error": error })
}

/// A status that is ready, with the time that [`taken_at`] gives.
pub fn ready(restore_size: &str) -> Value {
    json!({
        "boundVolumeSnapshotContentName": "snapcontent-1", "readyToUse": true, "creationTime": taken_at(),
        "restoreSize": restore_size, "error": null,
    })
}

/// When every VolumeSnapshot was taken.
pub fn taken_at() -> &'static str {
    "2026-11-22T04:00:07Z"
}

/// A controller at work in one namespace; it stops when this is dropped.
pub struct SnapshotController(JoinHandle<()>);

impl SnapshotController {
    /// Plays `script` on every VolumeSnapshot of the namespace, and lets deleted ones go.
    pub fn start(client: Client, namespace: &str, script: Script) -> Self {
        let api = Api::namespaced(client, namespace);
        Self(tokio::spawn(async move { control(api, script).await }))
    }
}

impl Drop for SnapshotController {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn control(api: Api<VolumeSnapshot>, script: Script) {
    let mut played: BTreeMap<String, usize> = BTreeMap::new();
    let events = watcher(api.clone(), watcher::Config::default());
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        let (Ok(watcher::Event::Apply(snapshot)) | Ok(watcher::Event::InitApply(snapshot))) = event else { continue };
        let uid = snapshot.uid().unwrap_or_default();
        let step = played.entry(uid).or_default();
        // Every patch is seen again as the next event, which is what moves the script on.
        let finalizers = snapshot.finalizers().to_vec();
        let name = snapshot.name_any();
        if snapshot.metadata.deletion_timestamp.is_some() {
            let others: Vec<_> = finalizers.into_iter().filter(|finalizer| finalizer != FINALIZER).collect();
            patch(&api, &name, json!({ "metadata": { "finalizers": others } })).await;
        } else if finalizers.is_empty() {
            patch(&api, &name, json!({ "metadata": { "finalizers": [FINALIZER] } })).await;
        } else if let Some(status) = script.0.get(*step) {
            *step += 1;
            let status = Patch::Merge(json!({ "status": status }));
            // A VolumeSnapshot that was deleted meanwhile is none of the controller's any more.
            let _gone = api.patch_status(&name, &PatchParams::default(), &status).await;
        }
    }
}

async fn patch(api: &Api<VolumeSnapshot>, name: &str, patch: Value) {
    let _gone = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
}

/// Makes a node's claim that is bound to a volume of that size.
///
/// # Panics
///
/// Where the API refuses it.
pub async fn create_source(client: Client, namespace: &str, name: &str, capacity: &str) -> PersistentVolumeClaim {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client, namespace);
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeMode": "Filesystem",
            "resources": { "requests": { "storage": capacity } },
        },
    });
    let claim = serde_json::from_value(claim).expect("a claim");
    api.create(&PostParams::default(), &claim).await.expect("a claim is created");
    bind(&api, name, capacity).await
}

/// Says of a claim that it is bound to a volume of that size, as the volume controller does.
///
/// # Panics
///
/// Where the API refuses it.
pub async fn bind(api: &Api<PersistentVolumeClaim>, name: &str, capacity: &str) -> PersistentVolumeClaim {
    let status = json!({ "status": { "phase": "Bound", "capacity": { "storage": capacity } } });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a claim is bound")
}
