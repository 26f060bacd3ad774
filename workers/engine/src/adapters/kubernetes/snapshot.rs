//! The VolumeSnapshot: made once, and waited for until it is ready, fails for good, or its time is up.

use std::pin::pin;

use chrono::{DateTime, SecondsFormat, Utc};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use polkashots_shared::ids::Version;
use polkashots_shared::names;
use tracing::{info, warn};

use super::announce::News;
use super::error::{KubernetesError, request};
use super::object::{full_name, is_terminating, meta, wait_until_gone};
use super::site::{Site, annotation, is_bound};
use super::volume_snapshot::{Progress, SnapshotSource, VolumeSnapshot, VolumeSnapshotSpec};
use crate::Ready;

/// What a waiting caller knows of why it waits.
struct Wait {
    source: ObjectReference,
    last: String,
}

impl Site {
    /// Makes the volume snapshot of `version` and waits until the claim can be made of it.
    pub(super) async fn ensure(&self, version: Version) -> Result<Ready, KubernetesError> {
        let claim = self.held_claim(version).await?;
        let source = self.source().await?.object_ref(&());
        let mut wait = Wait { source, last: "the API server has not answered".into() };
        let deadline = self.settings.ready_deadline;
        match tokio::time::timeout(deadline, self.bring_about(claim, version, &mut wait)).await {
            Ok(done) => done,
            Err(_) => {
                let note =
                    format!("{} is not ready within {} s: {}", self.name(version), deadline.as_secs(), wait.last);
                let snapshot = self.reference(version);
                self.announcer.tell(News::DeadlineExceeded, &note, &[&wait.source, &snapshot]).await;
                Err(KubernetesError::Deadline { deadline, last: wait.last })
            }
        }
    }

    async fn bring_about(
        &self,
        claim: PersistentVolumeClaim,
        version: Version,
        wait: &mut Wait,
    ) -> Result<Ready, KubernetesError> {
        let remembered = annotation(&claim, names::TAKEN_AT_ANNOTATION).and_then(|time| time.parse().ok());
        loop {
            match self.snapshot(version).await? {
                Some(snapshot) if !is_terminating(&snapshot) => break,
                going_or_gone => {
                    if let Some(taken_at) = remembered {
                        return self.without_snapshot(&claim, version, taken_at);
                    }
                    match going_or_gone {
                        Some(snapshot) => self.wait_until_gone(&snapshot, wait).await?,
                        None if self.create_snapshot(version, wait).await? => break,
                        None => {}
                    }
                }
            }
        }
        let (taken_at, restore_size) = self.wait_until_ready(version, wait).await?;
        self.settle(claim, version, remembered.unwrap_or(taken_at), restore_size.as_ref(), wait).await
    }

    /// A VolumeSnapshot that was ready and is gone is not taken anew; its claim may have its volume already.
    fn without_snapshot(
        &self,
        claim: &PersistentVolumeClaim,
        version: Version,
        taken_at: DateTime<Utc>,
    ) -> Result<Ready, KubernetesError> {
        if is_bound(claim) {
            Ok(self.ready(version, taken_at))
        } else {
            Err(KubernetesError::Lost { name: self.name(version) })
        }
    }

    fn ready(&self, version: Version, taken_at: DateTime<Utc>) -> Ready {
        let name = names::volume_snapshot_name(&self.target, version);
        Ready { name, claim: names::claim_name(&self.target), taken_at }
    }

    async fn wait_until_gone(&self, snapshot: &VolumeSnapshot, wait: &mut Wait) -> Result<(), KubernetesError> {
        wait.last = format!("VolumeSnapshot {} of an earlier run is still being deleted", full_name(snapshot));
        wait_until_gone(&self.snapshots, snapshot).await
    }

    /// Creates the VolumeSnapshot; false where one is there already.
    async fn create_snapshot(&self, version: Version, wait: &Wait) -> Result<bool, KubernetesError> {
        let name = names::volume_snapshot_name(&self.target, version);
        let spec = VolumeSnapshotSpec {
            source: SnapshotSource { persistent_volume_claim_name: Some(self.settings.source_claim.clone()) },
            volume_snapshot_class_name: self.settings.snapshot_class.clone(),
        };
        let mut snapshot = VolumeSnapshot::new(&name, spec);
        snapshot.metadata = meta(name, &self.settings.namespace, &self.target, version);
        let call = format!("create VolumeSnapshot {}", self.name(version));
        match request(call, self.snapshots.create(&PostParams::default(), &snapshot)).await {
            Ok(created) => {
                info!(target = %self.target, %version, volume_snapshot = self.name(version), "volume snapshot requested");
                let note = format!("{} of claim {}", self.name(version), self.settings.source_claim);
                self.announcer.tell(News::Requested, &note, &[&wait.source, &created.object_ref(&())]).await;
                Ok(true)
            }
            Err(error) if error.is_refusal(&[409]) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Watches the VolumeSnapshot, through broken watches too, until it is ready.
    async fn wait_until_ready(
        &self,
        version: Version,
        wait: &mut Wait,
    ) -> Result<(DateTime<Utc>, Option<Quantity>), KubernetesError> {
        let name = names::volume_snapshot_name(&self.target, version);
        let states = watcher::watch_object(self.snapshots.clone(), &name).default_backoff();
        let mut states = pin!(states);
        while let Some(state) = states.next().await {
            match state {
                Ok(Some(snapshot)) if !is_terminating(&snapshot) => match snapshot.progress() {
                    Progress::Ready { taken_at, restore_size } => return Ok((taken_at, restore_size)),
                    Progress::Failing(message) => self.note_failing(&snapshot, version, message, wait).await,
                    Progress::Waiting(reason) => reason.clone_into(&mut wait.last),
                },
                Ok(_) => return Err(KubernetesError::Deleted { name: self.name(version) }),
                Err(error) => {
                    let error = KubernetesError::watch(format!("watch VolumeSnapshot {}", self.name(version)), error);
                    if !error.is_transient() {
                        return Err(error);
                    }
                    warn!(%error, "the watch broke and is started again");
                    wait.last = error.to_string();
                }
            }
        }
        Err(KubernetesError::Deleted { name: self.name(version) })
    }

    async fn note_failing(&self, snapshot: &VolumeSnapshot, version: Version, message: String, wait: &mut Wait) {
        if wait.last == message {
            return;
        }
        let name = self.name(version);
        warn!(target = %self.target, %version, volume_snapshot = name, error = message, "volume snapshot fails so far");
        let note = format!("{name}: {message}");
        wait.last = message;
        self.announcer.tell(News::Failing, &note, &[&wait.source, &snapshot.object_ref(&())]).await;
    }

    /// Sees to it that the claim, still held, fits the snapshot and remembers it.
    async fn settle(
        &self,
        claim: PersistentVolumeClaim,
        version: Version,
        taken_at: DateTime<Utc>,
        restore_size: Option<&Quantity>,
        wait: &mut Wait,
    ) -> Result<Ready, KubernetesError> {
        wait.last = format!("claim {} is made larger", self.claim_name());
        let uid = claim.uid();
        let claim = self.held_claim(version).await?;
        if claim.uid() != uid {
            return Err(KubernetesError::Contended { claim: self.claim_name() });
        }
        let claim = self.grow(claim, version, restore_size).await?;
        let time = taken_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        if annotation(&claim, names::TAKEN_AT_ANNOTATION) != Some(&time) {
            self.remember(&claim, version, &time).await?;
            let note = format!("{} was taken at {time}", self.name(version));
            self.announcer.tell(News::Ready, &note, &[&wait.source, &self.reference(version)]).await;
        }
        Ok(self.ready(version, taken_at))
    }

    /// `namespace/name` of the VolumeSnapshot, for messages.
    pub(super) fn name(&self, version: Version) -> String {
        format!("{}/{}", self.settings.namespace, names::volume_snapshot_name(&self.target, version))
    }

    fn reference(&self, version: Version) -> ObjectReference {
        ObjectReference {
            api_version: Some(VolumeSnapshot::api_version(&()).into_owned()),
            kind: Some(VolumeSnapshot::kind(&()).into_owned()),
            name: Some(names::volume_snapshot_name(&self.target, version)),
            namespace: Some(self.settings.namespace.clone()),
            ..ObjectReference::default()
        }
    }
}
