//! The engine's whole cycle in a cluster: ticks, ends, and the sweep of what crashed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use polkashots_engine::adapters::kubernetes::KubernetesVolumes;
use polkashots_engine::testkit::csi::Script;
use polkashots_engine::{Deps, HeldKind, Settings, VolumeSnapshots, handle};
use polkashots_shared::chain::Chain;
use polkashots_shared::clock::ManualClock;
use polkashots_shared::event::{Event, Payload, SnapshotUploaded, Tick};
use polkashots_shared::ids::{DatabaseKind, TargetId, Version};
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{Headers, ObjectStore, Precondition};
use polkashots_shared::target::{Compression, Format, Retention, Target};
use polkashots_shared::testkit::MemoryStore;

use crate::cluster::{Cluster, target_id};

const HOUR: Duration = Duration::from_secs(3600);

/// The engine of two targets, on a clock that starts at the real time, as the objects in the cluster do.
struct World {
    clock: Arc<ManualClock>,
    store: MemoryStore,
    volumes: KubernetesVolumes,
}

impl World {
    fn new(volumes: KubernetesVolumes) -> Self {
        let clock = Arc::new(ManualClock::at(Utc::now()));
        Self { store: MemoryStore::new(clock.clone()), clock, volumes }
    }

    async fn handle(&self, event: &Event) -> Vec<Event> {
        let deps = Deps {
            targets: Arc::new(BTreeMap::from(["first", "second"].map(|id| (target_id(id), target(id))))),
            volumes: Arc::new(self.volumes.clone()),
            store: Arc::new(self.store.clone()),
            clock: self.clock.clone(),
            settings: Settings { sweep_min_age: 26 * HOUR },
        };
        handle(event, &deps).await.expect("handled").emit
    }

    /// Ticks now; the version of the tick and what the engine told of.
    async fn tick(&self, target: &str) -> (Version, Vec<String>) {
        let now = polkashots_shared::clock::Clock::now(self.clock.as_ref());
        let tick = Event::new("trigger", now, Payload::Tick(Tick { target: target_id(target) }));
        let told = self.handle(&tick).await;
        (Version::from_time(now), told.into_iter().map(|event| event.id).collect())
    }

    async fn upload(&self, target: &TargetId, version: Version) {
        let headers = Headers::immutable("application/json");
        let manifest = names::manifest_key(target, version);
        self.store.put(&manifest, "{}".into(), Precondition::Create, &headers).await.expect("stored");
        let uploaded = SnapshotUploaded { target: target.clone(), version, manifest };
        self.handle(&Event::new("snapshotter", version.time(), Payload::SnapshotUploaded(uploaded))).await;
    }

    async fn held(&self) -> Vec<(String, Version, HeldKind)> {
        let held = self.volumes.held().await.expect("held");
        held.into_iter().map(|held| (held.target.to_string(), held.version, held.kind)).collect()
    }
}

fn target(id: &str) -> Target {
    Target {
        id: target_id(id),
        permalink: format!("dot/{id}").parse().expect("legal"),
        chain: Chain::built_in("polkadot").expect("built in"),
        database: DatabaseKind::ParityDb,
        pruning: "256".into(),
        node: None,
        formats: vec![Format::TarZst],
        compression: Compression::default(),
        retention: Retention::default(),
        schedule: None,
        time_zone: "UTC".into(),
        explorers: Vec::new(),
    }
}

#[tokio::test]
async fn the_whole_cycle_runs_under_the_role_of_k8s() {
    let Some(mut cluster) = Cluster::with_namespace("cycle").await else { return };
    cluster.play(Script::ready("10Gi"));
    let world = World::new(cluster.volumes().await);
    let first = target_id("first");
    let (version, told) = world.tick("first").await;
    assert_eq!(told, [format!("volume-snapshot-ready/first/{version}")]);
    let kinds = [HeldKind::Claim, HeldKind::VolumeSnapshot];
    assert_eq!(world.held().await, kinds.map(|kind| ("first".to_owned(), version, kind)));
    assert_eq!(world.tick("first").await, (version, told), "a redelivered tick tells of the same");

    world.clock.advance(HOUR);
    let (_, busy) = world.tick("first").await;
    assert_eq!(busy, [""; 0], "one snapshot is in flight");
    world.upload(&first, version).await;
    assert_eq!(world.held().await, [], "torn down");
    let (next, told) = world.tick("first").await;
    assert_eq!(told, [format!("volume-snapshot-ready/first/{next}")]);
}

#[tokio::test]
async fn what_crashed_is_swept_by_another_targets_tick_once_it_is_old_enough() {
    let Some(mut cluster) = Cluster::with_namespace("sweep").await else { return };
    let second = cluster.another_namespace("sweep-second").await;
    cluster.play(Script::ready("10Gi"));
    let _second = cluster.play_in("sweep-second", Script::ready("10Gi"));
    let world = World::new(cluster.volumes_of([&cluster.settings, &second]).await);
    let (crashed, _) = world.tick("first").await;

    world.clock.advance(25 * HOUR);
    let (young, told) = world.tick("second").await;
    assert_eq!(told, [format!("volume-snapshot-ready/second/{young}")], "it may still be at work");
    assert_eq!(world.held().await.len(), 4);
    world.upload(&target_id("second"), young).await;

    world.clock.advance(2 * HOUR);
    let now = polkashots_shared::clock::Clock::now(world.clock.as_ref());
    let tick = Event::new("trigger", now, Payload::Tick(Tick { target: target_id("second") }));
    let told = world.handle(&tick).await;
    assert_eq!(told[0].id, format!("snapshot-failed/first/{crashed}"));
    world.handle(&told[0]).await;
    assert!(world.held().await.iter().all(|(target, ..)| target == "second"), "{:?}", world.held().await);
}
