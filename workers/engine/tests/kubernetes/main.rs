//! The Kubernetes adapter on a real API server with RBAC, always under the very Role that `k8s/` gives the engine.

mod cluster;
mod cycle;
mod failures;
mod lock;
mod rights;

use std::sync::Arc;

use cluster::{Cluster, target_id, version};
use polkashots_engine::adapters::kubernetes::VolumeSnapshotSpec;
use polkashots_engine::testkit::csi::{Script, bound, failing, ready, taken_at};
use polkashots_engine::testkit::volume_snapshots_contract;
use polkashots_engine::{Acquire, Ready, VolumeSnapshots};
use polkashots_shared::names;

#[tokio::test]
async fn kubernetes_keeps_the_contract_across_two_namespaces() {
    let Some(mut first) = Cluster::with_namespace("contract-a").await else { return };
    let second = first.another_namespace("contract-b").await;
    first.play(Script::ready("10Gi"));
    let _second = first.play_in("contract-b", Script::ready("10Gi"));
    let volumes = Arc::new(first.volumes_of([&first.settings, &second]).await);
    volume_snapshots_contract::run(volumes, &target_id("first"), &target_id("second")).await;
}

#[tokio::test]
async fn claim_and_snapshot_say_what_they_are_made_from_and_by_whom() {
    let Some(mut cluster) = Cluster::with_namespace("shape").await else { return };
    cluster.settings.snapshot_class = Some("csi-fast".into());
    cluster.play(Script::ready("10Gi"));
    let volumes = cluster.volumes().await;
    let (target, first) = (target_id("first"), version("20261122-040000"));
    assert_eq!(volumes.acquire(&target, first).await.expect("acquired"), Acquire::Acquired);
    let made = volumes.ensure_snapshot(&target, first).await.expect("ready");
    let taken_at = taken_at().parse().expect("a time");
    let expected = Ready { name: "first-20261122-040000".into(), claim: "first-restore".into(), taken_at };
    assert_eq!(made, expected);

    let claim = cluster.claim("first-restore").await.expect("a claim");
    let spec = claim.spec.expect("a spec");
    assert_eq!(spec.storage_class_name.as_deref(), Some("fast"), "the class of the node's claim");
    assert_eq!(spec.access_modes, Some(vec!["ReadWriteOnce".to_owned()]));
    assert_eq!(spec.volume_mode.as_deref(), Some("Filesystem"));
    let source = spec.data_source.expect("a source");
    assert_eq!((source.kind.as_str(), source.name.as_str()), ("VolumeSnapshot", "first-20261122-040000"));
    assert_eq!(cluster.size_of("first-restore").await, "10Gi");
    let annotations = claim.metadata.annotations.expect("annotations");
    assert_eq!(annotations.get(names::VERSION_ANNOTATION).map(String::as_str), Some("20261122-040000"));

    let snapshot = cluster.snapshot("first-20261122-040000").await.expect("a snapshot");
    let VolumeSnapshotSpec { source, volume_snapshot_class_name } = snapshot.spec;
    assert_eq!(source.persistent_volume_claim_name.as_deref(), Some("data"));
    assert_eq!(volume_snapshot_class_name.as_deref(), Some("csi-fast"));
    for labels in [claim.metadata.labels, snapshot.metadata.labels] {
        let labels = labels.expect("labels");
        assert_eq!(labels.get(names::MANAGED_BY_LABEL).map(String::as_str), Some("polkashots"));
        assert_eq!(labels.get(names::TARGET_LABEL).map(String::as_str), Some("first"));
    }
}

#[tokio::test]
async fn a_slow_and_failing_driver_is_waited_for_and_told_of() {
    let Some(mut cluster) = Cluster::with_namespace("slow").await else { return };
    cluster.play(Script::new([bound(), failing("rate limit exceeded"), bound(), ready("10Gi")]));
    let volumes = cluster.volumes().await;
    let (target, first) = (target_id("first"), version("20261122-040000"));
    volumes.acquire(&target, first).await.expect("acquired");
    volumes.ensure_snapshot(&target, first).await.expect("ready in the end");
    volumes.release(&target, first).await.expect("released");

    let on_claim = cluster.events_on("data").await;
    for reason in ["VolumeSnapshotRequested", "VolumeSnapshotFailing", "VolumeSnapshotReady", "VolumeSnapshotReleased"]
    {
        assert!(on_claim.iter().any(|(known, _)| known == reason), "no {reason} in {on_claim:?}");
    }
    assert!(on_claim.iter().any(|(_, note)| note.contains("rate limit exceeded")), "{on_claim:?}");
    let on_snapshot = cluster.events_on("first-20261122-040000").await;
    assert!(on_snapshot.iter().any(|(reason, _)| reason == "VolumeSnapshotReady"), "{on_snapshot:?}");
}

#[tokio::test]
async fn a_driver_that_lies_about_readiness_is_not_believed() {
    let Some(mut cluster) = Cluster::with_namespace("lies").await else { return };
    let mut unbound = ready("10Gi");
    unbound["boundVolumeSnapshotContentName"] = serde_json::Value::Null;
    let mut timeless = ready("10Gi");
    timeless["creationTime"] = serde_json::Value::Null;
    let mut contradicted = ready("10Gi");
    contradicted["error"] = failing("the upload broke")["error"].clone();
    cluster.play(Script::new([unbound, timeless, contradicted, bound(), ready("12Gi")]));
    let volumes = cluster.volumes().await;
    let (target, first) = (target_id("first"), version("20261122-040000"));
    volumes.acquire(&target, first).await.expect("acquired");
    volumes.ensure_snapshot(&target, first).await.expect("ready in the end");
    assert_eq!(cluster.size_of("first-restore").await, "12Gi", "only the last state was the truth");
}

#[tokio::test]
async fn a_claim_that_is_too_small_for_its_snapshot_is_made_anew_for_the_same_version() {
    let Some(mut cluster) = Cluster::with_namespace("grow").await else { return };
    cluster.play(Script::ready("20Gi"));
    let volumes = cluster.volumes().await;
    let (target, first) = (target_id("first"), version("20261122-040000"));
    volumes.acquire(&target, first).await.expect("acquired");
    assert_eq!(cluster.size_of("first-restore").await, "10Gi");
    let made = volumes.ensure_snapshot(&target, first).await.expect("ready");
    assert_eq!(cluster.size_of("first-restore").await, "20Gi");
    let uid = cluster.claim("first-restore").await.and_then(|claim| claim.metadata.uid);
    assert_eq!(volumes.ensure_snapshot(&target, first).await.expect("ready"), made);
    assert_eq!(cluster.claim("first-restore").await.and_then(|claim| claim.metadata.uid), uid, "made anew only once");
    let other = version("20261122-100000");
    assert_eq!(volumes.acquire(&target, other).await.expect("busy"), Acquire::Busy { held_by: first });
}

#[tokio::test]
async fn classes_are_the_defaults_unless_they_are_set() {
    let Some(mut cluster) = Cluster::with_namespace("classes").await else { return };
    cluster.play(Script::ready("4Gi"));
    let (target, first, second) = (target_id("first"), version("20261122-040000"), version("20261122-100000"));
    let volumes = cluster.volumes().await;
    volumes.acquire(&target, first).await.expect("acquired");
    volumes.ensure_snapshot(&target, first).await.expect("ready");
    let snapshot = cluster.snapshot("first-20261122-040000").await.expect("a snapshot");
    assert_eq!(snapshot.spec.volume_snapshot_class_name, None, "the cluster chooses the default one");
    assert_eq!(cluster.size_of("first-restore").await, "10Gi", "not smaller than the node's volume");
    volumes.release(&target, first).await.expect("released");

    cluster.settings.storage_class = Some("cheap".into());
    let volumes = cluster.volumes().await;
    assert_eq!(volumes.acquire(&target, second).await.expect("acquired"), Acquire::Acquired);
    let claim = cluster.claim("first-restore").await.expect("a claim");
    assert_eq!(claim.spec.and_then(|spec| spec.storage_class_name).as_deref(), Some("cheap"));
}
