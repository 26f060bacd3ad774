//! The only place that names adapters: what one machine uses for each port.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use polkashots_engine::adapters::{local, local::LocalVolumes, quiesce};
use polkashots_engine::{Engine, VolumeSnapshotError};
use polkashots_publisher::Publisher;
use polkashots_publisher::adapters::directory_host::DirectoryHost;
use polkashots_shared::adapters::chain::Databases;
use polkashots_shared::adapters::directory_store::DirectoryStore;
use polkashots_shared::adapters::sqlite_queue::{SqliteQueue, SqliteQueues};
use polkashots_shared::adapters::subscription::SubscriptionOptions;
use polkashots_shared::clock::{Clock, SystemClock};
use polkashots_shared::event::Topic;
use polkashots_shared::ids::TargetId;
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{ObjectStore, StoreError};
use polkashots_shared::ports::queue::{EventSink, Queue, QueueError};
use polkashots_shared::retry::{Policy, RetryingStore};
use polkashots_shared::target::Target;
use polkashots_shared::worker::Worker;
use polkashots_snapshotter::blocks::Exporter;
use polkashots_snapshotter::{ClaimMount, Snapshotter};
use url::Url;

use crate::config::{Config, ExportBlocks, Method, TargetConfig};
use crate::keygen::{load_public_key, load_secret_key};
use crate::output::CommandError;

/// A message whose worker was killed comes again after this long.
const LEASE: Duration = Duration::from_secs(20);
/// A killed process costs its messages an attempt each, so there are more of them than a failing handler would need.
const MAX_ATTEMPTS: u32 = 20;
/// The snapshotter's name in its subscription.
const SNAPSHOTTER: &str = "snapshotter";
/// Which worker reads which topic.
const SUBSCRIPTIONS: [(&str, Topic); 6] = [
    (polkashots_engine::NAME, Topic::Tick),
    (polkashots_engine::NAME, Topic::SnapshotUploaded),
    (polkashots_engine::NAME, Topic::SnapshotFailed),
    (SNAPSHOTTER, Topic::VolumeSnapshotReady),
    (polkashots_publisher::NAME, Topic::SnapshotUploaded),
    (polkashots_publisher::NAME, Topic::SnapshotFailed),
];

/// Everything that the service runs on.
pub struct Deps {
    /// The targets.
    pub targets: Arc<BTreeMap<TargetId, Target>>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// The machine's clock.
    pub clock: Arc<dyn Clock>,
    /// Each worker with a queue that it reads.
    pub subscriptions: Vec<Subscription>,
    /// The publisher, for refreshes without an event.
    pub publisher: Arc<Publisher>,
}

/// A queue and the worker that reads it.
pub struct Subscription {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// The worker.
    pub worker: Arc<dyn Worker>,
}

impl Deps {
    /// Wires SQLite queue, directory store, copy or btrfs volumes and a directory as the site's host.
    pub async fn local(config: &Config, base_url: &Url) -> Result<Self, CommandError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let targets = Arc::new(config.targets());
        let queues = open_queues(config).await.map_err(CommandError::failed)?;
        // The state directory's lock is ours: whoever held a lease is dead.
        queues.end_leases().await.map_err(CommandError::failed)?;
        let store: Arc<dyn ObjectStore> = Arc::new(open_store(config).map_err(explain_store)?);
        let volumes = open_volumes(config, clock.clone()).await.map_err(CommandError::failed)?;
        let claims = ClaimMount::ByName(volumes.claims_dir());
        let engine: Arc<dyn Worker> = Arc::new(Engine(polkashots_engine::Deps {
            targets: targets.clone(),
            volumes: Arc::new(volumes),
            store: store.clone(),
            clock: clock.clone(),
            settings: polkashots_engine::Settings::default(),
        }));
        let snapshotter: Arc<dyn Worker> = Arc::new(Snapshotter(polkashots_snapshotter::Deps {
            targets: targets.clone(),
            store: store.clone(),
            chain_database: Arc::new(Databases::default()),
            claims,
            exporter: config.export_blocks.as_ref().map(exporter),
        }));
        let publisher = Arc::new(publisher(config, base_url, targets.clone(), store.clone(), clock.clone())?);
        let worker = |name: &str| -> Arc<dyn Worker> {
            match name {
                polkashots_engine::NAME => engine.clone(),
                SNAPSHOTTER => snapshotter.clone(),
                _ => publisher.clone(),
            }
        };
        let subscriptions = subscribe(&queues)
            .await
            .map_err(CommandError::failed)?
            .into_iter()
            .map(|(name, queue)| Subscription { queue: Arc::new(queue), worker: worker(name) })
            .collect();
        Ok(Self { targets, events: Arc::new(queues), store, clock, subscriptions, publisher })
    }
}

/// The queue, with every subscription declared, so that what is published before the first `run` waits for it.
pub async fn open_queues(config: &Config) -> Result<SqliteQueues, QueueError> {
    std::fs::create_dir_all(&config.state_dir).map_err(|error| QueueError::Permanent {
        queue: config.state_dir.display().to_string(),
        source: error.into(),
    })?;
    let queues = SqliteQueues::open(config.queue_path(), Arc::new(SystemClock)).await?;
    subscribe(&queues).await?;
    Ok(queues)
}

/// The bucket, with the one retry policy around it.
pub fn open_store(config: &Config) -> Result<RetryingStore<DirectoryStore>, StoreError> {
    Ok(RetryingStore::new(Arc::new(DirectoryStore::open(&config.store_dir)?), Policy::default()))
}

/// The volumes of every target, each by its own method.
async fn open_volumes(config: &Config, clock: Arc<dyn Clock>) -> Result<LocalVolumes, VolumeSnapshotError> {
    let sources = config.targets.iter().map(|(id, target)| (id.clone(), source_of(target))).collect();
    LocalVolumes::open(&config.state_dir, sources, clock).await
}

fn source_of(config: &TargetConfig) -> local::Source {
    let method = match config.source.method {
        Method::Copy => local::Method::Copy,
        Method::Btrfs => local::Method::Btrfs,
    };
    let quiesce = config.source.quiesce.as_ref().map(|quiesce| quiesce::Quiesce {
        stop: quiesce.stop.clone(),
        start: quiesce.start.clone(),
        deadline: quiesce.deadline,
    });
    local::Source {
        quiesce,
        snapshots: config.source.snapshots.clone(),
        ..local::Source::of_target(&config.target, config.source.path.clone(), method)
    }
}

fn explain_store(error: StoreError) -> CommandError {
    CommandError::failed(error).hint(
        "the store directory must be there and writable (it is not made by itself, so that a missing disk is noticed)",
    )
}

async fn subscribe(queues: &SqliteQueues) -> Result<Vec<(&'static str, SqliteQueue)>, QueueError> {
    let options = SubscriptionOptions { target: None, lease: LEASE, max_attempts: MAX_ATTEMPTS };
    let mut subscribed = Vec::new();
    for (worker, topic) in SUBSCRIPTIONS {
        let name = names::subscription_name(worker, topic.as_str(), None);
        subscribed.push((worker, queues.subscribe(&name, topic, options.clone()).await?));
    }
    Ok(subscribed)
}

fn exporter(settings: &ExportBlocks) -> Exporter {
    Exporter { binary: settings.node_binary.clone(), chain: settings.node_chain.clone(), deadline: settings.deadline }
}

fn publisher(
    config: &Config,
    base_url: &Url,
    targets: Arc<BTreeMap<TargetId, Target>>,
    store: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
) -> Result<Publisher, CommandError> {
    let signing = &config.signing;
    let signing_key = Arc::new(load_secret_key(&signing.secret_key, signing.password_file.as_deref())?);
    let old_keys = signing.old_public_keys.iter().map(|path| load_public_key(&path.display().to_string()));
    let old_keys =
        old_keys.collect::<Result<_, _>>().map_err(|error| CommandError::failed(error).doing("old public key"))?;
    let host = DirectoryHost::open(&config.site_dir).map_err(CommandError::failed)?;
    let site = polkashots_publisher::SiteSettings {
        base_url: base_url.clone(),
        archive_url: base_url.to_string(),
        mirrors: config.site.mirrors.clone(),
        title: config.site.title.clone(),
        source: config.site.source.clone(),
        jekyll: config.site.jekyll.clone(),
    };
    Ok(Publisher::new(polkashots_publisher::Deps {
        targets,
        store,
        signing_key,
        old_keys,
        site,
        host: Arc::new(host),
        clock,
    }))
}
