//! What leaves the index and what is deleted when.

use std::time::Duration;

use anyhow::{Context, ensure};
use polkashots_publisher::refresh;
use polkashots_shared::testkit::{Fault, FaultPlan};

use crate::common::{DOT, World};
use crate::handler::faulty;

const HOUR: Duration = Duration::from_secs(3600);

fn objects_of(world: &World, version: &str) -> usize {
    world.store.keys().iter().filter(|key| key.starts_with(&format!("{DOT}/{version}."))).count()
}

#[tokio::test]
async fn a_snapshot_stays_72_hours_after_it_left_the_index_and_not_longer() -> anyhow::Result<()> {
    let world = World::new();
    for (day, height) in [(18, 999_999), (19, 1_000_000), (20, 1_000_001), (21, 10_000_000)] {
        world.publish(DOT, &format!("202611{day}-040000"), height).await?;
    }
    assert_eq!(world.listed(DOT), ["20261121-040000", "20261120-040000", "20261119-040000"]);
    world.clock.advance(72 * HOUR - Duration::from_secs(1));
    refresh(&world.deps).await?;
    assert_eq!(objects_of(&world, "20261118-040000"), 7, "files, sums, manifest, two signatures and the record");
    let page = page(&world);
    assert!(page.contains("2026-11-25T05:00:00Z"), "the page says until when it is kept");
    world.clock.advance(Duration::from_secs(1));
    refresh(&world.deps).await?;
    assert_eq!(objects_of(&world, "20261118-040000"), 0);
    assert_eq!(objects_of(&world, "20261119-040000"), 6);
    assert!(!self::page(&world).contains("20261118-040000"), "nothing points at what is deleted");
    Ok(())
}

fn page(world: &World) -> String {
    let site = world.host.deployed().pop().expect("a site");
    String::from_utf8_lossy(&site.files[&format!("targets/{DOT}/index.html")]).into_owned()
}

#[tokio::test]
async fn the_newest_complete_snapshot_is_kept_for_ever_and_failed_ones_do_not_count() -> anyhow::Result<()> {
    let world = World::new();
    world.publish(DOT, "20261101-040000", 1).await?;
    for day in 2..9 {
        let version = format!("2026110{day}-040000");
        world.upload(DOT, &version, day).await?;
        assert!(world.store.tamper(&format!("{DOT}/{version}.tar.zst"), "wrong"));
        assert!(world.handle(DOT, &version).await.is_err());
    }
    assert_eq!(world.listed(DOT), ["20261101-040000"]);
    world.clock.advance(24 * 400 * HOUR);
    refresh(&world.deps).await?;
    assert_eq!(world.listed(DOT), ["20261101-040000"]);
    assert_eq!(objects_of(&world, "20261101-040000"), 6);
    assert_eq!(objects_of(&world, "20261103-040000"), 0, "refused snapshots go with their record");
    Ok(())
}

#[tokio::test]
async fn a_smaller_keep_still_gives_the_whole_grace() -> anyhow::Result<()> {
    let mut world = World::new();
    for day in 1..4 {
        world.publish(DOT, &format!("2026110{day}-040000"), day).await?;
    }
    world.clock.advance(24 * 30 * HOUR);
    let mut targets = (*world.deps.targets).clone();
    for target in targets.values_mut() {
        target.retention.keep = 1;
        target.retention.grace_hours = 0;
    }
    world.deps.targets = targets.into();
    refresh(&world.deps).await?;
    world.clock.advance(71 * HOUR);
    refresh(&world.deps).await?;
    assert_eq!(world.listed(DOT), ["20261103-040000"]);
    assert_eq!(objects_of(&world, "20261101-040000"), 7, "72 hours are the least, whatever is configured");
    world.clock.advance(HOUR);
    refresh(&world.deps).await?;
    assert_eq!(objects_of(&world, "20261101-040000"), 0);
    Ok(())
}

#[tokio::test]
async fn what_a_crashed_run_left_is_deleted_after_seven_days() -> anyhow::Result<()> {
    let world = World::new();
    let version = "20261122-040000";
    world.upload(DOT, version, 1).await?;
    polkashots_shared::ports::object_store::ObjectStore::delete(
        world.store.as_ref(),
        &format!("{DOT}/{version}.manifest.json"),
    )
    .await?;
    world.clock.advance(24 * 7 * HOUR - Duration::from_secs(1));
    refresh(&world.deps).await?;
    assert_eq!(objects_of(&world, version), 3);
    world.clock.advance(Duration::from_secs(1));
    refresh(&world.deps).await?;
    assert_eq!(objects_of(&world, version), 0);
    Ok(())
}

#[tokio::test]
async fn killed_between_any_two_steps_no_permalink_points_at_nothing() -> anyhow::Result<()> {
    let calls = {
        let plan = FaultPlan::none();
        refresh(&faulty(&world_with_one_due().await?, &plan)).await?;
        plan.calls()
    };
    ensure!(calls.iter().any(|call| call.contains("delete")), "nothing is deleted in {calls:?}");
    for position in 0..=calls.len() {
        let world = world_with_one_due().await?;
        let plan = FaultPlan::at(position, Fault::CrashBefore);
        let deps = faulty(&world, &plan);
        tokio::select! {
            _ = refresh(&deps) => {}
            () = plan.crashed() => {}
        }
        check_permalinks(&world).with_context(|| format!("killed before call {position}"))?;
        refresh(&world.deps).await?;
        check_permalinks(&world).with_context(|| format!("after call {position} and one more run"))?;
        assert_eq!(world.listed(DOT)[0], "20261123-040000");
        assert_eq!(objects_of(&world, "20261118-040000"), 0);
    }
    Ok(())
}

/// One snapshot is new, and the time of one that left the index is up.
async fn world_with_one_due() -> anyhow::Result<World> {
    let world = World::new();
    for day in 18..22 {
        world.publish(DOT, &format!("202611{day}-040000"), day).await?;
    }
    world.clock.advance(72 * HOUR);
    world.upload(DOT, "20261123-040000", 23).await?;
    Ok(world)
}

fn check_permalinks(world: &World) -> anyhow::Result<()> {
    let site = world.host.deployed().pop().context("a site")?;
    let keys = world.store.keys();
    ensure!(site.redirects.len() > 8, "{:?}", site.redirects);
    for redirect in &site.redirects {
        let object =
            redirect.to.strip_prefix("https://archive.example/").map(|key| keys.iter().any(|known| known == key));
        let page = redirect.to.strip_prefix("https://snapshots.example/").map(|path| site.files.contains_key(path));
        ensure!(object.or(page) == Some(true), "{} leads to {}, which is not there", redirect.from, redirect.to);
    }
    Ok(())
}
