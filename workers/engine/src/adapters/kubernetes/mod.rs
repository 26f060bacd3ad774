//! Volume snapshots in Kubernetes, by any CSI driver that takes them.
//!
//! - The lock is the restore claim, a PVC of a fixed name in the target's namespace that only one caller can create. Its
//!   `dataSource` names a VolumeSnapshot that is made next. Nobody waits for it to be bound: with a storage class of
//!   `WaitForFirstConsumer` the pod of the snapshotter's Job is what binds it.
//! - Whose a claim or VolumeSnapshot is stands in its labels and its version annotation. Nothing without them is ever
//!   deleted, each delete names the object's uid, and no finalizer is ever touched.
//! - An object that is being deleted counts as released in `held`; its name is not free yet, so `acquire` waits a moment
//!   for a claim that is on its way out and then says busy.
//! - A claim remembers, as an annotation, when its VolumeSnapshot was taken. So a later call gives the same answer, and a
//!   VolumeSnapshot that somebody deleted by hand is never taken anew under the same version.

mod announce;
mod claim;
mod error;
mod object;
mod quantity;
mod rules;
mod settings;
mod site;
mod snapshot;
mod teardown;
mod volume_snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use polkashots_shared::ids::{TargetId, Version};

use self::announce::Announcer;
use self::error::KubernetesError;
use self::site::Site;
use crate::{Acquire, Held, Ready, VolumeSnapshotError, VolumeSnapshots};

pub use self::rules::required_rules;
pub use self::settings::{DEFAULT_READY_DEADLINE, KubernetesSettings};
pub use self::volume_snapshot::{
    SnapshotError, SnapshotSource, VolumeSnapshot, VolumeSnapshotSpec, VolumeSnapshotStatus,
};

/// How long [`VolumeSnapshots::acquire`] waits for a claim that is being deleted; an unused one is gone in far less.
const TERMINATION_GRACE: Duration = Duration::from_secs(10);

/// Volume snapshots in the cluster that a client leads to.
#[derive(Clone)]
pub struct KubernetesVolumes {
    client: Client,
    targets: Arc<BTreeMap<TargetId, KubernetesSettings>>,
    announcer: Announcer,
    termination_grace: Duration,
}

impl KubernetesVolumes {
    /// The volumes of those targets, by the identity of `client`; see [`required_rules`] for what it must be allowed.
    pub fn new(client: Client, targets: BTreeMap<TargetId, KubernetesSettings>) -> Self {
        let announcer = Announcer::new(client.clone());
        Self { client, targets: Arc::new(targets), announcer, termination_grace: TERMINATION_GRACE }
    }

    /// The volumes of those targets in the cluster that this process runs in, or else that `KUBECONFIG` leads to.
    pub async fn connect(targets: BTreeMap<TargetId, KubernetesSettings>) -> Result<Self, VolumeSnapshotError> {
        let client = Client::try_default().await.map_err(|source| {
            let error = KubernetesError::Connect { source: Box::new(source) };
            error.of("connect to", "Kubernetes")
        })?;
        Ok(Self::new(client, targets))
    }

    /// Waits that long for a claim that is being deleted before it counts as busy.
    #[must_use]
    pub fn with_termination_grace(mut self, grace: Duration) -> Self {
        self.termination_grace = grace;
        self
    }

    fn site(&self, target: &TargetId) -> Result<Site, KubernetesError> {
        let Some(settings) = self.targets.get(target) else {
            let known = self.targets.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(KubernetesError::NoSettings { target: target.clone(), known });
        };
        Ok(Site::new(self, target.clone(), settings.clone()))
    }

    fn namespaces(&self) -> BTreeSet<&str> {
        self.targets.values().map(|settings| settings.namespace.as_str()).collect()
    }
}

#[async_trait]
impl VolumeSnapshots for KubernetesVolumes {
    async fn acquire(&self, target: &TargetId, version: Version) -> Result<Acquire, VolumeSnapshotError> {
        let acquired = async { self.site(target)?.acquire(version).await };
        acquired.await.map_err(|error| error.of_version("acquire claim for", target, version))
    }

    async fn ensure_snapshot(&self, target: &TargetId, version: Version) -> Result<Ready, VolumeSnapshotError> {
        let ready = async { self.site(target)?.ensure(version).await };
        ready.await.map_err(|error| error.of_version("take volume snapshot", target, version))
    }

    async fn release(&self, target: &TargetId, version: Version) -> Result<(), VolumeSnapshotError> {
        let released = teardown::release(self, target, version);
        released.await.map_err(|error| error.of_version("release", target, version))
    }

    async fn held(&self) -> Result<Vec<Held>, VolumeSnapshotError> {
        let namespaces = self.namespaces();
        let name = || namespaces.iter().copied().collect::<Vec<_>>().join(", ");
        teardown::held(&self.client, &namespaces).await.map_err(|error| error.of("list what is held in", name()))
    }
}
