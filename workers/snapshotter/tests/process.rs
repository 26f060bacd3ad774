//! `polkashots-snapshotter` as a process, on Google's Pub/Sub emulator and a directory: one message, all messages, SIGTERM.
#![expect(clippy::print_stdout, reason = "the figure is what the test shows")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polkashots_shared::adapters::pubsub::{PubSub, PubSubQueue, PubSubSettings, PubSubSubscription};
use polkashots_shared::event::{Event, Payload, Topic, VolumeSnapshotReady};
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;
use polkashots_shared::ports::queue::{EventSink, Queue};
use polkashots_shared::testkit::servers::{Collector, NewSubscription, PubSubEmulator};

const PROJECT: &str = "project";
const PREFIX: &str = "ps-";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const ENGINES_SPAN: &str = "b7ad6b7169203331";

/// A host with the fixture's database in its claim, and the emulator that tells it what to do.
struct Host {
    dir: tempfile::TempDir,
    emulator: PubSubEmulator,
    target: TargetId,
}

impl Host {
    async fn start_or_skip(test: &str) -> Result<Option<Self>> {
        let Some(emulator) = PubSubEmulator::start_or_skip(test) else { return Ok(None) };
        let admin = emulator.admin(PROJECT).await;
        for topic in Topic::ALL {
            admin.create_topic(&format!("{PREFIX}{topic}")).await;
        }
        for (worker, topic) in [("snapshotter", Topic::VolumeSnapshotReady), ("test", Topic::SnapshotUploaded)] {
            let name = format!("{PREFIX}{}", names::subscription_name(worker, topic.as_str(), None));
            let topic = format!("{PREFIX}{topic}");
            admin.create_subscription(&NewSubscription { name, topic, ..NewSubscription::default() }).await;
        }
        let host = Self { dir: tempfile::tempdir()?, emulator, target: "relay400".parse()? };
        for folder in ["claim", "store"] {
            fs::create_dir(host.path(folder))?;
        }
        let database = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/relay400-rocksdb.tar.zst");
        let unpacked = Command::new("bash")
            .args(["-c", "zstd -dqc \"$0\" | tar -x -C \"$1\""])
            .arg(database)
            .arg(host.path("claim"))
            .status()?;
        ensure!(unpacked.success(), "the fixture was not unpacked");
        host.write_targets(&["tar.zst"])?;
        Ok(Some(host))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_targets(&self, formats: &[&str]) -> Result<()> {
        let genesis = "0x2bf152f3b51e75ab07b70ba78a7509dfc97d27fed409f1fe0d619333f35988d5";
        let targets = serde_json::json!([{
            "id": self.target, "permalink": "relay/rocksdb", "database": "rocksdb", "pruning": "by hand", "formats": formats,
            "chain": { "name": "fixture", "id": "fixture_relay", "genesis_hash": genesis },
        }]);
        Ok(fs::write(self.path("targets.json"), targets.to_string())?)
    }

    /// The binary with every setting by its variable.
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polkashots-snapshotter"));
        command
            .env("POLKASHOTS_TARGETS", self.path("targets.json"))
            .env("POLKASHOTS_STORE", self.path("store"))
            .env("POLKASHOTS_CLAIM_DIR", self.path("claim"))
            .env("POLKASHOTS_PROJECT", PROJECT)
            .env("POLKASHOTS_TOPIC_PREFIX", PREFIX)
            .env("POLKASHOTS_LEASE", "10s")
            .env("POLKASHOTS_LOG_FORMAT", "json")
            .env("PUBSUB_EMULATOR_HOST", self.emulator.host())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    async fn one_shot(&self, wait: &str) -> Result<Output> {
        self.one_shot_with(wait, &[]).await
    }

    async fn one_shot_with(&self, wait: &str, variables: &[(&str, &str)]) -> Result<Output> {
        let mut command = self.command();
        command.env("POLKASHOTS_ONE_SHOT", "true").env("POLKASHOTS_RECEIVE_WAIT", wait);
        command.envs(variables.iter().copied());
        Ok(tokio::task::spawn_blocking(move || command.output()).await??)
    }

    async fn pubsub(&self) -> Result<PubSub> {
        let emulator_host = Some(self.emulator.host().to_owned());
        let settings = PubSubSettings { project: PROJECT.into(), topic_prefix: PREFIX.into(), emulator_host };
        Ok(PubSub::connect(settings).await?)
    }

    async fn subscribe(&self, worker: &str, topic: Topic) -> Result<PubSubQueue> {
        let subscription = PubSubSubscription {
            name: format!("{PREFIX}{}", names::subscription_name(worker, topic.as_str(), None)),
            topic,
            target: None,
            lease: Duration::from_secs(10),
            max_attempts: 5,
            dead_letter_topic: None,
            stays: false,
        };
        Ok(self.pubsub().await?.subscribe(subscription).await?)
    }

    async fn publish_ready(&self) -> Result<Version> {
        let version: Version = "20261122-040000".parse()?;
        let ready = VolumeSnapshotReady {
            target: self.target.clone(),
            version,
            volume_snapshot: names::volume_snapshot_name(&self.target, version),
            claim: names::claim_name(&self.target),
            taken_at: version.time(),
        };
        let mut event = Event::new("engine", version.time(), Payload::VolumeSnapshotReady(ready));
        event.traceparent = Some(format!("00-{TRACE}-{ENGINES_SPAN}-01"));
        self.pubsub().await?.publish(Topic::VolumeSnapshotReady, &event.to_message()).await?;
        Ok(version)
    }

    fn stored(&self, suffix: &str) -> PathBuf {
        self.path("store").join(self.target.as_str()).join(format!("20261122-040000{suffix}"))
    }
}

/// Kills the process where a test ends early.
struct Running(Child);

impl Running {
    fn terminate(&self) -> Result<()> {
        let killed = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status()?;
        ensure!(killed.success(), "no SIGTERM was sent");
        Ok(())
    }

    async fn wait(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        until(limit, "the process did not end", || Ok(self.0.try_wait()?)).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Looks again and again until there is something.
async fn until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(started.elapsed() < limit, "{what} within {limit:?}");
        pause.tick().await;
    }
}

/// The answer to a GET, status line and all.
fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_shot_takes_one_message_and_an_empty_pull_is_no_failure() -> Result<()> {
    let test = "a_one_shot_takes_one_message_and_an_empty_pull_is_no_failure";
    let Some(host) = Host::start_or_skip(test).await? else { return Ok(()) };
    let started = Instant::now();
    let empty = host.one_shot("2s").await?;
    assert!(empty.status.success() && text(&empty).contains("no message"), "{}", text(&empty));
    assert!(started.elapsed() < Duration::from_secs(20), "an empty pull took {:?}", started.elapsed());

    let collector = Collector::start().await?;
    host.publish_ready().await?;
    let ran = host.one_shot_with("180s", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())]).await?;
    assert!(ran.status.success(), "{}", text(&ran));
    let said = text(&ran);
    for figure in
        ["messages_total{topic=volume-snapshot-ready,became=acknowledged}", "stage_bytes_total{stage=write tar.zst}"]
    {
        assert!(said.contains(figure), "expected {figure} in {said}");
    }
    assert!(host.stored(".manifest.json").is_file(), "{said}");
    let uploaded = host.subscribe("test", Topic::SnapshotUploaded).await?;
    let delivery = uploaded.receive(Duration::from_secs(60)).await?.context("no event tells of the upload")?;
    uploaded.ack(&delivery.receipt).await?;
    let event = Event::from_message(Topic::SnapshotUploaded, &delivery.message, delivery.published_at)?;
    assert_eq!(event.payload.target(), &host.target);

    let spans = collector.spans("event");
    let [span] = spans.as_slice() else { anyhow::bail!("expected one span, found {spans:?}") };
    assert_eq!((span.service.as_str(), span.trace.as_str()), ("polkashots-snapshotter", TRACE));
    assert_eq!(span.parent, ENGINES_SPAN);
    assert_eq!(event.traceparent, Some(format!("00-{TRACE}-{}-01", span.id)), "the next worker goes on from here");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_tells_how_it_fares_and_gives_its_message_back_at_sigterm() -> Result<()> {
    let test = "a_loop_tells_how_it_fares_and_gives_its_message_back_at_sigterm";
    let Some(host) = Host::start_or_skip(test).await? else { return Ok(()) };
    // A node that never ends keeps the handler at work.
    host.write_targets(&["tar.zst", "blocks.zst"])?;
    fs::write(host.path("node"), "#!/bin/bash\nexec sleep 1000\n")?;
    ensure!(Command::new("chmod").arg("+x").arg(host.path("node")).status()?.success(), "chmod");
    let address = format!("127.0.0.1:{}", std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
    let mut command = host.command();
    command
        .env("POLKASHOTS_LISTEN", &address)
        .env("POLKASHOTS_NODE_BINARY", host.path("node"))
        .stderr(fs::File::create(host.path("log"))?);
    let mut running = Running(command.spawn()?);
    let ready = || Ok(get(&address, "/readyz").ok().filter(|answer| answer.starts_with("HTTP/1.1 200")));
    until(Duration::from_secs(60), "not ready", ready).await?;
    assert!(get(&address, "/healthz")?.starts_with("HTTP/1.1 200"));

    host.publish_ready().await?;
    let archived = || Ok(host.stored(".frames.json.zst").is_file().then_some(()));
    until(Duration::from_secs(60), "nothing was archived", archived).await?;
    let metrics = get(&address, "/metrics")?;
    for figure in [
        "polkashots_messages_total{topic=\"volume-snapshot-ready\",became=\"received\"} 1",
        "polkashots_stage_bytes_total{stage=\"write tar.zst\"}",
        "polkashots_stage_duration_seconds_count{stage=\"write tar.zst\",result=\"ok\"} 1",
        "# EOF",
    ] {
        assert!(metrics.contains(figure), "expected {figure} in {metrics}");
    }

    let started = Instant::now();
    running.terminate()?;
    let status = running.wait(Duration::from_secs(20)).await?;
    assert!(status.success(), "{status}");
    println!("stopped after {:?}", started.elapsed());
    let log = fs::read_to_string(host.path("log"))?;
    assert!(log.contains("messages_total{topic=volume-snapshot-ready,became=returned}"), "{log}");
    let queue = host.subscribe("snapshotter", Topic::VolumeSnapshotReady).await?;
    // How soon the emulator delivers what was given back is its own affair: up to 48 seconds were seen.
    let delivery = queue.receive(Duration::from_secs(120)).await?.context("the message did not come again")?;
    println!("delivered again after {:?}", started.elapsed());
    queue.ack(&delivery.receipt).await?;
    assert!(!host.stored(".manifest.json").exists());
    Ok(())
}

#[test]
fn settings_that_are_missing_or_wrong_are_named_with_flag_and_variable() -> Result<()> {
    let run = |variables: &[(&str, &str)]| -> Result<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polkashots-snapshotter"));
        let output = command.env_clear().envs(variables.iter().copied()).output()?;
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        Ok(text(&output))
    };
    let given = [("POLKASHOTS_TARGETS", "t"), ("POLKASHOTS_STORE", "s"), ("POLKASHOTS_PROJECT", "p")];
    let missing = run(&given[..2])?;
    assert!(missing.contains("--project or POLKASHOTS_PROJECT: The Google Cloud project"), "{missing}");
    for (variable, wrong, expected) in [
        ("POLKASHOTS_STORE", "ftp://x", "expected gs://BUCKET"),
        ("POLKASHOTS_LEASE", "5s", "expected 10s to 600s"),
        ("POLKASHOTS_TARGET", "Dot", "POLKASHOTS_TARGET"),
        ("POLKASHOTS_ONE_SHOT", "perhaps", "POLKASHOTS_ONE_SHOT"),
        ("POLKASHOTS_LISTEN", "here", "POLKASHOTS_LISTEN"),
        ("POLKASHOTS_EXPORT_DEADLINE", "1", "a number with its unit"),
        ("POLKASHOTS_MAX_ATTEMPTS", "1", "5..=100"),
    ] {
        let mut variables = given.to_vec();
        variables.retain(|(name, _)| *name != variable);
        variables.push((variable, wrong));
        let told = run(&variables)?;
        assert!(told.contains(expected) && told.contains(variable), "expected {expected:?} and {variable} in {told}");
    }
    Ok(())
}
