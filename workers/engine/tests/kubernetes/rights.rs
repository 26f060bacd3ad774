//! The engine's Role allows what it needs and nothing else.

use std::collections::BTreeMap;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use polkashots_engine::adapters::kubernetes::{KubernetesVolumes, required_rules};
use polkashots_engine::{VolumeSnapshotError, VolumeSnapshots};

use crate::cluster::{Cluster, ENGINE, target_id, version};

/// Verb, API group, resource and namespace (none: the whole cluster) of what the engine has no business with.
const NOT_NEEDED: [(&str, &str, &str, &str); 22] = [
    ("update", "", "persistentvolumeclaims", "rights"),
    ("deletecollection", "", "persistentvolumeclaims", "rights"),
    ("patch", "", "persistentvolumeclaims/status", "rights"),
    ("update", "snapshot.storage.k8s.io", "volumesnapshots", "rights"),
    ("patch", "snapshot.storage.k8s.io", "volumesnapshots", "rights"),
    ("deletecollection", "snapshot.storage.k8s.io", "volumesnapshots", "rights"),
    ("patch", "snapshot.storage.k8s.io", "volumesnapshots/status", "rights"),
    ("get", "snapshot.storage.k8s.io", "volumesnapshotcontents", ""),
    ("delete", "snapshot.storage.k8s.io", "volumesnapshotcontents", ""),
    ("create", "snapshot.storage.k8s.io", "volumesnapshotclasses", ""),
    ("get", "", "secrets", "rights"),
    ("list", "", "secrets", "rights"),
    ("get", "", "configmaps", "rights"),
    ("list", "", "pods", "rights"),
    ("create", "", "pods", "rights"),
    ("create", "", "pods/exec", "rights"),
    ("delete", "", "persistentvolumes", ""),
    ("create", "batch", "jobs", "rights"),
    ("list", "events.k8s.io", "events", "rights"),
    ("create", "rbac.authorization.k8s.io", "rolebindings", "rights"),
    ("get", "", "persistentvolumeclaims", "kube-system"),
    ("list", "", "persistentvolumeclaims", ""),
];

#[tokio::test]
async fn the_role_allows_every_verb_needed_and_refuses_the_others() {
    let Some(cluster) = Cluster::with_namespace("rights").await else { return };
    for rule in required_rules() {
        let (groups, resources) = (rule.api_groups.expect("groups"), rule.resources.expect("resources"));
        for verb in &rule.verbs {
            let allowed = is_allowed(&cluster.admin, verb, &groups[0], &resources[0], "rights").await;
            assert!(allowed, "{verb} {} is refused", resources[0]);
        }
    }
    for (verb, group, resource, namespace) in NOT_NEEDED {
        let allowed = is_allowed(&cluster.admin, verb, group, resource, namespace).await;
        assert!(!allowed, "{verb} {resource} is allowed in {namespace:?}");
    }
}

async fn is_allowed(admin: &Client, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(a, b)| (a, Some(b.to_owned())));
    let attributes = ResourceAttributes {
        verb: Some(verb.into()),
        group: Some(group.into()),
        resource: Some(resource.into()),
        subresource,
        namespace: Some(namespace.into()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(ENGINE.into()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::all(admin.clone()).create(&PostParams::default(), &review).await.expect("an answer");
    answer.status.expect("a verdict").allowed
}

#[tokio::test]
async fn a_missing_right_is_a_permanent_error_that_names_it() {
    let Some(cluster) = Cluster::with_namespace("no-rights").await else { return };
    let nobody = cluster.server.client_as("system:serviceaccount:polkashots:nobody").await;
    let targets = BTreeMap::from([(target_id("first"), cluster.settings.clone())]);
    let volumes = KubernetesVolumes::new(nobody, targets);
    let refused = [
        volumes.acquire(&target_id("first"), version("20261122-040000")).await.map(drop),
        volumes.release(&target_id("first"), version("20261122-040000")).await,
        volumes.held().await.map(drop),
    ];
    for result in refused {
        let error = result.expect_err("refused");
        assert!(matches!(error, VolumeSnapshotError::Permanent { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("cannot") && text.contains("Role of the engine's ServiceAccount"), "{text}");
    }
}
