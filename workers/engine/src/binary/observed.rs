//! Volume snapshots with their calls timed.

use std::sync::Arc;

use async_trait::async_trait;
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::service::Metrics;

use crate::{Acquire, Held, Ready, VolumeSnapshotError, VolumeSnapshots};

/// Times the calls of the adapter that it decorates, each as a stage.
pub struct ObservedVolumes<V> {
    inner: V,
    metrics: Arc<Metrics>,
}

impl<V> ObservedVolumes<V> {
    /// Decorates `inner`.
    pub fn new(inner: V, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }
}

#[async_trait]
impl<V: VolumeSnapshots> VolumeSnapshots for ObservedVolumes<V> {
    async fn acquire(&self, target: &TargetId, version: Version) -> Result<Acquire, VolumeSnapshotError> {
        self.metrics.time("acquire claim", self.inner.acquire(target, version)).await
    }

    async fn ensure_snapshot(&self, target: &TargetId, version: Version) -> Result<Ready, VolumeSnapshotError> {
        self.metrics.time("volume snapshot", self.inner.ensure_snapshot(target, version)).await
    }

    async fn release(&self, target: &TargetId, version: Version) -> Result<(), VolumeSnapshotError> {
        self.metrics.time("release", self.inner.release(target, version)).await
    }

    async fn held(&self) -> Result<Vec<Held>, VolumeSnapshotError> {
        self.metrics.time("list held", self.inner.held()).await
    }
}
