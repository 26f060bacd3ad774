//! The same pipeline by workers that stay, and what they tell of themselves.

use std::time::Duration;

use anyhow::{Context, Result};
use polkashots_engine::testkit::TargetNamespace;
use polkashots_engine::testkit::api_server::ApiServer;
use polkashots_engine::testkit::csi::{Script, bound, ready};

use crate::assert_listed;
use crate::bucket::Bucket;
use crate::host::Host;

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_stay_serve_their_figures() -> Result<()> {
    let test = "workers_that_stay_serve_their_figures";
    let Some(server) = ApiServer::shared(test).await else { return Ok(()) };
    let Some(host) = Host::start_or_skip(test, "relay-loop", Bucket::start().await?).await? else { return Ok(()) };
    let script = Script::new([bound(), ready("10Gi")]);
    let namespace = TargetNamespace::start(server, &host.target, "chain-data-node-0", script).await;
    cycle(&host, &namespace).await.with_context(|| host.logs())
}

async fn cycle(host: &Host, namespace: &TargetNamespace) -> Result<()> {
    host.mount_claim()?;
    let mut engine = host.start(host.engine(namespace.kubeconfig()), "engine").await?;
    let mut snapshotter = host.start(host.snapshotter(), "snapshotter").await?;
    let mut publisher = host.start(host.publisher(), "publisher").await?;
    host.publish_tick_by_hand()?;
    namespace.mount_claim().await;

    let (published, ids) = host.published(Duration::from_secs(2)).await?;
    assert_eq!((published.height, ids.len()), (396, 1), "{published:?} {ids:?}");
    assert_listed(host, &published).await?;
    namespace.wait_until_torn_down().await;

    for figure in [
        r#"messages_total{topic="tick",became="acknowledged"} 1"#,
        r#"messages_total{topic="snapshot-uploaded",became="acknowledged"} 1"#,
        r#"event_duration_seconds_count{topic="tick",result="ok"} 1"#,
        r#"stage_duration_seconds_count{stage="volume snapshot",result="ok"} 1"#,
        r#"stage_duration_seconds_count{stage="release",result="ok"} 1"#,
    ] {
        engine.wait_for_figure(&format!("polkashots_{figure}")).await?;
    }
    for figure in [
        r#"messages_total{topic="volume-snapshot-ready",became="acknowledged"} 1"#,
        r#"stage_bytes_total{stage="write tar.zst"} "#,
        r#"stage_duration_seconds_count{stage="write tar.zst",result="ok"} 1"#,
    ] {
        snapshotter.wait_for_figure(&format!("polkashots_{figure}")).await?;
    }
    for figure in [
        r#"messages_total{topic="snapshot-uploaded",became="acknowledged"} 1"#,
        r#"stage_duration_seconds_count{stage="deploy site",result="ok"} 1"#,
        &format!(r#"newest_snapshot_age_seconds{{target="{}"}} "#, host.target),
    ] {
        publisher.wait_for_figure(&format!("polkashots_{figure}")).await?;
    }
    stops_at_once(&mut [engine, snapshotter, publisher]).await
}

/// Workers that have no message in hand end well when they are told to.
async fn stops_at_once(workers: &mut [crate::process::Process]) -> Result<()> {
    for worker in workers {
        worker.signal("TERM")?;
        let ended = worker.wait().await?;
        assert!(ended.success(), "{ended}: {}", worker.log());
    }
    Ok(())
}
