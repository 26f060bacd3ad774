//! The loop that runs every worker: receive, handle, emit, acknowledge. The only code that acknowledges.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, error, field, info, info_span, warn};

use crate::clock::Clock;
use crate::event::{Event, Payload, TRACEPARENT_ATTRIBUTE};
use crate::failure;
use crate::ports::object_store::ObjectStore;
use crate::ports::queue::{Delivery, EventSink, Queue, QueueError};
use crate::retry::{Policy, retry};
use crate::telemetry::context;

/// One worker's logic: effects through its own deps, no clock, no environment, no acknowledging.
#[async_trait]
pub trait Worker: Send + Sync {
    /// `engine`, `snapshotter` or `publisher`.
    fn name(&self) -> &'static str;

    /// Brings about what the event asks for. Called again for a redelivered event; must then change nothing that is done.
    async fn handle(&self, event: &Event) -> Result<Outcome, HandleError>;
}

/// What a handler did, and the events that tell of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Emitted in this order before the message is acknowledged.
    pub emit: Vec<Event>,
    /// Why there was nothing to do, where that was so.
    pub skipped: Option<String>,
}

impl Outcome {
    /// The work is done and nothing follows.
    pub fn done() -> Self {
        Self::default()
    }

    /// The work is done and `event` tells of it.
    pub fn emit(event: Event) -> Self {
        Self { emit: vec![event], skipped: None }
    }

    /// There was nothing to do.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self { emit: Vec::new(), skipped: Some(reason.into()) }
    }
}

/// Says why a handler did not succeed, and whether it ever can.
#[derive(Debug)]
pub struct HandleError {
    permanent: bool,
    blameless: bool,
    source: Box<dyn Error + Send + Sync>,
}

impl HandleError {
    /// The same event may succeed later.
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { permanent: false, blameless: false, source: source.into() }
    }

    /// The same event can never succeed.
    pub fn permanent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { permanent: true, blameless: false, source: source.into() }
    }

    /// Says that the event's snapshot is not at fault, but something that a person must mend: after the last attempt the
    /// message is a dead letter, and its snapshot is not recorded as failed.
    #[must_use]
    pub fn blameless(self) -> Self {
        Self { blameless: true, ..self }
    }

    /// True where the same event can never succeed.
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for HandleError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// An error and its causes on one line: `outer: inner: innermost`.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Effects and events are durable and the message is gone.
    Acknowledged,
    /// It comes again.
    Returned,
    /// It is a dead letter; the reason is recorded.
    Rejected,
    /// The lease ended meanwhile; somebody else has it.
    Lost,
}

/// What the loop itself needs.
#[derive(Clone)]
pub struct LoopDeps {
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Where failures are recorded.
    pub store: Arc<dyn ObjectStore>,
    /// Times of emitted failures.
    pub clock: Arc<dyn Clock>,
}

/// Handles messages until `stop`; an error of the queue itself is logged and tried again after a pause.
pub async fn run(queue: &dyn Queue, worker: &dyn Worker, deps: &LoopDeps, stop: &CancellationToken) {
    const PAUSE_AFTER_QUEUE_ERROR: Duration = Duration::from_secs(1);
    while !stop.is_cancelled() {
        let ran = run_one(queue, worker, deps, Duration::from_secs(5), stop).await;
        if let Err(error) = ran {
            error!(queue = queue.name(), error = error_chain(&error), "queue failed, trying again");
            tokio::select! {
                () = tokio::time::sleep(PAUSE_AFTER_QUEUE_ERROR) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

/// Receives at most one message, waiting up to `wait`, and sees it through. `None` when there was none.
///
/// When `stop` comes while the handler works, the handler is dropped and the message given back at once.
pub async fn run_one(
    queue: &dyn Queue,
    worker: &dyn Worker,
    deps: &LoopDeps,
    wait: Duration,
    stop: &CancellationToken,
) -> Result<Option<Disposition>, QueueError> {
    let received = tokio::select! {
        received = queue.receive(wait) => received?,
        () = stop.cancelled() => None,
    };
    let Some(delivery) = received else { return Ok(None) };
    let span = info_span!(
        "event",
        worker = worker.name(),
        topic = %queue.topic(),
        message_id = %delivery.message_id,
        attempt = delivery.attempt,
        event_id = field::Empty,
        target_id = field::Empty,
        traceparent = field::Empty,
    );
    context::adopt(&span, delivery.message.attributes.get(TRACEPARENT_ATTRIBUTE));
    see_through(queue, worker, deps, &delivery, stop).instrument(span).await.map(Some)
}

async fn see_through(
    queue: &dyn Queue,
    worker: &dyn Worker,
    deps: &LoopDeps,
    delivery: &Delivery,
    stop: &CancellationToken,
) -> Result<Disposition, QueueError> {
    let event = match Event::from_message(queue.topic(), &delivery.message, delivery.published_at) {
        Ok(event) => event,
        Err(error) => return reject(queue, delivery, &error_chain(&error)).await,
    };
    name_span(&event);
    let last_attempt = delivery.attempt.is_some_and(|attempt| attempt >= queue.max_attempts());
    let started = Instant::now();
    let end = tokio::select! {
        end = work(worker, deps, &event, last_attempt) => end,
        lost = keep_lease(queue, delivery) => return lost_lease(lost),
        () = stop.cancelled() => stopped(worker, deps, &event, last_attempt).await,
    };
    match end {
        End::Done => acknowledge(queue, delivery, &event, started.elapsed()).await,
        End::Again(reason) => give_back(queue, delivery, pause_before_again(delivery), &reason).await,
        End::Stopped => give_back(queue, delivery, Duration::ZERO, "stopping").await,
        End::Never(reason) => reject(queue, delivery, &reason).await,
    }
}

/// Lets every line of the run say whose it is.
fn name_span(event: &Event) {
    let span = Span::current();
    span.record("event_id", event.id.as_str()).record("target_id", field::display(event.payload.target()));
    if let Some(traceparent) = context::traceparent(&span).or_else(|| event.traceparent.clone()) {
        span.record("traceparent", traceparent);
    }
}

/// What is to become of the message.
enum End {
    Done,
    Again(String),
    Stopped,
    Never(String),
}

/// Handles the event and tells of the outcome, good or bad; the caller keeps the lease meanwhile.
async fn work(worker: &dyn Worker, deps: &LoopDeps, event: &Event, last_attempt: bool) -> End {
    let patience = patience(last_attempt);
    let Err(error) = handle_and_emit(worker, deps, event, &patience).await else { return End::Done };
    let reason = error_chain(&error);
    if !error.is_permanent() && !last_attempt {
        return End::Again(reason);
    }
    if error.blameless {
        return End::Never(reason);
    }
    let told = retry(
        &patience,
        "record the failure",
        |error: &HandleError| !error.is_permanent(),
        || record_and_tell(worker, deps, event, &reason),
    );
    match told.await {
        Ok(()) => End::Never(reason),
        Err(error) if last_attempt => End::Never(format!("{reason} (and it is not recorded: {})", error_chain(&error))),
        Err(error) => End::Again(format!("{reason} (and it is not recorded: {})", error_chain(&error))),
    }
}

/// How long events and failures are tried to be told: once where redelivery tries again; after the last attempt nobody
/// does, and what is not told then leaves a volume snapshot to the next sweep.
fn patience(last_attempt: bool) -> Policy {
    const AFTER_LAST_ATTEMPT: Duration = Duration::from_secs(15 * 60);
    if last_attempt { Policy::lasting(AFTER_LAST_ATTEMPT) } else { Policy::once() }
}

/// A message that is given back on its last attempt is a dead letter, so that its failure must be told before.
async fn stopped(worker: &dyn Worker, deps: &LoopDeps, event: &Event, last_attempt: bool) -> End {
    const LONGEST_FAREWELL: Duration = Duration::from_secs(10);
    if !last_attempt {
        return End::Stopped;
    }
    let reason = "stopped in its last attempt";
    let told = tokio::time::timeout(LONGEST_FAREWELL, record_and_tell(worker, deps, event, reason)).await;
    match told {
        Ok(Ok(())) => End::Never(reason.into()),
        Ok(Err(error)) => End::Never(format!("{reason} (and it is not recorded: {})", error_chain(&error))),
        Err(_) => End::Never(format!("{reason} (and it is not recorded: the store does not answer)")),
    }
}

async fn handle_and_emit(
    worker: &dyn Worker,
    deps: &LoopDeps,
    event: &Event,
    patience: &Policy,
) -> Result<(), HandleError> {
    let handled = AssertUnwindSafe(worker.handle(event)).catch_unwind().await;
    let outcome = handled.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))?;
    if let Some(reason) = &outcome.skipped {
        info!(target_id = %event.payload.target(), reason, "skipped");
    }
    emit_all(deps, event, outcome.emit, patience).await
}

/// A panic is a bug in a handler; it must cost one attempt, not the loop.
fn panicked(panic: &(dyn Any + Send)) -> HandleError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    HandleError::transient(format!("handler panicked: {}", text.unwrap_or("no message")))
}

async fn emit_all(deps: &LoopDeps, cause: &Event, events: Vec<Event>, patience: &Policy) -> Result<(), HandleError> {
    for mut event in events {
        let ours = || context::traceparent(&Span::current());
        event.traceparent = event.traceparent.or_else(ours).or_else(|| cause.traceparent.clone());
        let (topic, message) = (event.payload.topic(), event.to_message());
        retry(patience, "emit", QueueError::is_transient, || deps.events.publish(topic, &message))
            .await
            .map_err(HandleError::transient)?;
        info!(%topic, id = event.id, "emitted");
    }
    Ok(())
}

/// Extends the lease for as long as the handler works; ends only when the lease is lost.
async fn keep_lease(queue: &dyn Queue, delivery: &Delivery) -> QueueError {
    loop {
        tokio::time::sleep(queue.lease() / 3).await;
        match queue.extend(&delivery.receipt).await {
            Ok(()) => {}
            Err(error @ QueueError::LeaseLost { .. }) => return error,
            Err(error) => warn!(error = error_chain(&error), "lease not extended, trying again"),
        }
    }
}

fn lost_lease(error: QueueError) -> Result<Disposition, QueueError> {
    warn!(error = error_chain(&error), "handler stopped: the message is somebody else's");
    Ok(Disposition::Lost)
}

async fn acknowledge(
    queue: &dyn Queue,
    delivery: &Delivery,
    event: &Event,
    elapsed: Duration,
) -> Result<Disposition, QueueError> {
    match queue.ack(&delivery.receipt).await {
        Ok(()) => {
            let elapsed_ms = elapsed.as_millis() as u64;
            info!(target_id = %event.payload.target(), elapsed_ms, "handled");
            Ok(Disposition::Acknowledged)
        }
        Err(error @ QueueError::LeaseLost { .. }) => lost_lease(error),
        Err(error) => Err(error),
    }
}

fn pause_before_again(delivery: &Delivery) -> Duration {
    const FIRST_PAUSE: Duration = Duration::from_secs(1);
    const LONGEST_PAUSE: Duration = Duration::from_secs(300);
    let doublings = delivery.attempt.unwrap_or(1).saturating_sub(1).min(16);
    (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE)
}

async fn give_back(
    queue: &dyn Queue,
    delivery: &Delivery,
    delay: Duration,
    reason: &str,
) -> Result<Disposition, QueueError> {
    warn!(reason, "not handled, the message comes again");
    match queue.nack(&delivery.receipt, delay).await {
        Ok(()) => Ok(Disposition::Returned),
        Err(error @ QueueError::LeaseLost { .. }) => lost_lease(error),
        Err(error) => Err(error),
    }
}

async fn reject(queue: &dyn Queue, delivery: &Delivery, reason: &str) -> Result<Disposition, QueueError> {
    error!(reason, "message can never succeed: it is a dead letter now");
    match queue.reject(&delivery.receipt, reason).await {
        Ok(()) => Ok(Disposition::Rejected),
        Err(error @ QueueError::LeaseLost { .. }) => lost_lease(error),
        Err(error) => Err(error),
    }
}

/// Records why the snapshot will not be and emits it; does nothing where no snapshot depends on the event.
async fn record_and_tell(worker: &dyn Worker, deps: &LoopDeps, event: &Event, reason: &str) -> Result<(), HandleError> {
    let Some(failed) = failure::of_event(worker.name(), event, reason) else { return Ok(()) };
    let recorded = failure::record(deps.store.as_ref(), &failed, deps.clock.now()).await;
    let recorded = recorded.map_err(|error| match error.is_transient() {
        true => HandleError::transient(error),
        false => HandleError::permanent(error),
    })?;
    if !recorded {
        return Ok(());
    }
    let failed = Event::new(worker.name(), event.time, Payload::SnapshotFailed(failed));
    emit_all(deps, event, vec![failed], &Policy::once()).await
}
