//! One whole service on in-memory adapters, every port behind one fault plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use polkashots_engine::testkit::MemoryVolumeSnapshots;
use polkashots_engine::{Engine, VolumeSnapshots};
use polkashots_publisher::testkit::MemoryHost;
use polkashots_publisher::{Publisher, SiteHost, SiteSettings};
use polkashots_shared::chain::Chain;
use polkashots_shared::clock::{Clock, ManualClock};
use polkashots_shared::event::{Event, Payload, SnapshotUploaded, Tick, Topic};
use polkashots_shared::ids::{BlockHash, BlockRef, DatabaseKind, TargetId, Version};
use polkashots_shared::minisign::SecretKey;
use polkashots_shared::ports::chain_database::{ChainDatabase, ChainDatabaseError, DatabaseLocation, Identity};
use polkashots_shared::ports::object_store::ObjectStore;
use polkashots_shared::ports::queue::{EventSink, Queue};
use polkashots_shared::target::{Compression, Format, Retention, Target};
use polkashots_shared::testkit::{FaultPlan, Faulty, MemoryQueue, MemoryQueues, MemoryStore};
use polkashots_shared::worker::{LoopDeps, Worker, run_one};
use polkashots_shared::{adapters::subscription::SubscriptionOptions, names};
use polkashots_snapshotter::{ClaimMount, Snapshotter};
use tokio_util::sync::CancellationToken;

use crate::invariants::{Invariants, Watched};

/// What must never leave the machine lies beside the database with this content.
pub const SECRET: &[u8] = b"SECRET-OF-THE-NODE";
const GENESIS: BlockHash = BlockHash([7; 32]);

/// A service, its outside, and the memory that the outside keeps of it.
pub struct World {
    plan: FaultPlan,
    clock: Arc<ManualClock>,
    store: MemoryStore,
    queues: MemoryQueues,
    volumes: MemoryVolumeSnapshots,
    host: Arc<MemoryHost>,
    key: Arc<SecretKey>,
    target: TargetId,
    targets: Arc<BTreeMap<TargetId, Target>>,
    invariants: Arc<Invariants>,
    max_attempts: u32,
    folder: tempfile::TempDir,
}

/// A database that says what the test states.
#[derive(Debug)]
struct StatedDatabase;

#[async_trait]
impl ChainDatabase for StatedDatabase {
    async fn identity(&self, location: &DatabaseLocation) -> Result<Identity, ChainDatabaseError> {
        Ok(Identity {
            database: location.kind,
            genesis_hash: GENESIS,
            best: BlockRef { height: 400, hash: BlockHash([4; 32]) },
            finalized: BlockRef { height: 396, hash: BlockHash([3; 32]) },
            finalized_state: None,
            warp_gap: false,
            pruning: None,
        })
    }
}

impl World {
    /// A fresh world in which no tick was sent yet; its target has `more` formats than `tar.zst`.
    pub async fn new(plan: &FaultPlan, max_attempts: u32, more: &[Format]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (claims, node) = (folder.path().join("claims"), folder.path().join("node"));
        std::fs::create_dir(&claims)?;
        make_database(&node)?;
        let clock = Arc::new(ManualClock::at("2026-11-22T04:00:00Z".parse::<DateTime<Utc>>()?));
        let target = target(more)?;
        let id = target.id.clone();
        let key = Arc::new(SecretKey::generate()?);
        let content = BTreeMap::from([(id.clone(), node)]);
        Ok(Self {
            plan: plan.clone(),
            store: MemoryStore::new(clock.clone()),
            queues: MemoryQueues::new(clock.clone()),
            volumes: MemoryVolumeSnapshots::with_content(clock.clone(), claims, content),
            host: Arc::new(MemoryHost::default()),
            invariants: Arc::new(Invariants::new(key.public_key())),
            key,
            clock,
            targets: Arc::new(BTreeMap::from([(id.clone(), target)])),
            target: id,
            max_attempts,
            folder,
        }
        .declare_subscriptions())
    }

    fn declare_subscriptions(self) -> Self {
        for (worker, topic) in Self::SUBSCRIPTIONS {
            self.subscription(worker, topic);
        }
        self
    }

    const SUBSCRIPTIONS: [(&'static str, Topic); 6] = [
        ("engine", Topic::Tick),
        ("snapshotter", Topic::VolumeSnapshotReady),
        ("publisher", Topic::SnapshotUploaded),
        ("publisher", Topic::SnapshotFailed),
        ("engine", Topic::SnapshotUploaded),
        ("engine", Topic::SnapshotFailed),
    ];

    fn subscription(&self, worker: &str, topic: Topic) -> MemoryQueue {
        let name = names::subscription_name(worker, topic.as_str(), None);
        let options = SubscriptionOptions { max_attempts: self.max_attempts, ..SubscriptionOptions::default() };
        self.queues.subscribe(&name, topic, options)
    }

    /// Sends a tick of now, past the fault plan: the scheduler is not part of the system.
    pub async fn tick(&self) -> Result<()> {
        let tick = Payload::Tick(Tick { target: self.target.clone() });
        let event = Event::new("scheduler", self.clock.now(), tick);
        Ok(self.queues.publish(Topic::Tick, &event.to_message()).await?)
    }

    /// Tells of a snapshot that nobody uploaded.
    pub async fn tell_of_no_upload(&self) -> Result<()> {
        let (target, version) = (self.target.clone(), Version::from_time(self.clock.now()));
        let manifest = names::manifest_key(&target, version);
        let uploaded = Payload::SnapshotUploaded(SnapshotUploaded { target, version, manifest });
        let event = Event::new("snapshotter", self.clock.now(), uploaded);
        Ok(self.queues.publish(Topic::SnapshotUploaded, &event.to_message()).await?)
    }

    /// Runs life after life until no message is left; each crash ends one. Time passes between them.
    pub async fn live_until_idle(&self, max_lives: u32) -> Result<()> {
        for _ in 0..max_lives {
            tokio::select! {
                biased;
                () = self.plan.crashed() => self.plan.revive(),
                () = self.live() => {}
            }
            self.invariants.check(&self.store)?;
            if self.queues.is_idle() {
                return Ok(());
            }
            self.clock.advance(Duration::from_secs(600));
        }
        anyhow::bail!("messages are left after {max_lives} lives: {:?}", self.queues.backlog())
    }

    /// One process: works off what can be received, and ends when there is nothing more.
    async fn live(&self) {
        let deps = LoopDeps { events: self.events(), store: self.watched_store(), clock: self.clock.clone() };
        let workers = self.workers();
        let stop = CancellationToken::new();
        loop {
            let mut worked = false;
            for (name, topic) in Self::SUBSCRIPTIONS {
                let queue = Faulty::new(Arc::new(self.subscription(name, topic)), &self.plan);
                let ran = run_one(&queue as &dyn Queue, workers[name].as_ref(), &deps, Duration::ZERO, &stop).await;
                worked |= !matches!(ran, Ok(None));
            }
            if !worked {
                return;
            }
        }
    }

    fn workers(&self) -> BTreeMap<&'static str, Arc<dyn Worker>> {
        let (targets, store, clock) = (self.targets.clone(), self.watched_store(), self.clock.clone());
        let engine: Arc<dyn Worker> = Arc::new(Engine(polkashots_engine::Deps {
            targets: targets.clone(),
            volumes: Arc::new(Faulty::new(Arc::new(self.volumes.clone()), &self.plan)),
            store: store.clone(),
            clock: clock.clone(),
            settings: polkashots_engine::Settings::default(),
        }));
        let snapshotter: Arc<dyn Worker> = Arc::new(Snapshotter(polkashots_snapshotter::Deps {
            targets: targets.clone(),
            store: store.clone(),
            chain_database: Arc::new(Faulty::new(Arc::new(StatedDatabase), &self.plan)),
            claims: ClaimMount::ByName(self.folder.path().join("claims")),
            exporter: None,
        }));
        let host: Arc<dyn SiteHost> = Arc::new(Faulty::new(self.host.clone(), &self.plan));
        let publisher: Arc<dyn Worker> = Arc::new(Publisher::new(polkashots_publisher::Deps {
            targets,
            store,
            signing_key: self.key.clone(),
            old_keys: Vec::new(),
            site: site(),
            host,
            clock,
        }));
        BTreeMap::from([("engine", engine), ("snapshotter", snapshotter), ("publisher", publisher)])
    }

    fn events(&self) -> Arc<dyn EventSink> {
        Arc::new(Faulty::new(Arc::new(self.queues.clone()), &self.plan))
    }

    fn watched_store(&self) -> Arc<dyn ObjectStore> {
        let watched = Watched::new(self.store.clone(), self.invariants.clone());
        Arc::new(Faulty::new(Arc::new(watched), &self.plan))
    }

    /// Lets more time pass than any run may take.
    pub fn advance_past_sweep(&self) {
        self.clock.advance(Duration::from_secs(30 * 3600));
    }

    /// Who wrote to which topic, as in `engine writes to snapshot-failed`; the scheduler is left out.
    pub fn emitted(&self) -> Result<BTreeSet<String>> {
        let mut emitted = BTreeSet::new();
        for (topic, message) in self.queues.published().into_iter().filter(|(topic, _)| *topic != Topic::Tick) {
            let source = message.attributes.get("ce-source").context("an event says who sent it")?;
            let worker = source.trim_start_matches("/polkashots/");
            emitted.insert(format!("{worker} writes to {topic}"));
        }
        Ok(emitted)
    }

    /// Exactly `count` snapshots are there, listed, signed and announced; one volume snapshot was taken for each.
    pub async fn check_published(&self, count: usize) -> Result<()> {
        let manifests = self.invariants.check_settled(&self.store)?;
        ensure!(manifests.len() == count, "{} manifests, expected {count}: {manifests:?}", manifests.len());
        ensure!(
            self.volumes.taken() == count,
            "{} volume snapshots were taken for {count} ticks",
            self.volumes.taken()
        );
        let announced: BTreeSet<_> = self.queues.published().into_iter().filter_map(announced).collect();
        ensure!(announced.len() == count, "announced {announced:?}, expected {count}");
        ensure!(self.queues.dead_letters().is_empty(), "dead letters: {:?}", self.queues.dead_letters());
        ensure!(!self.host.deployed().is_empty(), "no site was deployed");
        let failed: Vec<_> = self.store.keys().into_iter().filter(|key| key.ends_with(names::FAILURE_SUFFIX)).collect();
        ensure!(failed.is_empty(), "failure records of snapshots that succeeded: {failed:?}");
        Ok(())
    }

    /// No volume snapshot, claim or unfinished upload is left.
    pub async fn check_nothing_leaked(&self) -> Result<()> {
        let held = self.volumes.held().await?;
        ensure!(held.is_empty(), "held: {held:?}");
        let claims: Vec<_> = std::fs::read_dir(self.folder.path().join("claims"))?.collect();
        ensure!(claims.is_empty(), "claims: {claims:?}");
        ensure!(self.store.pending_uploads() == 0, "{} unfinished uploads", self.store.pending_uploads());
        Ok(())
    }

    /// Delivers every event that ever was once more.
    pub async fn check_redelivery_changes_nothing(&self) -> Result<()> {
        let before = self.store.objects();
        let sites = self.host.deployed().len();
        for (topic, message) in self.queues.published() {
            self.queues.publish(topic, &message).await?;
        }
        self.live_until_idle(3).await.context("redelivery of every event")?;
        let after = self.store.objects();
        for key in before.keys().chain(after.keys()) {
            ensure!(before.get(key) == after.get(key), "redelivery changed {key}");
        }
        ensure!(self.host.deployed().len() == sites, "redelivery deployed the site again");
        self.check_nothing_leaked().await
    }
}

fn announced((topic, message): (Topic, polkashots_shared::event::Message)) -> Option<String> {
    (topic == Topic::SnapshotPublished).then(|| message.attributes.get("ce-id").cloned()).flatten()
}

fn target(more: &[Format]) -> Result<Target> {
    Ok(Target {
        id: "testnet-rocksdb-prune".parse()?,
        permalink: "test/rocksdb".parse()?,
        chain: Chain { name: "testnet".into(), id: "testnet".into(), genesis_hash: GENESIS },
        database: DatabaseKind::RocksDb,
        pruning: "256".into(),
        node: None,
        formats: [&[Format::TarZst], more].concat(),
        compression: Compression { level: 1, frame_size_bytes: 256 * 1024, threads: 1 },
        retention: Retention { keep: 2, ..Retention::default() },
        schedule: None,
        time_zone: "UTC".into(),
        explorers: Vec::new(),
    })
}

fn site() -> SiteSettings {
    SiteSettings {
        base_url: url::Url::parse("https://snapshots.example").expect("an address"),
        archive_url: "https://archive.example/".into(),
        mirrors: Vec::new(),
        title: "Snapshots".into(),
        source: None,
        jekyll: None,
    }
}

/// A chain folder as a node leaves it, secrets beside the database included.
fn make_database(chain_dir: &Path) -> Result<()> {
    let full = chain_dir.join("db/full");
    for folder in [&full, &chain_dir.join("keystore"), &chain_dir.join("network")] {
        std::fs::create_dir_all(folder)?;
    }
    let mut random = fastrand::Rng::with_seed(3);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(300 * 1024).collect();
    std::fs::write(full.join("000012.sst"), noise)?;
    std::fs::write(full.join("000013.log"), b"write-ahead log")?;
    std::fs::write(full.join("CURRENT"), b"MANIFEST-000005\n")?;
    std::fs::write(full.join("LOG"), SECRET)?;
    std::fs::write(full.join("LOCK"), b"")?;
    std::fs::write(chain_dir.join("keystore/6175"), SECRET)?;
    std::fs::write(chain_dir.join("network/secret_ed25519"), SECRET)?;
    Ok(())
}
