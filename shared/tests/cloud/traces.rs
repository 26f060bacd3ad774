//! One trace runs through the workers, and what is recorded reaches a collector.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use polkashots_shared::adapters::subscription::SubscriptionOptions;
use polkashots_shared::clock::SystemClock;
use polkashots_shared::event::{
    Event, Message, Payload, SnapshotUploaded, TARGET_ATTRIBUTE, TRACEPARENT_ATTRIBUTE, Tick, Topic,
    VolumeSnapshotReady,
};
use polkashots_shared::ids::Version;
use polkashots_shared::ports::queue::EventSink;
use polkashots_shared::telemetry::Traces;
use polkashots_shared::testkit::servers::{CollectedSpan, Collector};
use polkashots_shared::testkit::{MemoryQueues, MemoryStore};
use polkashots_shared::worker::{self, Disposition, HandleError, LoopDeps, Outcome, Worker};
use tokio_util::sync::CancellationToken;
use tracing::instrument::WithSubscriber;
use tracing_subscriber::layer::SubscriberExt;

/// Answers a tick with a volume snapshot, and that with an upload.
struct Next(&'static str);

#[async_trait]
impl Worker for Next {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn handle(&self, event: &Event) -> Result<Outcome, HandleError> {
        let target = event.payload.target().clone();
        let version = event.payload.version().unwrap_or_else(|| Version::from_time(DateTime::UNIX_EPOCH));
        let next = match event.payload {
            Payload::Tick(_) => Payload::VolumeSnapshotReady(VolumeSnapshotReady {
                target,
                version,
                volume_snapshot: "volume-snapshot".into(),
                claim: "claim".into(),
                taken_at: Utc::now(),
            }),
            _ => Payload::SnapshotUploaded(SnapshotUploaded { target, version, manifest: "manifest".into() }),
        };
        Ok(Outcome::emit(Event::new(self.0, Utc::now(), next)))
    }
}

struct World {
    queues: MemoryQueues,
    deps: LoopDeps,
}

impl World {
    fn new() -> Self {
        let queues = MemoryQueues::new(Arc::new(SystemClock));
        let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let deps = LoopDeps { events: Arc::new(queues.clone()), store, clock: Arc::new(SystemClock) };
        Self { queues, deps }
    }

    /// Has a worker handle one message, in a process of its own as far as traces go.
    async fn handle(&self, worker: &'static str, topic: Topic, collector: Option<&Collector>) -> Result<()> {
        let queue = self.queues.subscribe(worker, topic, SubscriptionOptions::default());
        let stop = CancellationToken::new();
        let worker = Next(worker);
        let ran = worker::run_one(&queue, &worker, &self.deps, Duration::ZERO, &stop);
        let Some(collector) = collector else {
            assert_eq!(ran.await?, Some(Disposition::Acknowledged));
            return Ok(());
        };
        let traces = Traces::start(&collector.endpoint().parse()?, worker.0)?;
        let subscriber = tracing_subscriber::registry().with(traces.layer());
        assert_eq!(ran.with_subscriber(subscriber).await?, Some(Disposition::Acknowledged));
        tokio::task::spawn_blocking(move || traces.end()).await?;
        Ok(())
    }

    fn traceparent(&self, topic: Topic) -> Option<String> {
        let published = self.queues.published();
        let (_, message) = published.iter().find(|(on, _)| *on == topic)?;
        message.attributes.get(TRACEPARENT_ATTRIBUTE).cloned()
    }
}

fn bare_tick() -> Message {
    let attributes = [(TARGET_ATTRIBUTE.to_owned(), "polkadot".to_owned())];
    Message { attributes: attributes.into(), data: "by hand".into() }
}

fn only(spans: Vec<CollectedSpan>) -> Result<CollectedSpan> {
    let [span]: [_; 1] = spans.try_into().map_err(|spans| anyhow::anyhow!("expected one span, found {spans:?}"))?;
    Ok(span)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_runs_through_two_workers_and_reaches_the_collector() -> Result<()> {
    let (world, collectors) = (World::new(), [Collector::start().await?, Collector::start().await?]);
    let (engine, snapshotter) = ("polkashots-engine", "polkashots-snapshotter");
    world.queues.subscribe(engine, Topic::Tick, SubscriptionOptions::default());
    world.queues.subscribe(snapshotter, Topic::VolumeSnapshotReady, SubscriptionOptions::default());
    world.queues.publish(Topic::Tick, &bare_tick()).await?;
    world.handle(engine, Topic::Tick, Some(&collectors[0])).await?;
    world.handle(snapshotter, Topic::VolumeSnapshotReady, Some(&collectors[1])).await?;

    let (first, second) = (only(collectors[0].spans("event"))?, only(collectors[1].spans("event"))?);
    assert_eq!((first.service.as_str(), second.service.as_str()), (engine, snapshotter));
    assert_eq!(first.parent, "", "a bare tick begins a trace");
    assert_eq!(second.trace, first.trace);
    assert_eq!(second.parent, first.id);
    assert_eq!(second.attributes.get("target_id").map(String::as_str), Some("polkadot"));
    let between = world.traceparent(Topic::VolumeSnapshotReady).context("the event carries the trace")?;
    assert_eq!(between, format!("00-{}-{}-01", first.trace, first.id));
    let onward = world.traceparent(Topic::SnapshotUploaded).context("the last event carries the trace")?;
    assert_eq!(onward, format!("00-{}-{}-01", second.trace, second.id));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_records_nothing_hands_the_trace_on() -> Result<()> {
    let world = World::new();
    world.queues.subscribe("engine", Topic::Tick, SubscriptionOptions::default());
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut tick = Event::new("scheduler", Utc::now(), Payload::Tick(Tick { target: "polkadot".parse()? }));
    tick.traceparent = Some(traceparent.to_owned());
    world.queues.publish(Topic::Tick, &tick.to_message()).await?;
    world.handle("engine", Topic::Tick, None).await?;
    assert_eq!(world.traceparent(Topic::VolumeSnapshotReady).as_deref(), Some(traceparent));
    Ok(())
}

/// A collector that is down must cost no message.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_stops_no_worker() -> Result<()> {
    let (world, collector) = (World::new(), Collector::start().await?);
    let endpoint = collector.endpoint().parse()?;
    drop(collector);
    let queue = world.queues.subscribe("engine", Topic::Tick, SubscriptionOptions::default());
    world.queues.publish(Topic::Tick, &bare_tick()).await?;
    let traces = Traces::start(&endpoint, "polkashots-engine")?;
    let subscriber = tracing_subscriber::registry().with(traces.layer());
    let stop = CancellationToken::new();
    let ran = worker::run_one(&queue, &Next("engine"), &world.deps, Duration::ZERO, &stop);
    assert_eq!(ran.with_subscriber(subscriber).await?, Some(Disposition::Acknowledged));
    tokio::task::spawn_blocking(move || traces.end()).await?;
    Ok(())
}
