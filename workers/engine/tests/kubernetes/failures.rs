//! Snapshots that never come, and settings that lead nowhere.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use polkashots_engine::testkit::csi::{Script, bound, failing};
use polkashots_engine::{HeldKind, VolumeSnapshotError, VolumeSnapshots};
use serde_json::json;

use crate::cluster::{Cluster, target_id, version};

#[tokio::test]
async fn a_snapshot_that_is_never_ready_ends_at_the_deadline_with_the_last_reason() {
    let mut scripts = [
        ("never", Script::new([bound()]), "the driver has not finished it"),
        ("no-controller", Script::new([]), "no snapshot controller has looked at it"),
        ("fails", Script::new([failing("first"), failing("snapshot quota exceeded")]), "snapshot quota exceeded"),
    ];
    let mut runs = Vec::new();
    for (namespace, script, reason) in &mut scripts {
        let Some(mut cluster) = Cluster::with_namespace(namespace).await else { return };
        cluster.settings.ready_deadline = Duration::from_secs(5);
        cluster.play(script.clone());
        runs.push(times_out(cluster, reason));
    }
    futures::future::join_all(runs).await;
}

async fn times_out(cluster: Cluster, reason: &str) {
    let volumes = cluster.volumes().await;
    let (target, first) = (target_id("first"), version("20261122-040000"));
    volumes.acquire(&target, first).await.expect("acquired");
    let error = volumes.ensure_snapshot(&target, first).await.expect_err("never ready");
    assert!(matches!(error, VolumeSnapshotError::DeadlineExceeded { .. }), "{error}");
    assert!(error.to_string().contains("not done within 5s") && error.to_string().contains(reason), "{error}");
    assert!(!error.is_transient(), "it would take as long again");
    let told = cluster.events_on("data").await;
    let told_why =
        |(event, note): &(String, String)| event == "VolumeSnapshotDeadlineExceeded" && note.contains(reason);
    assert!(told.iter().any(told_why), "{told:?}");

    let kinds: Vec<_> = volumes.held().await.expect("held").into_iter().map(|held| held.kind).collect();
    assert_eq!(kinds, [HeldKind::Claim, HeldKind::VolumeSnapshot], "until somebody tears it down");
    volumes.release(&target, first).await.expect("released");
    assert_eq!(volumes.held().await.expect("held"), []);
}

#[tokio::test]
async fn settings_that_lead_nowhere_are_named() {
    let Some(mut cluster) = Cluster::with_namespace("nowhere").await else { return };
    let first = version("20261122-040000");
    let unknown = cluster.volumes().await.acquire(&target_id("third"), first).await.expect_err("no settings");
    assert!(unknown.to_string().contains("third has no volume configured, configured are first"), "{unknown}");

    cluster.settings.source_claim = "dota".into();
    let missing = cluster.volumes().await.acquire(&target_id("first"), first).await.expect_err("no claim");
    assert!(matches!(missing, VolumeSnapshotError::Permanent { .. }), "{missing}");
    assert!(missing.to_string().contains("the node's claim nowhere/dota is not there"), "{missing}");
}

#[tokio::test]
async fn a_node_without_its_volume_is_tried_again_later() {
    let Some(cluster) = Cluster::with_namespace("pending").await else { return };
    let pending = Patch::Merge(json!({ "status": { "phase": "Pending", "capacity": null } }));
    cluster.claims().patch_status("data", &PatchParams::default(), &pending).await.expect("patched");
    let volumes = cluster.volumes().await;
    let error = volumes.acquire(&target_id("first"), version("20261122-040000")).await.expect_err("not bound");
    assert!(error.is_transient() && error.to_string().contains("pending/data is Pending, expected Bound"), "{error}");
    assert_eq!(volumes.held().await.expect("held"), []);
}
