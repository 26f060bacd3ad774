//! [`VolumeSnapshots`] behind a fault plan.

use async_trait::async_trait;
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::testkit::fault::{Faulty, Injected};

use crate::{Acquire, Held, Ready, VolumeSnapshotError, VolumeSnapshots};

impl Injected for VolumeSnapshotError {
    fn injected(call: &str) -> Self {
        Self::Transient { operation: "injected fault at", name: call.into(), source: "planned by the test".into() }
    }
}

#[async_trait]
impl<T: VolumeSnapshots + ?Sized> VolumeSnapshots for Faulty<T> {
    async fn acquire(&self, target: &TargetId, version: Version) -> Result<Acquire, VolumeSnapshotError> {
        let name = format!("volume_snapshots.acquire {target}/{version}");
        self.plan.around(name, || self.inner.acquire(target, version)).await
    }

    async fn ensure_snapshot(&self, target: &TargetId, version: Version) -> Result<Ready, VolumeSnapshotError> {
        let name = format!("volume_snapshots.ensure_snapshot {target}/{version}");
        self.plan.around(name, || self.inner.ensure_snapshot(target, version)).await
    }

    async fn release(&self, target: &TargetId, version: Version) -> Result<(), VolumeSnapshotError> {
        let name = format!("volume_snapshots.release {target}/{version}");
        self.plan.around(name, || self.inner.release(target, version)).await
    }

    async fn held(&self) -> Result<Vec<Held>, VolumeSnapshotError> {
        self.plan.around("volume_snapshots.held", || self.inner.held()).await
    }
}
