//! A target's namespace in a test's cluster, for tests that run the engine as a process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use polkashots_shared::ids::TargetId;
use polkashots_shared::names;

use super::api_server::ApiServer;
use super::csi::{Script, SnapshotController, bind, create_source};
use super::rights;
use crate::adapters::kubernetes::VolumeSnapshot;

/// How long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The size of the node's volume.
const SIZE: &str = "10Gi";

/// The namespace of one target: its node's claim, the engine's rights, and a snapshot controller at work.
pub struct TargetNamespace {
    target: TargetId,
    claims: Api<PersistentVolumeClaim>,
    snapshots: Api<VolumeSnapshot>,
    kubeconfig: PathBuf,
    _controller: SnapshotController,
}

impl TargetNamespace {
    /// Makes the namespace `target`, in which the node's claim is `source`.
    ///
    /// # Panics
    ///
    /// Where the API refuses.
    pub async fn start(server: &ApiServer, target: &TargetId, source: &str, script: Script) -> Self {
        let namespace = Self::without_rights(server, target, source, script).await;
        let engine = rights::grant(server.client().await, target.as_str()).await;
        Self { kubeconfig: server.kubeconfig(Some(&engine)), ..namespace }
    }

    /// The same for a test that grants the engine's rights itself; the kubeconfig is of one who has none.
    ///
    /// # Panics
    ///
    /// As [`TargetNamespace::start`].
    pub async fn without_rights(server: &ApiServer, target: &TargetId, source: &str, script: Script) -> Self {
        let (admin, namespace) = (server.client().await, target.as_str());
        server.create_namespace(namespace).await;
        create_source(admin.clone(), namespace, source, SIZE).await;
        Self {
            target: target.clone(),
            claims: Api::namespaced(admin.clone(), namespace),
            snapshots: Api::namespaced(admin.clone(), namespace),
            kubeconfig: server.kubeconfig(Some("nobody")),
            _controller: SnapshotController::start(admin, namespace, script),
        }
    }

    /// The kubeconfig of the engine's ServiceAccount.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Waits for the restore claim of a volume snapshot that is ready, and binds it, as a pod that mounts it would.
    ///
    /// # Panics
    ///
    /// Where it does not come.
    pub async fn mount_claim(&self) {
        let is_ready = |claim: Option<&PersistentVolumeClaim>| {
            claim.is_some_and(|claim| claim.annotations().contains_key(names::TAKEN_AT_ANNOTATION))
        };
        let name = names::claim_name(&self.target);
        let came = tokio::time::timeout(PATIENCE, await_condition(self.claims.clone(), &name, is_ready)).await;
        came.unwrap_or_else(|_| panic!("no claim {name} that is ready")).expect("a watch");
        bind(&self.claims, &name, SIZE).await;
    }

    /// Waits until neither a volume snapshot nor a restore claim is left.
    ///
    /// # Panics
    ///
    /// Where something stays.
    pub async fn wait_until_torn_down(&self) {
        let name = names::claim_name(&self.target);
        let is_gone = |claim: Option<&PersistentVolumeClaim>| claim.is_none();
        let gone = tokio::time::timeout(PATIENCE, await_condition(self.claims.clone(), &name, is_gone)).await;
        gone.unwrap_or_else(|_| panic!("claim {name} was not torn down")).expect("a watch");
        // The volume snapshot is deleted first; its controller may still be letting it go.
        let snapshots = self.snapshots.list(&ListParams::default()).await.expect("an answer");
        for snapshot in snapshots {
            assert!(snapshot.metadata.deletion_timestamp.is_some(), "{} was not torn down", snapshot.name_any());
        }
    }

    /// The names of the volume snapshots that are there and not being deleted.
    ///
    /// # Panics
    ///
    /// Where the API refuses.
    pub async fn volume_snapshots(&self) -> Vec<String> {
        let snapshots = self.snapshots.list(&ListParams::default()).await.expect("an answer");
        let live = snapshots.iter().filter(|snapshot| snapshot.metadata.deletion_timestamp.is_none());
        live.map(ResourceExt::name_any).collect()
    }
}
