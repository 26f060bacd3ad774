//! The subscribers of docs/events.md, in Rust and in Python, on Google's own emulator.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use polkashots_shared::adapters::pubsub::{PubSub, PubSubSettings};
use polkashots_shared::event::{Event, Payload, SnapshotPublished, Topic};
use polkashots_shared::ids::Version;
use polkashots_shared::ports::queue::EventSink;
use polkashots_shared::testkit::servers::{NewSubscription, PubSubEmulator};
use polkashots_shared::testkit::skip::skipped;

#[path = "../../examples/subscribe.rs"]
#[expect(dead_code, reason = "its main is the example's own")]
mod subscribe;

const PROJECT: &str = "polkashots-news";
const SUBSCRIPTION: &str = "news";
const TARGET: &str = "polkadot-paritydb-prune";
/// How long the emulator may take: what it sends to a stream that was just closed comes again when its lease of a minute has ended,
/// and it looks for those at its leisure.
const PATIENCE: Duration = Duration::from_secs(300);

/// An emulator on which one snapshot of each of two targets was published, the other one first.
async fn two_snapshots(test: &str) -> Result<Option<(PubSubEmulator, SnapshotPublished)>> {
    let Some(emulator) = PubSubEmulator::start_or_skip(test) else { return Ok(None) };
    let admin = emulator.admin(PROJECT).await;
    let topic = format!("polkashots-{}", Topic::SnapshotPublished);
    admin.create_topic(&topic).await;
    let filter = format!("attributes.target = \"{TARGET}\"");
    let news = NewSubscription { name: SUBSCRIPTION.into(), topic, filter, ..NewSubscription::default() };
    admin.create_subscription(&news).await;
    let settings = PubSubSettings {
        project: PROJECT.into(),
        topic_prefix: "polkashots-".into(),
        emulator_host: Some(emulator.host().to_owned()),
    };
    let pubsub = PubSub::connect(settings).await?;
    let wanted = published(TARGET)?;
    for data in [published("kusama-rocksdb-prune")?, wanted.clone()] {
        let event = Event::new("publisher", Utc::now(), Payload::SnapshotPublished(data));
        pubsub.publish(Topic::SnapshotPublished, &event.to_message()).await?;
    }
    Ok(Some((emulator, wanted)))
}

fn published(target: &str) -> Result<SnapshotPublished> {
    let version: Version = "20261122-040000".parse()?;
    Ok(serde_json::from_value(serde_json::json!({
        "target": target,
        "version": version,
        "url": format!("https://storage.example.org/{target}/{version}.manifest.json"),
        "height": 28_000_000,
        "hash": format!("0x{}", "ab".repeat(32)),
        "sha256": "cd".repeat(32),
    }))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscriber_in_rust_gets_its_targets_snapshot_and_again_what_it_failed_on() -> Result<()> {
    let Some((emulator, wanted)) = two_snapshots("the_subscriber_in_rust").await? else { return Ok(()) };
    let host = Some(emulator.host().to_owned());
    let queue = subscribe::open(PROJECT.into(), SUBSCRIPTION.into(), Some(TARGET.into()), host).await?;
    let refused = subscribe::next(&queue, PATIENCE, |_| anyhow::bail!("the disk is full")).await;
    ensure!(refused.is_err(), "an effect that fails must not be acknowledged");
    drop(queue);
    let host = Some(emulator.host().to_owned());
    let queue = subscribe::open(PROJECT.into(), SUBSCRIPTION.into(), Some(TARGET.into()), host).await?;
    let found = subscribe::next(&queue, PATIENCE, |_| Ok(())).await?;
    ensure!(found.as_ref() == Some(&wanted), "expected {wanted:?}, found {found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscriber_in_python_gets_its_targets_snapshot() -> Result<()> {
    let test = "the_subscriber_in_python";
    let Some(python) = python_or_skip(test) else { return Ok(()) };
    let Some((emulator, wanted)) = two_snapshots(test).await? else { return Ok(()) };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/subscriber.py");
    let mut command = tokio::process::Command::new(python);
    command.arg(program).args([PROJECT, SUBSCRIPTION, "--target", TARGET, "--count", "1"]);
    command.env("PUBSUB_EMULATOR_HOST", emulator.host()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.output()).await.context("it did not end")??;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{said}");
    let found: SnapshotPublished = serde_json::from_slice(&ended.stdout).context(said.into_owned())?;
    ensure!(found == wanted, "expected {wanted:?}, found {found:?}");
    Ok(())
}

/// Python with google-cloud-pubsub: that of `script/test` in the target folder, or the system's.
fn python_or_skip(test: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok().and_then(|exe| {
        let mut folders = exe.ancestors().map(|folder| folder.join("subscriber-venv/bin/python3"));
        folders.find(|path| path.is_file())
    });
    let python = own.unwrap_or_else(|| "python3".into());
    let mut has = Command::new(&python);
    has.args(["-c", "import google.cloud.pubsub_v1"]).stdout(Stdio::null()).stderr(Stdio::null());
    if has.status().is_ok_and(|status| status.success()) {
        return Some(python);
    }
    skipped(test, "google-cloud-pubsub (PyPI) is not installed: script/test puts it into the target folder");
    None
}
