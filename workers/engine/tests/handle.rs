//! What the engine does with each event, on memory.

mod support;

use std::sync::Arc;
use std::time::Duration;

use polkashots_engine::testkit::MemoryVolumeSnapshots;
use polkashots_engine::{Deps, HeldKind, Settings, VolumeSnapshots, handle};
use polkashots_shared::clock::ManualClock;
use polkashots_shared::event::{Event, Payload, SnapshotFailed, SnapshotUploaded, Tick};
use polkashots_shared::failure;
use polkashots_shared::ids::{DatabaseKind, TargetId, Version};
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{Headers, ObjectStore, Precondition};
use polkashots_shared::testkit::MemoryStore;
use polkashots_shared::testkit::fault::{Fault, FaultPlan, Faulty};
use polkashots_shared::worker::{HandleError, Outcome};
use support::{clock, target, target_id, version};

struct World {
    clock: Arc<ManualClock>,
    volumes: MemoryVolumeSnapshots,
    store: MemoryStore,
    id: TargetId,
    now: Version,
}

impl World {
    fn new() -> Self {
        let clock = clock();
        let (volumes, store) = (MemoryVolumeSnapshots::new(clock.clone()), MemoryStore::new(clock.clone()));
        Self { clock, volumes, store, id: target_id("dot"), now: version("20261122-120000") }
    }

    fn deps(&self, plan: &FaultPlan) -> Deps {
        let targets = ["dot", "ksm"].map(|id| (target_id(id), target(id, DatabaseKind::ParityDb)));
        Deps {
            targets: Arc::new(targets.into()),
            volumes: Arc::new(Faulty::new(Arc::new(self.volumes.clone()), plan)),
            store: Arc::new(Faulty::new(Arc::new(self.store.clone()), plan)),
            clock: self.clock.clone(),
            settings: Settings::default(),
        }
    }

    async fn handle(&self, event: &Event) -> Result<Outcome, HandleError> {
        handle(event, &self.deps(&FaultPlan::none())).await
    }

    async fn tick(&self, version: Version) -> Result<Outcome, HandleError> {
        self.handle(&tick(&self.id, version)).await
    }

    async fn put(&self, key: String) {
        let headers = Headers::immutable("application/json");
        self.store.put(&key, "{}".into(), Precondition::Create, &headers).await.expect("stored");
    }

    async fn fail(&self, version: Version) {
        let failed =
            SnapshotFailed { target: self.id.clone(), version, worker: "snapshotter".into(), reason: "test".into() };
        assert!(failure::record(&self.store, &failed, self.now.time()).await.expect("recorded"));
    }

    async fn held(&self) -> Vec<(String, Version, HeldKind)> {
        let held = self.volumes.held().await.expect("held");
        held.into_iter().map(|held| (held.target.to_string(), held.version, held.kind)).collect()
    }
}

fn tick(target: &TargetId, version: Version) -> Event {
    Event::new("trigger", version.time(), Payload::Tick(Tick { target: target.clone() }))
}

fn uploaded(target: &TargetId, version: Version) -> Event {
    let payload = SnapshotUploaded { target: target.clone(), version, manifest: names::manifest_key(target, version) };
    Event::new("snapshotter", version.time(), Payload::SnapshotUploaded(payload))
}

fn failed(target: &TargetId, version: Version) -> Event {
    let payload =
        SnapshotFailed { target: target.clone(), version, worker: "snapshotter".into(), reason: "test".into() };
    Event::new("snapshotter", version.time(), Payload::SnapshotFailed(payload))
}

fn ids(outcome: &Outcome) -> Vec<&str> {
    outcome.emit.iter().map(|event| event.id.as_str()).collect()
}

#[tokio::test]
async fn a_tick_becomes_a_volume_snapshot_and_a_redelivered_one_the_same() {
    let world = World::new();
    let first = world.tick(world.now).await.expect("handled");
    assert_eq!(ids(&first), ["volume-snapshot-ready/dot/20261122-120000"]);
    let Payload::VolumeSnapshotReady(ready) = &first.emit[0].payload else { panic!("{first:?}") };
    assert_eq!((ready.claim.as_str(), ready.taken_at), ("dot-restore", world.now.time()));
    world.clock.advance(Duration::from_secs(90));
    let again = world.tick(world.now).await.expect("handled");
    assert_eq!(again.emit, first.emit);
    assert_eq!(world.volumes.taken(), 1);
}

#[tokio::test]
async fn uploaded_and_failed_tear_down_their_version_only() {
    for end in [uploaded, failed] {
        let world = World::new();
        world.tick(world.now).await.expect("handled");
        let outcome = world.handle(&end(&world.id, version("20261121-120000"))).await.expect("handled");
        assert_eq!((outcome.emit.len(), world.held().await.len()), (0, 2));
        for _redelivery in 0..2 {
            world.handle(&end(&world.id, world.now)).await.expect("handled");
            assert_eq!(world.held().await, []);
        }
    }
}

#[tokio::test]
async fn a_target_that_was_removed_is_torn_down_too() {
    let world = World::new();
    let gone = target_id("gone");
    world.volumes.acquire(&gone, world.now).await.expect("acquired");
    world.handle(&failed(&gone, world.now)).await.expect("handled");
    assert_eq!(world.held().await, []);
}

#[tokio::test]
async fn a_tick_whose_run_is_over_only_releases() {
    for suffix in [names::MANIFEST_SUFFIX, names::FAILURE_SUFFIX] {
        let world = World::new();
        world.tick(world.now).await.expect("handled");
        world.put(names::object_key(&world.id, world.now, suffix)).await;
        let outcome = world.tick(world.now).await.expect("handled");
        assert!(outcome.skipped.is_some_and(|reason| reason.contains("is over")));
        assert_eq!((world.held().await, world.volumes.taken()), (vec![], 1));
    }
}

#[tokio::test]
async fn a_second_tick_while_busy_is_skipped() {
    let world = World::new();
    let earlier = version("20261122-110000");
    world.tick(earlier).await.expect("handled");
    let outcome = world.tick(world.now).await.expect("handled");
    assert_eq!(ids(&outcome), [""; 0]);
    assert!(outcome.skipped.is_some_and(|reason| reason.contains("20261122-110000 is in flight")));
    assert_eq!(world.volumes.taken(), 1);
}

#[tokio::test]
async fn a_claim_held_by_a_run_that_is_over_is_taken() {
    let world = World::new();
    let earlier = version("20261122-110000");
    world.tick(earlier).await.expect("handled");
    world.fail(earlier).await;
    let outcome = world.tick(world.now).await.expect("handled");
    let expected = ["snapshot-failed/dot/20261122-110000", "volume-snapshot-ready/dot/20261122-120000"];
    assert_eq!(ids(&outcome), expected);
    let kinds = [HeldKind::Claim, HeldKind::VolumeSnapshot];
    assert_eq!(world.held().await, kinds.map(|kind| ("dot".to_owned(), world.now, kind)));
}

#[tokio::test]
async fn what_an_uploaded_run_holds_is_swept_by_another_targets_tick() {
    let world = World::new();
    world.tick(world.now).await.expect("handled");
    world.put(names::manifest_key(&world.id, world.now)).await;
    world.handle(&tick(&target_id("ksm"), world.now)).await.expect("handled");
    assert!(world.held().await.iter().all(|(target, ..)| target == "ksm"));
}

#[tokio::test]
async fn a_dead_run_is_recorded_as_failed_and_torn_down_once_it_is_old() {
    let world = World::new();
    world.tick(world.now).await.expect("handled");
    let other = target_id("ksm");
    world.clock.advance(Duration::from_secs(25 * 3600));
    let young = world.handle(&tick(&other, version("20261123-120000"))).await.expect("handled");
    assert_eq!(ids(&young), ["volume-snapshot-ready/ksm/20261123-120000"]);
    world.clock.advance(Duration::from_secs(2 * 3600));
    for _redelivery in 0..2 {
        let old = world.handle(&tick(&other, version("20261123-120000"))).await.expect("handled");
        assert_eq!(ids(&old)[0], "snapshot-failed/dot/20261122-120000");
        world.handle(&old.emit[0]).await.expect("handled");
        world.volumes.acquire(&world.id, world.now).await.expect("held again, as after a crash");
    }
    let record = world.store.get(&names::failure_key(&world.id, world.now), 1 << 16).await.expect("recorded");
    let record: failure::Failure = serde_json::from_slice(&record.bytes).expect("a failure record");
    assert!(record.reason.contains("dead run: nothing was uploaded in 26.0 h"), "{}", record.reason);
}

#[tokio::test]
async fn ticks_that_can_never_succeed_say_why() {
    let world = World::new();
    let unknown = world.handle(&tick(&target_id("doge"), world.now)).await.expect_err("unknown");
    assert!(unknown.to_string().contains("unknown target doge: configured targets are dot, ksm"), "{unknown}");
    let future = world.tick(version("20261122-120501")).await.expect_err("future");
    assert!(future.to_string().contains("is in the future"), "{future}");
    world.tick(version("20261122-120500")).await.expect("within the tolerance");
    world.put(names::manifest_key(&world.id, version("20261122-115959"))).await;
    let stale = world.tick(version("20261122-115958")).await.expect_err("older than the newest snapshot");
    assert!(stale.to_string().contains("not newer than snapshot 20261122-115959"), "{stale}");
    for error in [unknown, future, stale] {
        assert!(error.is_permanent());
    }
}

/// Handles `event` until it succeeds, in as many lives as the plan's faults make necessary; counts the lives.
async fn until_handled(world: &World, event: &Event, plan: &FaultPlan) -> (Outcome, usize) {
    for life in 1..5 {
        let deps = world.deps(plan);
        let result = tokio::select! {
            biased;
            () = plan.crashed() => { plan.revive(); continue }
            result = handle(event, &deps) => result,
        };
        match result {
            Ok(outcome) => return (outcome, life),
            Err(error) => assert!(!error.is_permanent(), "{plan}: {error}"),
        }
    }
    panic!("{plan}: not handled in five lives");
}

/// A crashed run of an earlier version in the way, then a tick, then its end.
async fn one_cycle(plan: &FaultPlan) -> usize {
    let world = World::new();
    let earlier = version("20261122-110000");
    world.tick(earlier).await.expect("handled");
    world.fail(earlier).await;
    let (outcome, lives) = until_handled(&world, &tick(&world.id, world.now), plan).await;
    assert_eq!(ids(&outcome).last(), Some(&"volume-snapshot-ready/dot/20261122-120000"), "{plan}");
    assert_eq!(world.volumes.taken(), 2, "{plan}: a second snapshot was taken");
    world.put(names::manifest_key(&world.id, world.now)).await;
    let (_, more_lives) = until_handled(&world, &uploaded(&world.id, world.now), plan).await;
    assert_eq!(world.held().await, [], "{plan}: something leaked");
    lives + more_lives
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "the count of cases is part of the result")]
async fn every_port_call_may_fail_in_four_ways() {
    let counted = FaultPlan::none();
    one_cycle(&counted).await;
    let calls = counted.calls().len();
    let mut lives = 0;
    for position in 0..calls {
        for fault in Fault::ALL {
            lives += one_cycle(&FaultPlan::at(position, fault)).await;
        }
    }
    eprintln!("{calls} port calls x 4 faults: {} cases, {lives} lives", calls * 4);
    assert!(calls >= 10, "only {calls} port calls were seen");
}
