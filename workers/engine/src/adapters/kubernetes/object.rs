//! What every Kubernetes object of ours says about itself.

use std::collections::BTreeMap;
use std::fmt::Debug;

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::runtime::wait::{self, await_condition, conditions};
use kube::{Api, Resource, ResourceExt};
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;
use serde::de::DeserializeOwned;

use super::error::KubernetesError;

/// The label selector of all our objects.
pub(super) fn selector() -> String {
    format!("{}={},{}", names::MANAGED_BY_LABEL, names::MANAGED_BY, names::TARGET_LABEL)
}

/// The metadata of a new object.
pub(super) fn meta(name: String, namespace: &str, target: &TargetId, version: Version) -> ObjectMeta {
    let labels = [(names::MANAGED_BY_LABEL, names::MANAGED_BY), (names::TARGET_LABEL, target.as_str())];
    let labels = labels.map(|(label, value)| (label.to_owned(), value.to_owned()));
    ObjectMeta {
        name: Some(name),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels.into()),
        annotations: Some(BTreeMap::from([(names::VERSION_ANNOTATION.to_owned(), version.to_string())])),
        ..ObjectMeta::default()
    }
}

/// The target and version that an object was made for; `None` where it is not one of ours.
pub(super) fn made_for(object: &impl ResourceExt) -> Option<(TargetId, Version)> {
    if object.labels().get(names::MANAGED_BY_LABEL)? != names::MANAGED_BY {
        return None;
    }
    let target = object.labels().get(names::TARGET_LABEL)?.parse().ok()?;
    let version = object.annotations().get(names::VERSION_ANNOTATION)?.parse().ok()?;
    Some((target, version))
}

/// True once somebody deleted the object; it goes when its last finalizer does.
pub(super) fn is_terminating(object: &impl ResourceExt) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// Waits, for as long as it takes, until a deleted object is gone.
pub(super) async fn wait_until_gone<K>(api: &Api<K>, object: &K) -> Result<(), KubernetesError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let uid = object.uid().unwrap_or_default();
    match await_condition(api.clone(), &object.name_any(), conditions::is_deleted(&uid)).await {
        Ok(_) => Ok(()),
        Err(wait::Error::ProbeFailed(error)) => {
            Err(KubernetesError::watch(format!("watch {} {}", K::kind(&()), full_name(object)), error))
        }
    }
}

/// `namespace/name`, for messages.
pub(super) fn full_name(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// A time of the API, in whole seconds.
pub(super) fn utc(time: &Time) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.0.as_second(), 0)
}
