//! One target's place in the cluster: its node's claim, its restore claim, its VolumeSnapshots.

use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{Api, ResourceExt};
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;

use super::announce::Announcer;
use super::error::{KubernetesError, request};
use super::object::{full_name, is_terminating, made_for};
use super::volume_snapshot::VolumeSnapshot;
use super::{KubernetesSettings, KubernetesVolumes};

/// One target's place in the cluster.
pub(super) struct Site {
    pub(super) target: TargetId,
    pub(super) settings: KubernetesSettings,
    pub(super) claims: Api<PersistentVolumeClaim>,
    pub(super) snapshots: Api<VolumeSnapshot>,
    pub(super) announcer: Announcer,
    pub(super) termination_grace: Duration,
}

impl Site {
    pub(super) fn new(volumes: &KubernetesVolumes, target: TargetId, settings: KubernetesSettings) -> Self {
        Self {
            claims: Api::namespaced(volumes.client.clone(), &settings.namespace),
            snapshots: Api::namespaced(volumes.client.clone(), &settings.namespace),
            announcer: volumes.announcer.clone(),
            termination_grace: volumes.termination_grace,
            target,
            settings,
        }
    }

    /// `namespace/name` of the restore claim, for messages.
    pub(super) fn claim_name(&self) -> String {
        format!("{}/{}", self.settings.namespace, names::claim_name(&self.target))
    }

    /// The restore claim, where it is there.
    pub(super) async fn claim(&self) -> Result<Option<PersistentVolumeClaim>, KubernetesError> {
        let name = names::claim_name(&self.target);
        request(format!("get claim {}", self.claim_name()), self.claims.get_opt(&name)).await
    }

    /// The restore claim, if `version` holds it.
    pub(super) async fn held_claim(&self, version: Version) -> Result<PersistentVolumeClaim, KubernetesError> {
        let Some(claim) = self.claim().await? else { return Err(self.not_held(version, None)) };
        let held_by = self.holder(&claim)?;
        if held_by != version {
            return Err(self.not_held(version, Some(held_by)));
        }
        if is_terminating(&claim) {
            return Err(KubernetesError::Terminating { claim: full_name(&claim) });
        }
        Ok(claim)
    }

    /// The version that holds the restore claim.
    pub(super) fn holder(&self, claim: &PersistentVolumeClaim) -> Result<Version, KubernetesError> {
        match made_for(claim) {
            Some((target, version)) if target == self.target => Ok(version),
            _ => Err(KubernetesError::Foreign { kind: "claim", name: full_name(claim) }),
        }
    }

    /// The error of a caller whose version does not hold the claim.
    pub(super) fn not_held(&self, version: Version, held_by: Option<Version>) -> KubernetesError {
        KubernetesError::NotHeld { claim: self.claim_name(), version, held_by }
    }

    /// The VolumeSnapshot of `version`, where it is there; one that is not ours is an error.
    pub(super) async fn snapshot(&self, version: Version) -> Result<Option<VolumeSnapshot>, KubernetesError> {
        let name = names::volume_snapshot_name(&self.target, version);
        let call = format!("get VolumeSnapshot {}/{name}", self.settings.namespace);
        let Some(snapshot) = request(call, self.snapshots.get_opt(&name)).await? else { return Ok(None) };
        if made_for(&snapshot) != Some((self.target.clone(), version)) {
            return Err(KubernetesError::Foreign { kind: "VolumeSnapshot", name: full_name(&snapshot) });
        }
        Ok(Some(snapshot))
    }

    /// The node's claim, whatever state it is in.
    pub(super) async fn source(&self) -> Result<PersistentVolumeClaim, KubernetesError> {
        let claim = format!("{}/{}", self.settings.namespace, self.settings.source_claim);
        let found = request(format!("get claim {claim}"), self.claims.get_opt(&self.settings.source_claim)).await?;
        found.ok_or(KubernetesError::NoSource { claim })
    }
}

/// The size of a bound claim's volume.
pub(super) fn capacity(claim: &PersistentVolumeClaim) -> Result<Quantity, KubernetesError> {
    let status = claim.status.as_ref();
    let phase = status.and_then(|status| status.phase.clone()).unwrap_or_else(|| "Pending".into());
    let capacity = status.and_then(|status| status.capacity.as_ref()).and_then(|capacity| capacity.get("storage"));
    match capacity {
        Some(capacity) if phase == "Bound" => Ok(capacity.clone()),
        _ => Err(KubernetesError::SourceUnbound { claim: full_name(claim), phase }),
    }
}

/// The size that a claim asks for.
pub(super) fn requested(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage").cloned()
}

/// True once a claim has its volume.
pub(super) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

/// The object's annotation of that name.
pub(super) fn annotation<'a>(object: &'a impl ResourceExt, name: &str) -> Option<&'a str> {
    object.annotations().get(name).map(String::as_str)
}
