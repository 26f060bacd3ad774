//! What the workers run on: topics and subscriptions, a bucket, a target, and the settings that name them.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use polkashots_shared::adapters::pubsub::{PubSub, PubSubQueue, PubSubSettings, PubSubSubscription};
use polkashots_shared::event::{Event, Payload, SnapshotPublished, Topic, VolumeSnapshotReady};
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::minisign::SecretKey;
use polkashots_shared::names;
use polkashots_shared::ports::queue::{EventSink, Queue};
use polkashots_shared::testkit::servers::{NewSubscription, PubSubEmulator};

use crate::binaries::binary;
use crate::bucket::Bucket;
use crate::process::{PATIENCE, Process};

pub const PROJECT: &str = "project";
pub const PREFIX: &str = "ps-";
const GENESIS: &str = "0x2bf152f3b51e75ab07b70ba78a7509dfc97d27fed409f1fe0d619333f35988d5";
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

/// The workers that read one target's own subscriptions.
const PER_TARGET: [(&str, Topic); 4] = [
    ("engine", Topic::Tick),
    ("engine", Topic::SnapshotUploaded),
    ("engine", Topic::SnapshotFailed),
    ("snapshotter", Topic::VolumeSnapshotReady),
];
const OF_ALL: [(&str, Topic); 2] = [("publisher", Topic::SnapshotUploaded), ("publisher", Topic::SnapshotFailed)];

/// The cloud without Kubernetes, and a folder for everything that is a file.
pub struct Host {
    dir: tempfile::TempDir,
    emulator: PubSubEmulator,
    pub bucket: Bucket,
    pub target: TargetId,
}

impl Host {
    /// A host with one target, named `target`; none, and said so, where the emulator is missing.
    pub async fn start_or_skip(test: &str, target: &str, bucket: Bucket) -> Result<Option<Self>> {
        let Some(emulator) = PubSubEmulator::start_or_skip(test) else { return Ok(None) };
        let host = Self { dir: tempfile::tempdir()?, emulator, bucket, target: target.parse()? };
        host.declare().await;
        SecretKey::generate()?.create_file(&host.path("polkashots.key"), None)?;
        let key = SecretKey::from_file(&host.path("polkashots.key"), None)?;
        fs::write(host.path("polkashots.pub"), key.public_key().to_text())?;
        let targets = serde_json::json!([{
            "id": host.target, "permalink": "relay/rocksdb", "database": "rocksdb", "pruning": "by hand", "formats": ["tar.zst"],
            "chain": { "name": "fixture", "id": "fixture_relay", "genesis_hash": GENESIS },
        }]);
        fs::write(host.path("targets.json"), targets.to_string())?;
        Ok(Some(host))
    }

    /// The topics and subscriptions that Terraform makes, and a downstream subscriber's own.
    async fn declare(&self) {
        let admin = self.emulator.admin(PROJECT).await;
        for topic in Topic::ALL {
            admin.create_topic(&format!("{PREFIX}{topic}")).await;
        }
        let filter = format!("attributes.target = \"{}\"", self.target);
        let own = PER_TARGET.map(|(worker, topic)| (worker, topic, Some(&self.target)));
        let all = OF_ALL.map(|(worker, topic)| (worker, topic, None));
        let downstream = [("downstream", Topic::SnapshotPublished, Some(&self.target))];
        for (worker, topic, target) in own.into_iter().chain(all).chain(downstream) {
            let name = format!("{PREFIX}{}", names::subscription_name(worker, topic.as_str(), target));
            let filter = target.map_or_else(String::new, |_| filter.clone());
            let topic = format!("{PREFIX}{topic}");
            admin.create_subscription(&NewSubscription { name, topic, filter, ..NewSubscription::default() }).await;
        }
    }

    /// The subscriptions of the workers, as Terraform names them.
    pub fn subscriptions(&self) -> Vec<String> {
        let own =
            PER_TARGET.map(|(worker, topic)| names::subscription_name(worker, topic.as_str(), Some(&self.target)));
        let all = OF_ALL.map(|(worker, topic)| names::subscription_name(worker, topic.as_str(), None));
        own.into_iter().chain(all).map(|name| format!("{PREFIX}{name}")).collect()
    }

    /// Where Pub/Sub's emulator is.
    pub fn pubsub_host(&self) -> &str {
        self.emulator.host()
    }

    /// A new folder.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.path(name);
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The folder that stands for the mounted restore claim: a node's whole base path, keys and all.
    pub fn mount_claim(&self) -> Result<PathBuf> {
        let claim = self.path("claim");
        fs::create_dir(&claim)?;
        let database = Path::new(FIXTURES).join("relay400-rocksdb-basepath.tar.zst");
        let unpacked = Command::new("bash")
            .args(["-c", "set -o pipefail; zstd -dqc \"$0\" | tar -x -C \"$1\""])
            .args([&database, &claim])
            .status()?;
        ensure!(unpacked.success(), "the fixture was not unpacked");
        Ok(claim)
    }

    /// A worker's binary with the settings that all have, each by its variable.
    pub fn worker(&self, worker: &str) -> Command {
        let mut command = Command::new(binary(worker));
        command
            .env("POLKASHOTS_TARGETS", self.path("targets.json"))
            .env("POLKASHOTS_STORE", self.bucket.location())
            .env("POLKASHOTS_GCS_DATA_ENDPOINT", self.bucket.data_endpoint())
            .env("POLKASHOTS_GCS_CONTROL_ENDPOINT", self.bucket.control_endpoint())
            .env("POLKASHOTS_PROJECT", PROJECT)
            .env("POLKASHOTS_TOPIC_PREFIX", PREFIX)
            .env("POLKASHOTS_LEASE", "10s")
            .env("POLKASHOTS_LOG_FORMAT", "json")
            .env("PUBSUB_EMULATOR_HOST", self.emulator.host());
        command
    }

    /// The engine of the target, with the rights that the kubeconfig's user has.
    pub fn engine(&self, kubeconfig: &Path) -> Command {
        let mut command = self.worker("engine");
        command.env("POLKASHOTS_TARGET", self.target.as_str()).env("KUBECONFIG", kubeconfig);
        command
    }

    /// The snapshotter of the target.
    pub fn snapshotter(&self) -> Command {
        let mut command = self.worker("snapshotter");
        command.env("POLKASHOTS_TARGET", self.target.as_str()).env("POLKASHOTS_CLAIM_DIR", self.path("claim"));
        command
    }

    /// The publisher, whose site is a folder.
    pub fn publisher(&self) -> Command {
        let mut command = self.worker("publisher");
        command
            .env("POLKASHOTS_SECRET_KEY", self.path("polkashots.key"))
            .env("POLKASHOTS_BASE_URL", "http://site.example.org/")
            .env("POLKASHOTS_ARCHIVE_URL", self.bucket.public_url())
            .env("POLKASHOTS_SITE_HOST", self.path("site"));
        command
    }

    /// Starts a worker in loop mode and waits until it is ready.
    pub async fn start(&self, mut command: Command, name: &str) -> Result<Process> {
        let listen = format!("127.0.0.1:{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        command.env("POLKASHOTS_LISTEN", &listen);
        let mut process = Process::start(command, self.path(&format!("{name}.log")), listen)?;
        process.wait_until_ready().await?;
        Ok(process)
    }

    /// Runs a worker that takes one message, as KEDA's Job does, and waits for its end.
    pub async fn run_job(&self, mut command: Command, name: &str, wait: Duration) -> Result<()> {
        command.env("POLKASHOTS_ONE_SHOT", "true").env("POLKASHOTS_RECEIVE_WAIT", format!("{}s", wait.as_secs()));
        self.run(command, name).await
    }

    /// Runs a program and waits for its end.
    pub async fn run(&self, command: Command, name: &str) -> Result<()> {
        let mut process = Process::start(command, self.path(&format!("{name}.log")), String::new())?;
        let ended = process.wait().await?;
        ensure!(ended.success(), "{name}: {ended}");
        Ok(())
    }

    /// What all processes logged.
    pub fn logs(&self) -> String {
        let found = fs::read_dir(self.dir.path()).into_iter().flatten().flatten().map(|entry| entry.path());
        let logs = found.filter(|path| path.extension().is_some_and(|ending| ending == "log"));
        let text = |path: PathBuf| format!("{}:\n{}", path.display(), fs::read_to_string(&path).unwrap_or_default());
        logs.map(text).collect::<Vec<_>>().join("\n")
    }

    /// Asks for a snapshot as a person does: `gcloud pubsub topics publish`, with nothing but the target in it.
    pub fn publish_tick_by_hand(&self) -> Result<()> {
        let published = Command::new("gcloud")
            .args(["pubsub", "topics", "publish", &format!("{PREFIX}tick"), "--project", PROJECT])
            .arg(format!("--attribute=target={}", self.target))
            .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", format!("http://{}/", self.emulator.host()))
            .env("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true")
            .env("CLOUDSDK_CONFIG", self.path("gcloud"))
            .output()?;
        ensure!(published.status.success(), "gcloud: {}", String::from_utf8_lossy(&published.stderr));
        Ok(())
    }

    /// Tells the snapshotter of a restore claim, as the engine does.
    pub async fn publish_ready(&self) -> Result<Version> {
        let version: Version = "20261122-040000".parse()?;
        let ready = VolumeSnapshotReady {
            target: self.target.clone(),
            version,
            volume_snapshot: names::volume_snapshot_name(&self.target, version),
            claim: names::claim_name(&self.target),
            taken_at: version.time(),
        };
        let event = Event::new("engine", version.time(), Payload::VolumeSnapshotReady(ready));
        self.pubsub().await?.publish(Topic::VolumeSnapshotReady, &event.to_message()).await?;
        Ok(version)
    }

    async fn pubsub(&self) -> Result<PubSub> {
        let emulator_host = Some(self.emulator.host().to_owned());
        let settings = PubSubSettings { project: PROJECT.into(), topic_prefix: PREFIX.into(), emulator_host };
        Ok(PubSub::connect(settings).await?)
    }

    async fn downstream(&self) -> Result<PubSubQueue> {
        let topic = Topic::SnapshotPublished;
        let subscription = PubSubSubscription {
            name: format!("{PREFIX}{}", names::subscription_name("downstream", topic.as_str(), Some(&self.target))),
            topic,
            target: Some(self.target.clone()),
            lease: Duration::from_secs(10),
            max_attempts: 5,
            dead_letter_topic: None,
            stays: false,
        };
        Ok(self.pubsub().await?.subscribe(subscription).await?)
    }

    /// What a downstream subscriber is told: the first snapshot that was published, and every other, by their ids.
    pub async fn published(&self, more_within: Duration) -> Result<(SnapshotPublished, BTreeMap<String, u32>)> {
        let downstream = self.downstream().await?;
        let (mut first, mut ids) = (None, BTreeMap::new());
        let mut wait = PATIENCE;
        while let Some(delivery) = downstream.receive(wait).await? {
            downstream.ack(&delivery.receipt).await?;
            let event = Event::from_message(Topic::SnapshotPublished, &delivery.message, delivery.published_at)?;
            ensure!(delivery.message.attributes["target"] == self.target.as_str(), "the filter has nothing to go by");
            *ids.entry(event.id).or_default() += 1;
            if let Payload::SnapshotPublished(published) = event.payload {
                first = first.or(Some(published));
            }
            wait = more_within;
        }
        Ok((first.context("no event tells of a published snapshot")?, ids))
    }
}
