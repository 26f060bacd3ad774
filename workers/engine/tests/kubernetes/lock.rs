//! The claim is the lock: lost, in use, or somebody else's.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use polkashots_engine::adapters::kubernetes::VolumeSnapshot;
use polkashots_engine::testkit::csi::{Script, bind, bound, ready};
use polkashots_engine::{Acquire, HeldKind, VolumeSnapshotError, VolumeSnapshots};
use serde_json::json;

use crate::cluster::{Cluster, target_id, version};

const FIRST: &str = "20261122-040000";
const SECOND: &str = "20261122-100000";

#[tokio::test]
async fn a_lock_that_was_lost_while_waiting_is_noticed_and_left_to_its_holder() {
    let Some(mut cluster) = Cluster::with_namespace("lost").await else { return };
    cluster.play(Script::new([bound()]));
    let volumes = cluster.volumes().await;
    let target = target_id("first");
    volumes.acquire(&target, version(FIRST)).await.expect("acquired");
    let waiting = tokio::spawn({
        let (volumes, target) = (volumes.clone(), target.clone());
        async move { volumes.ensure_snapshot(&target, version(FIRST)).await }
    });
    let name = format!("first-{FIRST}");
    let is_bound = |snapshot: Option<&VolumeSnapshot>| snapshot.is_some_and(|snapshot| snapshot.status.is_some());
    await_condition(cluster.snapshots(), &name, is_bound).await.expect("a snapshot");

    cluster.claims().delete("first-restore", &DeleteParams::default()).await.expect("deleted by hand");
    assert_eq!(volumes.acquire(&target, version(SECOND)).await.expect("free"), Acquire::Acquired);
    let status = Patch::Merge(json!({ "status": ready("10Gi") }));
    cluster.snapshots().patch_status(&name, &PatchParams::default(), &status).await.expect("ready");
    let error = waiting.await.expect("no panic").expect_err("the lock is lost");
    assert!(error.is_transient() && error.to_string().contains(&format!("but by {SECOND}")), "{error}");
    let held = volumes.held().await.expect("held");
    let claims: Vec<_> = held.iter().filter(|held| held.kind == HeldKind::Claim).map(|held| held.version).collect();
    assert_eq!(claims, [version(SECOND)]);
    volumes.release(&target, version(FIRST)).await.expect("released");
    assert_eq!(volumes.acquire(&target, version(SECOND)).await.expect("still held"), Acquire::Acquired);
}

#[tokio::test]
async fn a_snapshot_that_is_deleted_while_it_is_waited_for_ends_the_wait() {
    let Some(mut cluster) = Cluster::with_namespace("deleted").await else { return };
    cluster.play(Script::new([bound()]));
    let volumes = cluster.volumes().await;
    let target = target_id("first");
    volumes.acquire(&target, version(FIRST)).await.expect("acquired");
    let name = format!("first-{FIRST}");
    let is_bound = |snapshot: Option<&VolumeSnapshot>| snapshot.is_some_and(|snapshot| snapshot.status.is_some());
    let delete = async {
        await_condition(cluster.snapshots(), &name, is_bound).await.expect("a snapshot");
        volumes.release(&target, version(FIRST)).await.expect("released by another life");
    };
    let wait = version(FIRST);
    let (waited, ()) = tokio::join!(volumes.ensure_snapshot(&target, wait), delete);
    let error = waited.expect_err("gone");
    assert!(error.is_transient() && error.to_string().contains("deleted while it was waited for"), "{error}");
    assert_eq!(volumes.held().await.expect("held"), []);
}

#[tokio::test]
async fn a_claim_in_use_by_a_pod_stays_busy_until_the_pod_is_gone() {
    let Some(mut cluster) = Cluster::with_namespace("in-use").await else { return };
    cluster.play(Script::ready("10Gi"));
    let volumes = cluster.volumes().await;
    let target = target_id("first");
    volumes.acquire(&target, version(FIRST)).await.expect("acquired");
    volumes.ensure_snapshot(&target, version(FIRST)).await.expect("ready");
    let pods: Api<Pod> = Api::namespaced(cluster.admin.clone(), "in-use");
    let pod = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "snapshotter" },
        "spec": {
            "nodeName": "node-1", "containers": [{ "name": "main", "image": "snapshotter" }],
            "volumes": [{ "name": "claim", "persistentVolumeClaim": { "claimName": "first-restore" } }],
        },
    }));
    pods.create(&PostParams::default(), &pod.expect("a pod")).await.expect("a pod");

    volumes.release(&target, version(FIRST)).await.expect("released");
    assert_eq!(volumes.held().await.expect("held"), [], "what is being deleted is released");
    let impatient = volumes.clone().with_termination_grace(std::time::Duration::from_millis(500));
    let busy = Acquire::Busy { held_by: version(FIRST) };
    assert_eq!(impatient.acquire(&target, version(SECOND)).await.expect("busy"), busy);
    let error = impatient.acquire(&target, version(FIRST)).await.expect_err("its own claim is going");
    assert!(error.is_transient() && error.to_string().contains("still being deleted"), "{error}");

    pods.delete("snapshotter", &DeleteParams::default().grace_period(0)).await.expect("the pod ends");
    let patient = volumes.clone().with_termination_grace(std::time::Duration::from_secs(60));
    assert_eq!(patient.acquire(&target, version(SECOND)).await.expect("free at last"), Acquire::Acquired);
}

#[tokio::test]
async fn what_is_not_ours_is_neither_used_nor_deleted() {
    let Some(cluster) = Cluster::with_namespace("foreign").await else { return };
    let volumes = cluster.volumes().await;
    let target = target_id("first");
    let foreign = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "first-restore" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    let foreign: PersistentVolumeClaim = serde_json::from_value(foreign).expect("a claim");
    cluster.claims().create(&PostParams::default(), &foreign).await.expect("a claim");
    for result in [
        volumes.acquire(&target, version(FIRST)).await.map(drop),
        volumes.ensure_snapshot(&target, version(FIRST)).await.map(drop),
    ] {
        let error = result.expect_err("not ours");
        assert!(matches!(error, VolumeSnapshotError::Permanent { .. }), "{error}");
        assert!(error.to_string().contains("foreign/first-restore was not made by this program"), "{error}");
    }
    volumes.release(&target, version(FIRST)).await.expect("nothing of ours");
    assert_eq!(volumes.held().await.expect("held"), []);
    let claim = cluster.claim("first-restore").await.expect("still there");
    assert_eq!(claim.metadata.deletion_timestamp, None);
}

#[tokio::test]
async fn a_snapshot_deleted_by_hand_is_never_taken_anew_under_the_same_version() {
    let Some(mut cluster) = Cluster::with_namespace("by-hand").await else { return };
    cluster.play(Script::ready("10Gi"));
    let volumes = cluster.volumes().await;
    let target = target_id("first");
    volumes.acquire(&target, version(FIRST)).await.expect("acquired");
    let made = volumes.ensure_snapshot(&target, version(FIRST)).await.expect("ready");
    cluster.snapshots().delete(&made.name, &DeleteParams::default()).await.expect("deleted by hand");

    let error = volumes.ensure_snapshot(&target, version(FIRST)).await.expect_err("lost");
    assert!(matches!(error, VolumeSnapshotError::Permanent { .. }), "{error}");
    assert!(error.to_string().contains("trigger a new snapshot"), "{error}");
    bind(&cluster.claims(), "first-restore", "10Gi").await;
    let again = volumes.ensure_snapshot(&target, version(FIRST)).await.expect("the volume has it all");
    assert_eq!(again, made);
}

#[tokio::test]
async fn a_snapshot_that_its_controller_does_not_let_go_keeps_its_finalizer() {
    let Some(mut cluster) = Cluster::with_namespace("finalizer").await else { return };
    cluster.play(Script::ready("10Gi"));
    let volumes = cluster.volumes().await;
    let target = target_id("first");
    volumes.acquire(&target, version(FIRST)).await.expect("acquired");
    let made = volumes.ensure_snapshot(&target, version(FIRST)).await.expect("ready");
    cluster.pause();

    volumes.release(&target, version(FIRST)).await.expect("released");
    volumes.release(&target, version(FIRST)).await.expect("released again");
    let snapshot = cluster.snapshot(&made.name).await.expect("its controller has not let it go");
    assert!(snapshot.metadata.deletion_timestamp.is_some(), "it is being deleted");
    assert_eq!(snapshot.metadata.finalizers.map(|finalizers| finalizers.len()), Some(1), "nobody patched it away");
    assert_eq!(volumes.held().await.expect("held"), [], "what is being deleted is released");
    assert_eq!(volumes.acquire(&target, version(SECOND)).await.expect("free"), Acquire::Acquired);
}
