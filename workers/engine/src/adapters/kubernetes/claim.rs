//! The restore claim: the lock on a target, and the volume that the snapshotter's Job reads.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use polkashots_shared::ids::Version;
use polkashots_shared::names;
use serde_json::json;
use tracing::{info, warn};

use super::error::{KubernetesError, request};
use super::object::{full_name, is_terminating, meta, wait_until_gone};
use super::quantity::{bytes, largest};
use super::site::{Site, annotation, capacity, is_bound, requested};
use crate::Acquire;

/// How often a claim may vanish under a caller before it gives up.
const TRIES: u32 = 4;

impl Site {
    /// Creates the claim for `version`, or says whose it is.
    pub(super) async fn acquire(&self, version: Version) -> Result<Acquire, KubernetesError> {
        for _ in 0..TRIES {
            let Some(claim) = self.claim().await? else {
                let source = self.source().await?;
                let size = self.size(version, &source).await?;
                if self.create_claim(self.new_claim(version, &source, size)).await? {
                    return Ok(Acquire::Acquired);
                }
                continue;
            };
            let held_by = self.holder(&claim)?;
            if is_terminating(&claim) {
                if !self.is_soon_gone(&claim).await {
                    return self.still_there(&claim, held_by, version);
                }
                continue;
            }
            return Ok(if held_by == version { Acquire::Acquired } else { Acquire::Busy { held_by } });
        }
        Err(KubernetesError::Contended { claim: self.claim_name() })
    }

    fn still_there(
        &self,
        claim: &PersistentVolumeClaim,
        held_by: Version,
        version: Version,
    ) -> Result<Acquire, KubernetesError> {
        if held_by == version {
            return Err(KubernetesError::Terminating { claim: full_name(claim) });
        }
        Ok(Acquire::Busy { held_by })
    }

    /// Waits a moment for a claim that is being deleted; false where it stays, as it does while a pod uses it.
    async fn is_soon_gone(&self, claim: &PersistentVolumeClaim) -> bool {
        match tokio::time::timeout(self.termination_grace, wait_until_gone(&self.claims, claim)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                warn!(claim = full_name(claim), %error, "a claim that is being deleted cannot be watched");
                false
            }
            Err(_) => false,
        }
    }

    /// The larger of what the node's volume has and what the volume snapshot needs, where there is one already.
    async fn size(&self, version: Version, source: &PersistentVolumeClaim) -> Result<Quantity, KubernetesError> {
        let source = capacity(source)?;
        let snapshot = self.snapshot(version).await?;
        let restore_size = snapshot.and_then(|snapshot| snapshot.status?.restore_size);
        Ok(largest([Some(source.clone()), restore_size].into_iter().flatten())?.unwrap_or(source))
    }

    /// Creates the claim; false where one is there already.
    async fn create_claim(&self, claim: PersistentVolumeClaim) -> Result<bool, KubernetesError> {
        let call = format!("create claim {}", self.claim_name());
        match request(call, self.claims.create(&PostParams::default(), &claim)).await {
            Ok(created) => {
                let version = annotation(&created, names::VERSION_ANNOTATION);
                let size = requested(&created).map(|size| size.0);
                info!(target = %self.target, version, claim = self.claim_name(), size, "claim taken");
                Ok(true)
            }
            Err(error) if error.is_refusal(&[409]) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn new_claim(&self, version: Version, source: &PersistentVolumeClaim, size: Quantity) -> PersistentVolumeClaim {
        let source = source.spec.as_ref();
        let storage_class = self.settings.storage_class.clone();
        let spec = PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            data_source: Some(TypedLocalObjectReference {
                api_group: Some("snapshot.storage.k8s.io".into()),
                kind: "VolumeSnapshot".into(),
                name: names::volume_snapshot_name(&self.target, version),
            }),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size)].into()),
                limits: None,
            }),
            // The cluster's default class may be another driver's, which cannot read the snapshot; the node's own can.
            storage_class_name: storage_class.or_else(|| source?.storage_class_name.clone()),
            volume_mode: source.and_then(|spec| spec.volume_mode.clone()),
            ..PersistentVolumeClaimSpec::default()
        };
        let metadata = meta(names::claim_name(&self.target), &self.settings.namespace, &self.target, version);
        PersistentVolumeClaim { metadata, spec: Some(spec), status: None }
    }

    /// Makes the claim large enough for the volume snapshot.
    ///
    /// A claim that is bound was large enough for its driver. One that is not cannot be resized (Kubernetes resizes
    /// bound ones only), and is smaller than its snapshot only where the node's volume grew meanwhile: it is made anew.
    /// Between delete and create the lock is free; where another takes it, this version's run ends with an error and
    /// its redelivery finds the target busy.
    pub(super) async fn grow(
        &self,
        claim: PersistentVolumeClaim,
        version: Version,
        restore_size: Option<&Quantity>,
    ) -> Result<PersistentVolumeClaim, KubernetesError> {
        let Some(restore_size) = restore_size else { return Ok(claim) };
        let asked = requested(&claim).map(|size| bytes(&size)).transpose()?.unwrap_or(0);
        if is_bound(&claim) || asked >= bytes(restore_size)? {
            return Ok(claim);
        }
        warn!(claim = self.claim_name(), size = restore_size.0, "the claim is smaller than its snapshot and made anew");
        let unchanged = Preconditions { uid: claim.uid(), resource_version: claim.resource_version() };
        let params = DeleteParams::default().preconditions(unchanged);
        request(format!("delete claim {}", self.claim_name()), self.claims.delete(&claim.name_any(), &params)).await?;
        wait_until_gone(&self.claims, &claim).await?;
        let mut larger = self.new_claim(version, &self.source().await?, restore_size.clone());
        if let Some(taken_at) = annotation(&claim, names::TAKEN_AT_ANNOTATION) {
            larger.annotations_mut().insert(names::TAKEN_AT_ANNOTATION.into(), taken_at.into());
        }
        self.create_claim(larger).await?;
        self.held_claim(version).await
    }

    /// Notes on the claim when its volume snapshot was taken.
    ///
    /// The patch carries the claim's uid, so that it is refused where the claim is another one by now.
    pub(super) async fn remember(
        &self,
        claim: &PersistentVolumeClaim,
        version: Version,
        taken_at: &str,
    ) -> Result<(), KubernetesError> {
        let annotations = json!({ (names::TAKEN_AT_ANNOTATION): taken_at });
        let patch = Patch::Merge(json!({ "metadata": { "uid": claim.uid(), "annotations": annotations } }));
        let (name, params) = (claim.name_any(), PatchParams::default());
        let patched = self.claims.patch(&name, &params, &patch);
        match request(format!("patch claim {}", self.claim_name()), patched).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_refusal(&[404, 409, 422]) => {
                self.held_claim(version).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }
}
