//! The engine's Role allows what it needs and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use polkashots_engine::adapters::kubernetes::{KubernetesVolumes, VolumeSnapshot, required_rules};
use polkashots_engine::testkit::rights::engine_role;
use polkashots_engine::{VolumeSnapshotError, VolumeSnapshots};

use serde_json::json;

use crate::cluster::{Cluster, target_id, version};

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
    for rule in engine_role().rules.expect("rules") {
        let (groups, resources) = (rule.api_groups.expect("groups"), rule.resources.expect("resources"));
        for verb in &rule.verbs {
            let allowed = is_allowed(&cluster, verb, &groups[0], &resources[0], "rights").await;
            assert!(allowed, "{verb} {} is refused", resources[0]);
        }
    }
    for (verb, group, resource, namespace) in NOT_NEEDED {
        let allowed = is_allowed(&cluster, verb, group, resource, namespace).await;
        assert!(!allowed, "{verb} {resource} is allowed in {namespace:?}");
    }
}

async fn is_allowed(cluster: &Cluster, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
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
        user: Some(cluster.engine.clone()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::all(cluster.admin.clone()).create(&PostParams::default(), &review).await.expect("an answer");
    answer.status.expect("a verdict").allowed
}

/// One `verb group/resource` for each right, so that order and grouping of rules do not matter.
fn flat(rules: &[PolicyRule]) -> BTreeSet<String> {
    let mut flat = BTreeSet::new();
    for rule in rules {
        assert!(rule.resource_names.is_none() && rule.non_resource_urls.is_none(), "{rule:?}");
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                flat.extend(rule.verbs.iter().map(|verb| format!("{verb} {group}/{resource}")));
            }
        }
    }
    flat
}

#[test]
fn the_role_of_k8s_is_the_one_that_the_engine_says_it_needs() {
    assert_eq!(flat(&engine_role().rules.expect("rules")), flat(&required_rules()));
}

#[tokio::test]
async fn the_engine_itself_is_refused_what_it_does_not_need() {
    let Some(cluster) = Cluster::with_namespace("refused").await else { return };
    let engine: Client = cluster.server.client_as(&cluster.engine).await;
    let secrets: Api<Secret> = Api::namespaced(engine.clone(), "refused");
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(engine.clone(), "refused");
    let others: Api<PersistentVolumeClaim> = Api::namespaced(engine.clone(), "default");
    let snapshots: Api<VolumeSnapshot> = Api::namespaced(engine, "refused");
    let (delete, list) = (DeleteParams::default(), ListParams::default());
    let unlocked = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    let refused = [
        secrets.list(&list).await.map(drop),
        others.list(&list).await.map(drop),
        claims.delete_collection(&delete, &list).await.map(drop),
        snapshots.delete_collection(&delete, &list).await.map(drop),
        snapshots.patch("any", &PatchParams::default(), &unlocked).await.map(drop),
    ];
    for (index, result) in refused.into_iter().enumerate() {
        let refused = matches!(&result, Err(kube::Error::Api(status)) if status.code == 403);
        assert!(refused, "call {index}: {result:?}");
    }
    assert!(cluster.claim("data").await.is_some(), "the node's claim is gone");
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
