//! Teardown, and what is left to tear down.

use std::collections::BTreeSet;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;
use serde::de::DeserializeOwned;
use tracing::{info, warn};

use super::KubernetesVolumes;
use super::announce::News;
use super::error::{KubernetesError, request};
use super::object::{full_name, is_terminating, made_for, selector, utc};
use super::volume_snapshot::VolumeSnapshot;
use crate::{Held, HeldKind};

/// Deletes the VolumeSnapshot of `version`, then the claim that it holds; waits for neither.
///
/// A target that is not configured any more is looked for in all configured namespaces.
pub(super) async fn release(
    volumes: &KubernetesVolumes,
    target: &TargetId,
    version: Version,
) -> Result<(), KubernetesError> {
    let namespaces = match volumes.targets.get(target) {
        Some(settings) => BTreeSet::from([settings.namespace.as_str()]),
        None => volumes.namespaces(),
    };
    let mut deleted = false;
    for namespace in namespaces {
        let snapshots: Api<VolumeSnapshot> = Api::namespaced(volumes.client.clone(), namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(volumes.client.clone(), namespace);
        let snapshot = names::volume_snapshot_name(target, version);
        deleted |= delete(&snapshots, namespace, &snapshot, target, version).await?;
        deleted |= delete(&claims, namespace, &names::claim_name(target), target, version).await?;
    }
    if deleted {
        info!(%target, %version, "released");
        tell(volumes, target, version).await;
    }
    Ok(())
}

/// Deletes the object if it was made for that version; false where there was nothing to delete.
async fn delete<K>(
    api: &Api<K>,
    namespace: &str,
    name: &str,
    target: &TargetId,
    version: Version,
) -> Result<bool, KubernetesError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let kind = K::kind(&());
    let call = |verb| format!("{verb} {kind} {namespace}/{name}");
    let Some(object) = request(call("get"), api.get_opt(name)).await? else { return Ok(false) };
    if is_terminating(&object) || made_for(&object).as_ref() != Some(&(target.clone(), version)) {
        return Ok(false);
    }
    // The version of an object with this uid never changes, so the uid is all that can have gone stale.
    let same = Preconditions { uid: object.uid(), resource_version: None };
    match request(call("delete"), api.delete(name, &DeleteParams::default().preconditions(same))).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_refusal(&[404]) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn tell(volumes: &KubernetesVolumes, target: &TargetId, version: Version) {
    let Ok(site) = volumes.site(target) else { return };
    match site.source().await {
        Ok(source) => {
            let note = format!("{} and claim {} were deleted", site.name(version), site.claim_name());
            volumes.announcer.tell(News::Released, &note, &[&source.object_ref(&())]).await;
        }
        Err(error) => warn!(%target, %error, "an Event was not published"),
    }
}

/// Everything of ours in `namespaces` that nobody has deleted yet.
pub(super) async fn held(client: &Client, namespaces: &BTreeSet<&str>) -> Result<Vec<Held>, KubernetesError> {
    let mut held = Vec::new();
    for namespace in namespaces {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        held.extend(list(&claims, namespace, HeldKind::Claim).await?);
        let snapshots: Api<VolumeSnapshot> = Api::namespaced(client.clone(), namespace);
        held.extend(list(&snapshots, namespace, HeldKind::VolumeSnapshot).await?);
    }
    held.sort_by(|a, b| (&a.target, a.version, a.kind).cmp(&(&b.target, b.version, b.kind)));
    Ok(held)
}

async fn list<K>(api: &Api<K>, namespace: &str, kind: HeldKind) -> Result<Vec<Held>, KubernetesError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let params = ListParams::default().labels(&selector());
    let objects = request(format!("list {} in {namespace}", K::plural(&())), api.list(&params)).await?;
    Ok(objects.iter().filter(|object| !is_terminating(*object)).filter_map(|object| to_held(object, kind)).collect())
}

/// What an object holds; none where its labels are ours and its name or version is not, as of a copied manifest.
fn to_held(object: &impl ResourceExt, kind: HeldKind) -> Option<Held> {
    let made = made_for(object).filter(|(target, version)| match kind {
        HeldKind::Claim => object.name_any() == names::claim_name(target),
        HeldKind::VolumeSnapshot => object.name_any() == names::volume_snapshot_name(target, *version),
    });
    let Some((target, version)) = made else {
        warn!(name = full_name(object), "has our labels and not our name and version; it is left alone");
        return None;
    };
    let since = object.creation_timestamp().as_ref().and_then(utc).unwrap_or_else(|| version.time());
    Some(Held { target, version, since, kind })
}
