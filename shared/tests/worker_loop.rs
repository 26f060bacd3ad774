//! The worker loop's promises: what is acknowledged, what comes again, and what is given up with its reason.

use std::future::pending;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use polkashots_shared::clock::ManualClock;
use polkashots_shared::event::{Event, Message, Payload, SnapshotUploaded, Tick, Topic, VolumeSnapshotReady};
use polkashots_shared::failure::Failure;
use polkashots_shared::ids::Version;
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{
    ByteStream, Generation, Headers, Object, ObjectMeta, ObjectStore, Precondition, StoreError, Upload,
};
use polkashots_shared::ports::queue::{Delivery, EventSink, Queue, QueueError, Receipt};
use polkashots_shared::worker::{Disposition, HandleError, LoopDeps, Outcome, Worker, run_one};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const LEASE: Duration = Duration::from_secs(30);
const MAX_ATTEMPTS: u32 = 5;

#[tokio::test(start_paused = true)]
async fn a_message_is_acknowledged_only_after_its_events_are_durable() -> Result<()> {
    let world = World::new(1);
    let ended = world.run(|| async { Ok(Outcome::emit(uploaded())) }).await?;
    assert_eq!(ended, Some(Disposition::Acknowledged));
    assert_eq!(world.journal(), ["handle", "publish snapshot-uploaded", "ack"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_not_emitted_returns_the_message() -> Result<()> {
    let world = World::new(1);
    world.failing_publishes.store(1, SeqCst);
    let ended = world.run(|| async { Ok(Outcome::emit(uploaded())) }).await?;
    assert_eq!(ended, Some(Disposition::Returned));
    assert_eq!(world.journal(), ["handle", "publish fails", "nack after 1s"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn on_the_last_attempt_an_event_is_emitted_with_patience() -> Result<()> {
    let world = World::new(MAX_ATTEMPTS);
    world.failing_publishes.store(8, SeqCst);
    let ended = world.run(|| async { Ok(Outcome::emit(uploaded())) }).await?;
    assert_eq!(ended, Some(Disposition::Acknowledged));
    assert!(world.journal().contains(&"extend".into()), "the lease is kept meanwhile");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_transient_error_returns_the_message_after_a_growing_pause() -> Result<()> {
    for (attempt, pause) in [(1, "1s"), (2, "2s"), (4, "8s")] {
        let world = World::new(attempt);
        let ended = world.run(|| async { Err(HandleError::transient("bucket is away")) }).await?;
        assert_eq!(ended, Some(Disposition::Returned));
        assert_eq!(world.journal(), ["handle".to_owned(), format!("nack after {pause}")]);
        assert!(world.failure().is_none(), "nothing is recorded while it may succeed");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_recorded_told_and_rejected() -> Result<()> {
    let world = World::new(1);
    let ended = world.run(|| async { Err(HandleError::permanent("wrong genesis")) }).await?;
    assert_eq!(ended, Some(Disposition::Rejected));
    assert_eq!(world.journal(), ["handle", "put", "publish snapshot-failed", "reject: wrong genesis"]);
    let failure = world.failure().expect("it is recorded");
    assert_eq!((failure.worker.as_str(), failure.reason.as_str()), ("tester", "wrong genesis"));
    assert_eq!(failure.version, version());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_transient_error_on_the_last_attempt_is_recorded_told_and_rejected() -> Result<()> {
    let world = World::new(MAX_ATTEMPTS);
    let ended = world.run(|| async { Err(HandleError::transient("bucket is away")) }).await?;
    assert_eq!(ended, Some(Disposition::Rejected));
    assert_eq!(world.journal(), ["handle", "put", "publish snapshot-failed", "reject: bucket is away"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_not_the_snapshots_fault_ends_the_message_and_not_the_snapshot() -> Result<()> {
    let world = World::new(MAX_ATTEMPTS);
    let ended = world.run(|| async { Err(HandleError::transient("no such template").blameless()) }).await?;
    assert_eq!(ended, Some(Disposition::Rejected));
    assert_eq!(world.journal(), ["handle", "reject: no such template"]);
    assert!(world.failure().is_none(), "the next event publishes the snapshot");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_not_recorded_returns_the_message_while_it_can_come_again() -> Result<()> {
    let world = World::new(1);
    world.failing_puts.store(1, SeqCst);
    let ended = world.run(|| async { Err(HandleError::permanent("wrong genesis")) }).await?;
    assert_eq!(ended, Some(Disposition::Returned));
    assert_eq!(world.journal(), ["handle", "put fails", "nack after 1s"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn on_the_last_attempt_a_failure_is_recorded_with_patience() -> Result<()> {
    let world = World::new(MAX_ATTEMPTS);
    world.failing_puts.store(5, SeqCst);
    world.failing_publishes.store(5, SeqCst);
    let ended = world.run(|| async { Err(HandleError::permanent("wrong genesis")) }).await?;
    assert_eq!(ended, Some(Disposition::Rejected));
    assert!(world.failure().is_some(), "it is recorded in the end");
    let journal = world.journal();
    assert!(journal.contains(&"extend".into()), "the lease is kept meanwhile: {journal:?}");
    assert_eq!(journal[journal.len() - 2..], ["publish snapshot-failed", "reject: wrong genesis"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_never_recorded_still_ends_with_its_reason() -> Result<()> {
    let world = World::new(MAX_ATTEMPTS);
    world.failing_puts.store(u32::MAX, SeqCst);
    let ended = world.run(|| async { Err(HandleError::permanent("wrong genesis")) }).await?;
    assert_eq!(ended, Some(Disposition::Rejected));
    let last = world.journal().pop().expect("it is rejected");
    assert!(last.starts_with("reject: wrong genesis (and it is not recorded: "), "{last}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_no_event_is_rejected_at_once() -> Result<()> {
    let mut world = World::new(1);
    world.message = Message { data: Bytes::from_static(b"{}"), ..Message::default() };
    let ended = world.run(|| async { Ok(Outcome::done()) }).await?;
    assert_eq!(ended, Some(Disposition::Rejected));
    let journal = world.journal();
    assert!(journal.len() == 1 && journal[0].contains("ce-type"), "{journal:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_for_as_long_as_the_handler_works() -> Result<()> {
    let world = World::new(1);
    let work = || async {
        tokio::time::sleep(10 * LEASE).await;
        Ok(Outcome::done())
    };
    assert_eq!(world.run(work).await?, Some(Disposition::Acknowledged));
    let extensions = world.journal().iter().filter(|call| *call == "extend").count();
    assert!((29..=30).contains(&extensions), "{extensions} extensions");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_extension_that_fails_once_does_not_end_the_work() -> Result<()> {
    let world = World::new(1);
    world.failing_extends.store(1, SeqCst);
    let work = || async {
        tokio::time::sleep(2 * LEASE).await;
        Ok(Outcome::done())
    };
    assert_eq!(world.run(work).await?, Some(Disposition::Acknowledged));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_stops_the_handler_and_touches_nothing() -> Result<()> {
    let world = World::new(1);
    world.lease_lost.store(true, SeqCst);
    assert_eq!(world.run(pending).await?, Some(Disposition::Lost));
    assert_eq!(world.journal(), ["handle", "extend: lease lost"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lease_lost_before_the_acknowledgement_is_no_acknowledgement() -> Result<()> {
    let world = World::new(1);
    world.lease_lost.store(true, SeqCst);
    assert_eq!(world.run(|| async { Ok(Outcome::done()) }).await?, Some(Disposition::Lost));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn stopping_gives_the_message_back_at_once() -> Result<()> {
    let world = World::new(3);
    let started = Instant::now();
    world.stop_after(Duration::from_secs(7));
    assert_eq!(world.run(pending).await?, Some(Disposition::Returned));
    assert_eq!(world.journal(), ["handle", "nack after 0ns"]);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn stopping_in_the_last_attempt_tells_of_the_failure() -> Result<()> {
    let world = World::new(MAX_ATTEMPTS);
    world.stop_after(Duration::from_secs(7));
    assert_eq!(world.run(pending).await?, Some(Disposition::Rejected));
    let reject = "reject: stopped in its last attempt";
    assert_eq!(world.journal(), ["handle", "put", "publish snapshot-failed", reject]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_attempt_and_not_the_loop() -> Result<()> {
    let world = World::new(1);
    let ended = world.run(|| async { panic!("a bug") }).await?;
    assert_eq!(ended, Some(Disposition::Returned));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_does_not_count_deliveries_never_gives_up_on_a_transient_error() -> Result<()> {
    let mut world = World::new(1);
    world.attempt = None;
    let ended = world.run(|| async { Err(HandleError::transient("bucket is away")) }).await?;
    assert_eq!(ended, Some(Disposition::Returned));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_event_carries_the_trace_of_its_cause() -> Result<()> {
    let mut world = World::new(1);
    world.message.attributes.insert("ce-traceparent".into(), "00-aa-bb-01".into());
    world.run(|| async { Ok(Outcome::emit(uploaded())) }).await?;
    let published = lock(&world.published).pop().expect("one event");
    assert_eq!(published.attributes["ce-traceparent"], "00-aa-bb-01");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn no_snapshot_fails_with_a_message_that_none_depends_on() -> Result<()> {
    let mut world = World::new(1);
    world.topic = Topic::SnapshotFailed;
    let data = format!(r#"{{"target":"dot","version":"{}","worker":"engine","reason":"x"}}"#, version());
    let event_type = Topic::SnapshotFailed.event_type();
    world.message.attributes.insert("ce-type".into(), event_type.into());
    world.message.data = data.into();
    let ended = world.run(|| async { Err(HandleError::permanent("cannot tear down")) }).await?;
    assert_eq!(ended, Some(Disposition::Rejected));
    assert_eq!(world.journal(), ["handle", "reject: cannot tear down"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_failed_tick_is_recorded_under_the_version_it_would_have_made() -> Result<()> {
    let mut world = World::new(1);
    world.topic = Topic::Tick;
    let tick = Payload::Tick(Tick { target: "dot".parse()? });
    world.message = Event::new("scheduler", version().time(), tick).to_message();
    world.run(|| async { Err(HandleError::permanent("unknown target")) }).await?;
    assert_eq!(world.failure().map(|failure| failure.version), Some(version()));
    Ok(())
}

fn version() -> Version {
    "20261122-040000".parse().expect("legal")
}

fn ready() -> Event {
    let payload = Payload::VolumeSnapshotReady(VolumeSnapshotReady {
        target: "dot".parse().expect("legal"),
        version: version(),
        volume_snapshot: "dot-20261122-040000".into(),
        claim: "dot-restore".into(),
        taken_at: version().time(),
    });
    Event::new("engine", version().time(), payload)
}

fn uploaded() -> Event {
    let target = "dot".parse().expect("legal");
    let manifest = names::manifest_key(&target, version());
    let payload = Payload::SnapshotUploaded(SnapshotUploaded { target, version: version(), manifest });
    Event::new("tester", version().time(), payload)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A queue with one message, a sink and a store that fail as told, and a journal of every call that changes something.
struct Ports {
    topic: Topic,
    message: Message,
    attempt: Option<u32>,
    journal: Mutex<Vec<String>>,
    published: Mutex<Vec<Message>>,
    stored: Mutex<Vec<(String, Bytes)>>,
    failing_publishes: AtomicU32,
    failing_puts: AtomicU32,
    failing_extends: AtomicU32,
    lease_lost: AtomicBool,
    stop: CancellationToken,
}

/// The only owner of the ports until a run shares them with the loop.
struct World(Arc<Ports>);

impl std::ops::Deref for World {
    type Target = Ports;

    fn deref(&self) -> &Ports {
        &self.0
    }
}

impl std::ops::DerefMut for World {
    fn deref_mut(&mut self) -> &mut Ports {
        Arc::get_mut(&mut self.0).expect("nothing runs yet")
    }
}

impl World {
    fn new(attempt: u32) -> Self {
        Self(Arc::new(Ports {
            topic: Topic::VolumeSnapshotReady,
            message: ready().to_message(),
            attempt: Some(attempt),
            journal: Mutex::default(),
            published: Mutex::default(),
            stored: Mutex::default(),
            failing_publishes: AtomicU32::new(0),
            failing_puts: AtomicU32::new(0),
            failing_extends: AtomicU32::new(0),
            lease_lost: AtomicBool::new(false),
            stop: CancellationToken::new(),
        }))
    }

    async fn run<F>(&self, work: impl Fn() -> F + Send + Sync) -> Result<Option<Disposition>, QueueError>
    where
        F: Future<Output = Result<Outcome, HandleError>> + Send,
    {
        let ports = Arc::clone(&self.0);
        let clock = Arc::new(ManualClock::at(version().time()));
        let deps = LoopDeps { events: ports.clone(), store: ports.clone(), clock };
        let worker = Tester { ports, work };
        run_one(self.0.as_ref(), &worker, &deps, Duration::from_secs(1), &self.stop).await
    }

    fn stop_after(&self, delay: Duration) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            stop.cancel();
        });
    }

    fn journal(&self) -> Vec<String> {
        lock(&self.journal).clone()
    }

    fn failure(&self) -> Option<Failure> {
        let stored = lock(&self.stored);
        let (_, bytes) = stored.iter().find(|(key, _)| key.ends_with(names::FAILURE_SUFFIX))?;
        serde_json::from_slice(bytes).ok()
    }
}

struct Tester<W> {
    ports: Arc<Ports>,
    work: W,
}

#[async_trait]
impl<W, F> Worker for Tester<W>
where
    W: Fn() -> F + Send + Sync,
    F: Future<Output = Result<Outcome, HandleError>> + Send,
{
    fn name(&self) -> &'static str {
        "tester"
    }

    async fn handle(&self, _event: &Event) -> Result<Outcome, HandleError> {
        self.ports.note("handle");
        (self.work)().await
    }
}

impl Ports {
    fn note(&self, call: impl Into<String>) {
        lock(&self.journal).push(call.into());
    }

    /// True for as many calls as `left` says.
    fn fails(left: &AtomicU32) -> bool {
        left.try_update(SeqCst, SeqCst, |count| count.checked_sub(1)).is_ok()
    }

    fn away(&self) -> QueueError {
        QueueError::Transient { queue: "test".into(), source: "connection reset".into() }
    }

    fn end_lease(&self, call: String) -> Result<(), QueueError> {
        if self.lease_lost.load(SeqCst) {
            self.note(format!("{call}: lease lost"));
            return Err(QueueError::LeaseLost { queue: "test".into() });
        }
        self.note(call);
        Ok(())
    }
}

#[async_trait]
impl EventSink for Ports {
    async fn publish(&self, topic: Topic, message: &Message) -> Result<(), QueueError> {
        if Self::fails(&self.failing_publishes) {
            self.note("publish fails");
            return Err(self.away());
        }
        self.note(format!("publish {topic}"));
        lock(&self.published).push(message.clone());
        Ok(())
    }
}

#[async_trait]
impl Queue for Ports {
    fn topic(&self) -> Topic {
        self.topic
    }

    fn name(&self) -> &str {
        "test"
    }

    async fn receive(&self, _wait: Duration) -> Result<Option<Delivery>, QueueError> {
        Ok(Some(Delivery {
            message: self.message.clone(),
            message_id: "1".into(),
            published_at: version().time(),
            attempt: self.attempt,
            receipt: Receipt("1".into()),
        }))
    }

    async fn extend(&self, _receipt: &Receipt) -> Result<(), QueueError> {
        if Self::fails(&self.failing_extends) {
            return Err(self.away());
        }
        self.end_lease("extend".into())
    }

    async fn ack(&self, _receipt: &Receipt) -> Result<(), QueueError> {
        self.end_lease("ack".into())
    }

    async fn nack(&self, _receipt: &Receipt, delay: Duration) -> Result<(), QueueError> {
        self.end_lease(format!("nack after {delay:?}"))
    }

    async fn reject(&self, _receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        self.end_lease(format!("reject: {reason}"))
    }

    fn lease(&self) -> Duration {
        LEASE
    }

    fn max_attempts(&self) -> u32 {
        MAX_ATTEMPTS
    }
}

fn meta(key: &str, size: usize) -> ObjectMeta {
    let updated = DateTime::<Utc>::UNIX_EPOCH;
    ObjectMeta { key: key.into(), size: size as u64, generation: Generation("1".into()), updated }
}

fn not_asked(operation: &'static str, key: &str) -> StoreError {
    StoreError::Permanent { operation, key: key.into(), source: "the loop has no business here".into() }
}

#[async_trait]
impl ObjectStore for Ports {
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        let stored = lock(&self.stored);
        Ok(stored.iter().find(|(stored, _)| stored == key).map(|(_, bytes)| meta(key, bytes.len())))
    }

    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        _precondition: Precondition,
        _headers: &Headers,
    ) -> Result<ObjectMeta, StoreError> {
        if Self::fails(&self.failing_puts) {
            self.note("put fails");
            return Err(StoreError::Transient { operation: "put", key: key.into(), source: "reset".into() });
        }
        if self.head(key).await?.is_some() {
            return Err(StoreError::AlreadyExists { key: key.into() });
        }
        self.note("put");
        lock(&self.stored).push((key.into(), bytes.clone()));
        Ok(meta(key, bytes.len()))
    }

    async fn get(&self, key: &str, _max_bytes: u64) -> Result<Object, StoreError> {
        Err(not_asked("get", key))
    }

    async fn read(&self, key: &str, _range: Range<u64>) -> Result<ByteStream, StoreError> {
        Err(not_asked("read", key))
    }

    async fn upload(&self, key: &str, _headers: &Headers) -> Result<Box<dyn Upload>, StoreError> {
        Err(not_asked("upload", key))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        Err(not_asked("list", prefix))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        Err(not_asked("delete", key))
    }

    async fn sweep_uploads(&self, _min_age: Duration) -> Result<usize, StoreError> {
        Err(not_asked("sweep", ""))
    }
}
