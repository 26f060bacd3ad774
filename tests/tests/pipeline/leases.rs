//! Whose a message is while a snapshotter works, when it is killed, stopped, or too slow to be believed alive.
#![expect(clippy::print_stdout, reason = "the figures are what the tests show")]

use std::time::{Duration, Instant};

use anyhow::Result;
use polkashots_shared::names;
use tokio::time::sleep;

use crate::bucket::Bucket;
use crate::host::Host;

const RECEIVED: &str = r#"polkashots_messages_total{topic="volume-snapshot-ready",became="received"} 1"#;
const ACKNOWLEDGED: &str = r#"polkashots_messages_total{topic="volume-snapshot-ready",became="acknowledged"} 1"#;
/// What the workers of these tests ask for.
const LEASE: Duration = Duration::from_secs(10);
/// How long an heir waits: on one stream, because the emulator goes on delivering to those that were closed.
const HEIR_WAIT: Duration = Duration::from_secs(200);
/// Makes a run last far longer than the rest of a test.
const VERY_SLOW: Duration = Duration::from_secs(5);

async fn host_or_skip(test: &str) -> Result<Option<Host>> {
    let Some(host) = Host::start_or_skip(test, "relay", Bucket::start().await?).await? else { return Ok(None) };
    host.mount_claim()?;
    Ok(Some(host))
}

/// Every object of the target, with the generation that no rewrite leaves as it is.
async fn objects(host: &Host) -> Result<Vec<String>> {
    let store = host.bucket.open().await?;
    let listed = store.list(&names::target_prefix(&host.target)).await?;
    Ok(listed.into_iter().map(|meta| format!("{meta:?}")).collect())
}

async fn is_uploaded(host: &Host, version: polkashots_shared::ids::Version) -> Result<bool> {
    let store = host.bucket.open().await?;
    Ok(store.head(&names::manifest_key(&host.target, version)).await?.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_work_for_three_leases_stays_with_its_snapshotter() -> Result<()> {
    let test = "a_message_in_work_for_three_leases_stays_with_its_snapshotter";
    let Some(host) = host_or_skip(test).await? else { return Ok(()) };
    host.bucket.slow_down(VERY_SLOW);
    let version = host.publish_ready().await?;
    let mut worker = host.start(host.snapshotter(), "worker").await?;
    worker.wait_for_figure(RECEIVED).await?;
    let other = host.start(host.snapshotter(), "other").await?;
    // Real time: the emulator's clock cannot be moved.
    sleep(LEASE * 3 + LEASE / 5).await;
    assert!(!worker.figures()?.contains("became=\"acknowledged\""), "it was to work longer than three leases");
    host.bucket.slow_down(Duration::ZERO);
    worker.wait_for_figure(ACKNOWLEDGED).await?;
    assert!(is_uploaded(&host, version).await?);
    let figures = other.figures()?;
    assert!(!figures.contains("became=\"received\""), "the other had the message too: {figures}");
    let figures = worker.figures()?;
    assert!(figures.contains("polkashots_lease_extensions_total{topic=\"volume-snapshot-ready\"}"), "{figures}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_snapshotters_message_is_anothers_when_its_lease_ends() -> Result<()> {
    let test = "a_killed_snapshotters_message_is_anothers_when_its_lease_ends";
    let Some(host) = host_or_skip(test).await? else { return Ok(()) };
    host.bucket.slow_down(VERY_SLOW);
    let version = host.publish_ready().await?;
    let mut killed = host.start(host.snapshotter(), "killed").await?;
    killed.wait_for_figure(RECEIVED).await?;
    killed.signal("KILL")?;
    let at = Instant::now();
    assert!(!killed.wait().await?.success());
    host.bucket.slow_down(Duration::ZERO);

    host.run_job(host.snapshotter(), "heir", HEIR_WAIT).await?;
    println!("a killed snapshotter's message was handled by another after {:?}, at a lease of {LEASE:?}", at.elapsed());
    assert!(is_uploaded(&host, version).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_snapshotter_gives_its_message_back_at_once() -> Result<()> {
    let test = "a_stopped_snapshotter_gives_its_message_back_at_once";
    let Some(host) = host_or_skip(test).await? else { return Ok(()) };
    host.bucket.slow_down(VERY_SLOW);
    let version = host.publish_ready().await?;
    let mut stopped = host.start(host.snapshotter(), "stopped").await?;
    stopped.wait_for_figure(RECEIVED).await?;
    stopped.signal("TERM")?;
    let at = Instant::now();
    let ended = stopped.wait().await?;
    assert!(ended.success() && at.elapsed() < LEASE, "{ended} after {:?}", at.elapsed());
    println!("a stopped snapshotter ended after {:?}", at.elapsed());
    assert!(stopped.log().contains("messages_total{topic=volume-snapshot-ready,became=returned}"), "{}", stopped.log());
    host.bucket.slow_down(Duration::ZERO);

    // The emulator may deliver what was given back to the stream that it came from, and then waits for that lease.
    host.run_job(host.snapshotter(), "heir", HEIR_WAIT).await?;
    println!("its message was handled by another after {:?}", at.elapsed());
    assert!(is_uploaded(&host, version).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_snapshotters_on_one_message_publish_one_snapshot() -> Result<()> {
    let test = "two_snapshotters_on_one_message_publish_one_snapshot";
    let Some(host) = host_or_skip(test).await? else { return Ok(()) };
    host.bucket.slow_down(VERY_SLOW);
    let version = host.publish_ready().await?;
    let mut frozen = host.start(host.snapshotter(), "frozen").await?;
    frozen.wait_for_figure(RECEIVED).await?;
    // It cannot extend its lease, and does not know that it lost it.
    frozen.signal("STOP")?;
    host.bucket.slow_down(Duration::ZERO);
    let mut other = host.start(host.snapshotter(), "other").await?;
    other.wait_for_figure(ACKNOWLEDGED).await?;
    let before = objects(&host).await?;
    assert!(is_uploaded(&host, version).await? && before.len() > 3, "{before:?}");

    let _publisher = host.start(host.publisher(), "publisher").await?;
    frozen.signal("CONT")?;
    frozen.wait_for_figure(r#"polkashots_event_duration_seconds_count{topic="volume-snapshot-ready"#).await?;
    let (published, ids) = host.published(Duration::from_secs(15)).await?;
    assert_eq!((published.version, ids.len()), (version, 1), "more than one snapshot: {ids:?}");
    let after = objects(&host).await?;
    for object in &before {
        assert!(after.contains(object), "{object} was written again: {after:?}");
    }
    let manifests = after.iter().filter(|object| object.contains(".manifest.json\"")).count();
    assert_eq!(manifests, 1, "{after:?}");
    Ok(())
}
