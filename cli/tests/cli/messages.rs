//! Messages that the service cannot act on: given up at once with a reason, and everything else goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use polkashots_shared::adapters::sqlite_queue::SqliteQueues;
use polkashots_shared::clock::SystemClock;
use polkashots_shared::event::{Message, Topic};
use polkashots_shared::ports::queue::EventSink;
use serde_json::Value;

use crate::support::{Host, is_published, unpack};

/// Puts a message into the service's queue, as another program would.
async fn publish(host: &Host, topic: Topic, attributes: &[(&str, &str)]) -> Result<()> {
    let attributes: BTreeMap<_, _> = attributes.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    let queues = SqliteQueues::open(host.path("state/queue.sqlite"), Arc::new(SystemClock)).await?;
    Ok(queues.publish(topic, &Message { attributes, data: "{}".into() }).await?)
}

/// Why a message of that subscription was given up.
fn reason<'a>(status: &'a Value, subscription: &str) -> Option<&'a str> {
    let letters = status["dead_letters"].as_array()?;
    letters.iter().find(|letter| letter["subscription"] == subscription)?["reason"].as_str()
}

#[tokio::test]
async fn an_event_of_a_newer_schema_and_a_tick_for_an_unknown_target_are_given_up_and_the_rest_goes_on() -> Result<()> {
    let node = tempfile::tempdir()?;
    unpack("relay400-rocksdb", node.path())?;
    let host = Host::with_target(node.path(), "fixture_relay", "rocksdb")?;
    host.status()?;
    let newer = [
        ("ce-specversion", "1.0"),
        ("ce-id", "snapshot-uploaded/relay/20261122-120000"),
        ("ce-type", "io.polkashots.snapshot.uploaded.v2"),
        ("ce-source", "/polkashots/snapshotter"),
        ("target", "relay"),
    ];
    publish(&host, Topic::SnapshotUploaded, &newer).await?;
    publish(&host, Topic::Tick, &[("target", "ghost")]).await?;
    let triggered: Value = serde_json::from_str(&host.run(&["trigger", "relay", "--json"])?.succeeded()?.out)?;
    let version = triggered["version"].as_str().context("no version")?;
    let running = host.start()?;
    let gave_up = |status: &Value, subscription, words: &[&str]| {
        reason(status, subscription).is_some_and(|reason| words.iter().all(|word| reason.contains(word)))
    };
    let update = ["io.polkashots.snapshot.uploaded.v2", "update it if the event is newer"];
    host.wait_for("three messages given up and a snapshot", |status| {
        gave_up(status, "engine.snapshot-uploaded", &update)
            && gave_up(status, "publisher.snapshot-uploaded", &update)
            && gave_up(status, "engine.tick", &["ghost", "relay"])
            && is_published(status, version)
    })?;
    ensure!(running.terminate()? == 0);
    Ok(())
}
