//! Every event may come again, at every moment of a run.

mod common;

use std::sync::Arc;

use anyhow::{Context, Result};
use common::{GivenIdentity, Host, version};
use polkashots_shared::event::SnapshotFailed;
use polkashots_shared::names;
use polkashots_shared::target::Format;
use polkashots_shared::testkit::{Fault, FaultPlan, Faulty};
use polkashots_snapshotter::{Deps, handle};

#[tokio::test]
async fn a_redelivered_event_changes_nothing_and_is_told_again() -> Result<()> {
    let host = Host::with_base_path()?;
    let first = host.run().await?.emit;
    let objects = host.store.objects();
    std::fs::remove_dir_all(host.chain_dir())?;
    let second = host.run().await?.emit;
    assert_eq!((first.len(), &first), (1, &second));
    assert_eq!(host.store.objects(), objects);
    Ok(())
}

#[tokio::test]
async fn an_archive_of_other_content_is_never_replaced() -> Result<()> {
    let host = Host::with_base_path()?;
    host.run().await?;
    let key = names::manifest_key(&host.target.id, version());
    polkashots_shared::ports::object_store::ObjectStore::delete(&host.store, &key).await?;
    host.file("db/full/CURRENT", b"MANIFEST-000005\n")?;
    let (text, permanent) = host.refusal().await?;
    assert!(permanent && text.contains(".tar.zst") && text.contains("objects are never replaced"), "{text}");
    assert!(!host.store.keys().contains(&key), "a manifest names what is not there");
    Ok(())
}

#[tokio::test]
async fn a_snapshot_that_failed_stays_failed() -> Result<()> {
    let host = Host::with_base_path()?;
    let failed = SnapshotFailed {
        target: host.target.id.clone(),
        version: version(),
        worker: "engine".into(),
        reason: "torn down".into(),
    };
    polkashots_shared::failure::record(&host.store, &failed, version().time()).await?;
    let (text, permanent) = host.refusal().await?;
    assert!(permanent && text.contains("has failed already (torn down)"), "{text}");
    assert_eq!(host.store.keys().len(), 1);
    Ok(())
}

/// One life: ends with the handler's own end or with the process's death.
async fn live(host: &Host, deps: &Deps, plan: &FaultPlan) -> bool {
    let event = host.event();
    tokio::select! {
        biased;
        () = plan.crashed() => {
            plan.revive();
            false
        }
        handled = handle(&event, deps) => handled.is_ok(),
    }
}

fn faulty(host: &Host, plan: &FaultPlan) -> Deps {
    let database = Arc::new(GivenIdentity(host.identity.clone()));
    Deps {
        store: Arc::new(Faulty::new(Arc::new(host.store.clone()), plan)),
        chain_database: Arc::new(Faulty::new(database, plan)),
        ..host.deps()
    }
}

#[tokio::test]
async fn every_port_call_may_fail_in_every_way_and_the_next_life_heals_it() -> Result<()> {
    let mut host = Host::with_base_path()?;
    host.target.formats = vec![Format::TarZst, Format::TarLz4, Format::Tree];
    let counting = FaultPlan::none();
    assert!(live(&host, &faulty(&host, &counting), &counting).await);
    let (calls, expected) = (counting.calls().len(), host.store.objects());
    let mut cases = 0;
    for position in 0..calls {
        for fault in Fault::ALL {
            host.store = Default::default();
            let plan = FaultPlan::at(position, fault);
            let deps = faulty(&host, &plan);
            let mut lives = 0;
            while !live(&host, &deps, &plan).await {
                lives += 1;
                assert!(lives < 4, "{plan}: does not heal");
                assert_manifest_is_last(&host, &plan, expected.len());
            }
            let found = host.store.objects();
            assert!(found.keys().eq(expected.keys()), "{plan}: {:?}", found.keys());
            for (key, object) in &expected {
                assert_eq!(found[key].bytes, object.bytes, "{plan}: {key}");
            }
            cases += 1;
        }
    }
    say(&format!("{calls} port calls, {cases} cases"));
    assert!(cases >= 40);
    Ok(())
}

fn assert_manifest_is_last(host: &Host, plan: &FaultPlan, objects: usize) {
    let keys = host.store.keys();
    if keys.contains(&names::manifest_key(&host.target.id, version())) {
        assert_eq!(keys.len(), objects, "{plan}: a manifest names what is not there: {keys:?}");
    }
}

#[tokio::test]
async fn a_dropped_run_leaves_nothing_visible_and_closes_the_claim() -> Result<()> {
    let host = Host::with_base_path()?;
    let plan = FaultPlan::none();
    let position = {
        let deps = faulty(&host, &plan);
        assert!(live(&host, &deps, &plan).await);
        plan.calls().iter().position(|call| call.starts_with("upload.write")).context("no write")?
    };
    let host = Host::with_base_path()?;
    let plan = FaultPlan::at(position + 1, Fault::CrashBefore);
    assert!(!live(&host, &faulty(&host, &plan), &plan).await);
    assert_eq!(host.store.keys(), [""; 0]);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the count of cases is part of the promise")]
fn say(text: &str) {
    println!("{text}");
}
