//! What the publisher's tests share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use polkashots_publisher::testkit::MemoryHost;
use polkashots_publisher::{Deps, SiteHost, SiteSettings, handle};
use polkashots_shared::clock::ManualClock;
use polkashots_shared::event::{Event, Payload, SnapshotUploaded};
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::minisign::SecretKey;
use polkashots_shared::names;
use polkashots_shared::ports::object_store::ObjectStore;
use polkashots_shared::target::Target;
use polkashots_shared::testkit::MemoryStore;
use polkashots_shared::worker::{HandleError, Outcome};

pub const DOT: &str = "polkadot-paritydb-prune";
pub const KSM: &str = "kusama-rocksdb-prune";

/// A publisher on memory adapters.
pub struct World {
    pub clock: Arc<ManualClock>,
    pub store: Arc<MemoryStore>,
    pub host: Arc<MemoryHost>,
    pub deps: Deps,
}

pub fn time(text: &str) -> DateTime<Utc> {
    version(text).time()
}

pub fn version(text: &str) -> Version {
    text.parse().expect("a legal version")
}

pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(name)
}

pub fn key(name: &str) -> SecretKey {
    let text = std::fs::read_to_string(fixture(name)).expect("a key for tests");
    SecretKey::parse(&text, None).expect("a key that minisign made")
}

pub fn targets() -> BTreeMap<TargetId, Target> {
    let target = |id: &str, permalink: &str, chain: &str, database: &str| -> Target {
        let chain = polkashots_shared::chain::Chain::built_in(chain).expect("built in");
        let json = serde_json::json!({
            "id": id, "permalink": permalink, "chain": chain, "database": database, "pruning": "256",
            "node": { "name": "polkadot", "version": "1.25.1" },
            "retention": { "keep": 3, "grace_hours": 72, "failure_hours": 168 },
            "schedule": "0 4 * * *",
            "explorers": [{ "name": "Subscan", "url": "https://polkadot.subscan.io/block/{height}" }],
        });
        serde_json::from_value(json).expect("a target")
    };
    [target(DOT, "dot/paritydb", "polkadot", "paritydb"), target(KSM, "ksm/rocksdb", "kusama", "rocksdb")]
        .into_iter()
        .map(|target| (target.id.clone(), target))
        .collect()
}

impl World {
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::at(time("20261122-050000")));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let host = Arc::new(MemoryHost::default());
        let deps = deps(clock.clone(), store.clone(), host.clone());
        Self { clock, store, host, deps }
    }

    pub fn target(&self, id: &str) -> Target {
        self.deps.targets[&id.parse::<TargetId>().expect("a legal id")].clone()
    }

    pub async fn upload(&self, id: &str, version_text: &str, height: u32) -> anyhow::Result<()> {
        let (target, version) = (self.target(id), version(version_text));
        polkashots_publisher::testkit::publish_fake_snapshot(self.store.as_ref(), &target, version, height).await?;
        Ok(())
    }

    pub async fn publish(&self, id: &str, version_text: &str, height: u32) -> anyhow::Result<Outcome> {
        self.upload(id, version_text, height).await?;
        Ok(self.handle(id, version_text).await?)
    }

    pub async fn handle(&self, id: &str, version_text: &str) -> Result<Outcome, HandleError> {
        handle(&uploaded(id, version_text), &self.deps).await
    }

    pub fn bytes(&self, key: &str) -> Option<bytes::Bytes> {
        self.store.objects().get(key).map(|object| object.bytes.clone())
    }

    pub fn index(&self) -> polkashots_shared::index::Index {
        let bytes = self.bytes(names::INDEX_KEY).expect("the index is there");
        serde_json::from_slice(&bytes).expect("the index is JSON")
    }

    pub fn listed(&self, id: &str) -> Vec<String> {
        let index = self.index();
        let target = index.find(id);
        target.map_or(Vec::new(), |target| target.snapshots.iter().map(|s| s.version.to_string()).collect())
    }
}

pub fn deps(clock: Arc<ManualClock>, store: Arc<dyn ObjectStore>, host: Arc<dyn SiteHost>) -> Deps {
    Deps {
        targets: Arc::new(targets()),
        store,
        signing_key: Arc::new(key("test.key")),
        old_keys: Vec::new(),
        site: site_settings(),
        host,
        clock,
    }
}

pub fn site_settings() -> SiteSettings {
    SiteSettings {
        base_url: "https://snapshots.example".parse().expect("an address"),
        archive_url: "https://archive.example/".into(),
        mirrors: Vec::new(),
        title: "Example snapshots".into(),
        source: None,
        jekyll: None,
    }
}

pub fn uploaded(id: &str, version_text: &str) -> Event {
    let target: TargetId = id.parse().expect("a legal id");
    let version = version(version_text);
    let manifest = names::manifest_key(&target, version);
    Event::new("snapshotter", version.time(), Payload::SnapshotUploaded(SnapshotUploaded { target, version, manifest }))
}
