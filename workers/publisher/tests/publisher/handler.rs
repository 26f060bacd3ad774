//! The publisher's handler on memory adapters.

use std::process::Command;
use std::sync::Arc;

use crate::common::{DOT, KSM, World, key, uploaded, version};
use polkashots_publisher::adapters::directory_host::DirectoryHost;
use polkashots_publisher::index::{SignedIndex, StoredIndex, Swap};
use polkashots_publisher::testkit::publish_fake_snapshot;
use polkashots_publisher::{SiteHost, handle, refresh};
use polkashots_shared::event::Payload;
use polkashots_shared::index::Index;
use polkashots_shared::minisign;
use polkashots_shared::names;
use polkashots_shared::ports::object_store::ObjectStore;
use polkashots_shared::testkit::{Fault, FaultPlan, Faulty};

const V1: &str = "20261122-040000";
const V2: &str = "20261122-100000";

#[tokio::test]
async fn an_uploaded_snapshot_is_signed_listed_shown_and_announced() -> anyhow::Result<()> {
    let world = World::new();
    let outcome = world.publish(DOT, V1, 396).await?;
    let Payload::SnapshotPublished(published) = &outcome.emit[0].payload else { panic!("expected published") };
    assert_eq!(published.height, 396);
    assert_eq!(published.url, format!("https://archive.example/{DOT}/{V1}.manifest.json"));
    assert_eq!(world.listed(DOT), [V1]);
    let site = world.host.deployed().pop().expect("a site");
    let page = String::from_utf8(site.files[&format!("targets/{DOT}/index.html")].to_vec())?;
    assert!(page.contains(&published.hash.to_string()), "the full hash is on the page");
    let to =
        |from: &str| site.redirects.iter().find(|redirect| redirect.from == from).map(|redirect| redirect.to.clone());
    assert_eq!(to("/dot/paritydb"), Some(format!("https://archive.example/{DOT}/{V1}.tar.zst")));
    assert_eq!(to("/dot/paritydb.manifest.json.minisig"), Some(format!("{}.minisig", published.url)));
    assert!(site.redirects.iter().all(|redirect| redirect.status == 302));
    assert_eq!(site.files["index.json"], world.bytes("index.json").expect("the index"));
    Ok(())
}

#[tokio::test]
async fn redelivery_changes_no_byte_and_announces_again() -> anyhow::Result<()> {
    let world = World::new();
    world.upload(KSM, V1, 12).await?;
    let first = world.publish(DOT, V1, 396).await?;
    let before = world.store.objects();
    let again = world.handle(DOT, V1).await?;
    assert_eq!(first.emit, again.emit);
    assert_eq!(world.store.objects(), before);
    assert_eq!(world.host.deployed().len(), 1, "a deploy that changes nothing is skipped");
    Ok(())
}

#[tokio::test]
async fn a_wrong_or_missing_artifact_is_never_listed_and_hurts_nobody_else() -> anyhow::Result<()> {
    let world = World::new();
    world.upload(DOT, V1, 396).await?;
    world.upload(KSM, V1, 12).await?;
    world.upload(KSM, V2, 13).await?;
    assert!(world.store.tamper(&format!("{DOT}/{V1}.tar.zst"), format!("archive of {DOT} {V1} at 999")));
    world.store.delete(&format!("{KSM}/{V2}.frames.json.zst")).await?;
    let error = world.handle(DOT, V1).await.expect_err("the archive is wrong");
    assert!(error.is_permanent() && error.to_string().contains("has SHA-256"), "{error}");
    let error = world.handle(KSM, V2).await.expect_err("the frames index is missing");
    assert!(error.is_permanent() && error.to_string().contains("is not there"), "{error}");
    assert_eq!(world.listed(DOT), [""; 0]);
    assert_eq!(world.listed(KSM), [V1]);
    assert!(world.bytes(&format!("{DOT}/{V1}.manifest.json.minisig")).is_none(), "nothing wrong is signed");
    assert!(world.bytes(&format!("{DOT}/{V1}.failed.json")).is_some(), "the failure is recorded");
    Ok(())
}

#[tokio::test]
async fn a_manifest_of_another_genesis_is_not_signed() -> anyhow::Result<()> {
    let world = World::new();
    let mut target = world.target(DOT);
    target.chain.genesis_hash = world.target(KSM).chain.genesis_hash;
    publish_fake_snapshot(world.store.as_ref(), &target, version(V1), 1).await?;
    let error = world.handle(DOT, V1).await.expect_err("another genesis");
    assert!(error.is_permanent() && error.to_string().contains("genesis"), "{error}");
    Ok(())
}

#[tokio::test]
async fn an_event_before_its_manifest_is_seen_comes_again_and_an_unknown_target_never() {
    let world = World::new();
    let early = world.handle(DOT, V1).await.expect_err("nothing is there");
    assert!(!early.is_permanent(), "{early}");
    let unknown = world.handle("westend", V1).await.expect_err("not configured");
    assert!(unknown.is_permanent() && unknown.to_string().contains(KSM), "{unknown}");
}

#[tokio::test]
async fn snapshots_of_an_old_key_stay_listed_and_of_an_unknown_key_stop_the_run() -> anyhow::Result<()> {
    let mut world = World::new();
    world.publish(DOT, V1, 396).await?;
    world.deps.signing_key = Arc::new(key("other.key"));
    let error = refresh(&world.deps).await.expect_err("the newest would go backwards");
    assert!(error.to_string().contains("old public keys"), "{error}");
    world.deps.old_keys = vec![key("test.key").public_key()];
    world.publish(DOT, V2, 397).await?;
    assert_eq!(world.listed(DOT), [V2, V1]);
    Ok(())
}

#[tokio::test]
async fn versions_order_by_time_and_a_late_old_one_does_not_become_newest() -> anyhow::Result<()> {
    let world = World::new();
    world.publish(DOT, "20261122-100000", 1_000_000).await?;
    world.publish(DOT, "20261122-040000", 999_999).await?;
    assert_eq!(world.listed(DOT), ["20261122-100000", "20261122-040000"]);
    Ok(())
}

#[tokio::test]
async fn two_publishers_at_once_lose_no_snapshot() -> anyhow::Result<()> {
    let world = World::new();
    world.upload(DOT, V1, 396).await?;
    world.upload(KSM, V1, 12).await?;
    let (dot, ksm) = (uploaded(DOT, V1), uploaded(KSM, V1));
    let (first, second) = tokio::join!(handle(&dot, &world.deps), handle(&ksm, &world.deps));
    assert_eq!((first?.emit.len(), second?.emit.len()), (1, 1));
    assert_eq!((world.listed(DOT), world.listed(KSM)), (vec![V1.to_owned()], vec![V1.to_owned()]));
    assert_signed(&world);
    Ok(())
}

#[tokio::test]
async fn minisign_accepts_every_signature() -> anyhow::Result<()> {
    let world = World::new();
    world.publish(DOT, V1, 396).await?;
    let folder = tempfile::tempdir()?;
    let objects = world.store.objects();
    let signed: Vec<&String> = objects.keys().filter(|key| objects.contains_key(&format!("{key}.minisig"))).collect();
    assert_eq!(signed.len(), 3, "index, manifest and sums");
    for key in signed {
        std::fs::write(folder.path().join("file"), &objects[key].bytes)?;
        std::fs::write(folder.path().join("file.minisig"), &objects[&format!("{key}.minisig")].bytes)?;
        let file = folder.path().join("file");
        let ran = Command::new("minisign")
            .arg("-Vm")
            .arg(&file)
            .arg("-p")
            .arg(crate::common::fixture("test.pub"))
            .output()?;
        assert!(ran.status.success(), "{key}: {}", String::from_utf8_lossy(&ran.stderr));
    }
    Ok(())
}

#[tokio::test]
async fn every_fault_of_store_and_host_at_every_call_heals_with_a_redelivery() -> anyhow::Result<()> {
    let calls = faultless_calls().await?;
    let mut cases = 0;
    for position in 0..calls + 1 {
        for fault in [Fault::ErrorBefore, Fault::ErrorAfter, Fault::CrashBefore, Fault::CrashAfter] {
            heals(position, fault).await.map_err(|error| error.context(format!("{fault:?} at call {position}")))?;
            cases += 1;
        }
    }
    assert!(cases > 60, "only {cases} cases were tried");
    Ok(())
}

async fn faultless_calls() -> anyhow::Result<usize> {
    let world = World::new();
    world.upload(DOT, V1, 396).await?;
    let plan = FaultPlan::none();
    handle(&uploaded(DOT, V1), &faulty(&world, &plan)).await?;
    let calls = plan.calls();
    anyhow::ensure!(calls.iter().any(|call| call == "site_host.deploy"), "no deploy among {calls:?}");
    Ok(calls.len())
}

/// The world's effects, which go wrong as planned.
pub fn faulty(world: &World, plan: &FaultPlan) -> polkashots_publisher::Deps {
    let store: Arc<dyn ObjectStore> = Arc::new(Faulty::new(world.store.clone(), plan));
    let host: Arc<dyn SiteHost> = Arc::new(Faulty::new(world.host.clone(), plan));
    polkashots_publisher::Deps { store, host, ..world.deps.clone() }
}

async fn heals(position: usize, fault: Fault) -> anyhow::Result<()> {
    let world = World::new();
    world.upload(DOT, V1, 396).await?;
    let plan = FaultPlan::at(position, fault);
    let (event, deps) = (uploaded(DOT, V1), faulty(&world, &plan));
    tokio::select! {
        _ = handle(&event, &deps) => {}
        () = plan.crashed() => {}
    }
    for key in world.store.keys() {
        anyhow::ensure!(key != "index.json" || world.listed(DOT) == [V1], "a half index was seen");
    }
    anyhow::ensure!(world.host.deployed().is_empty() || world.listed(DOT) == [V1], "the site came before the index");
    let outcome = world.handle(DOT, V1).await?;
    anyhow::ensure!(outcome.emit.len() == 1, "not announced");
    let site = world.host.deployed().pop().ok_or_else(|| anyhow::anyhow!("no site"))?;
    anyhow::ensure!(world.bytes("index.json").as_ref() == site.files.get("index.json"), "the site has another index");
    assert_signed(&world);
    Ok(())
}

fn assert_signed(world: &World) {
    let public = world.deps.signing_key.public_key();
    let index = world.bytes(names::INDEX_KEY).expect("the index");
    let signature = world.bytes(names::INDEX_SIGNATURE_KEY).expect("its signature");
    minisign::verify(&public, &index, &String::from_utf8_lossy(&signature)).expect("the index verifies");
    for target in world.index().targets {
        for snapshot in target.snapshots {
            let manifest = world.bytes(&snapshot.manifest).expect("the manifest");
            let signature = world.bytes(&format!("{}.minisig", snapshot.manifest)).expect("its signature");
            minisign::verify(&public, &manifest, &String::from_utf8_lossy(&signature)).expect("it verifies");
        }
    }
}

#[tokio::test]
async fn a_directory_that_holds_something_else_is_not_replaced() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("keep.txt"), "mine")?;
    let error = DirectoryHost::open(folder.path()).expect_err("not ours");
    assert!(error.to_string().contains("an empty directory or a link"), "{error}");
    assert!(folder.path().join("keep.txt").is_file());
    Ok(())
}

#[tokio::test]
async fn a_swap_of_a_stale_index_is_refused_and_changes_nothing() -> anyhow::Result<()> {
    let world = World::new();
    world.publish(DOT, V1, 396).await?;
    let stale = StoredIndex::read(world.store.as_ref()).await?;
    let old = SignedIndex::new(&world.index(), &key("test.key"))?;
    let older = SignedIndex::new(&Index { targets: Vec::new(), ..world.index() }, &key("test.key"))?;
    assert_eq!(stale.swap(world.store.as_ref(), &old).await?, Swap::Done, "the same bytes are not written again");
    world.publish(DOT, V2, 397).await?;
    assert_eq!(stale.swap(world.store.as_ref(), &older).await?, Swap::Changed);
    assert_eq!(world.listed(DOT), [V2, V1]);
    assert_signed(&world);
    Ok(())
}
