//! The loop that runs every worker: receive, handle, emit, acknowledge. The only code that acknowledges.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};

use crate::clock::Clock;
use crate::event::{Event, Payload};
use crate::failure;
use crate::ports::object_store::ObjectStore;
use crate::ports::queue::{Delivery, EventSink, Queue, QueueError};

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
    source: Box<dyn Error + Send + Sync>,
}

impl HandleError {
    /// The same event may succeed later.
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { permanent: false, source: source.into() }
    }

    /// The same event can never succeed.
    pub fn permanent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { permanent: true, source: source.into() }
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
    );
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
    let started = Instant::now();
    let handled = tokio::select! {
        handled = handle_and_emit(worker, deps, &event) => handled,
        lost = keep_lease(queue, delivery) => return lost_lease(lost),
        () = stop.cancelled() => return give_back(queue, delivery, "stopping").await,
    };
    let elapsed_ms = started.elapsed().as_millis() as u64;
    let error = match handled {
        Ok(()) => return acknowledge(queue, delivery, &event, elapsed_ms).await,
        Err(error) => error,
    };
    let last_attempt = delivery.attempt.is_some_and(|attempt| attempt >= queue.max_attempts());
    if !error.is_permanent() && !last_attempt {
        return give_back(queue, delivery, &error_chain(&error)).await;
    }
    give_up(queue, worker, deps, delivery, &event, &error).await
}

async fn handle_and_emit(worker: &dyn Worker, deps: &LoopDeps, event: &Event) -> Result<(), HandleError> {
    let outcome = worker.handle(event).await?;
    if let Some(reason) = &outcome.skipped {
        info!(target_id = %event.payload.target(), reason, "skipped");
    }
    emit_all(deps, event, outcome.emit).await
}

async fn emit_all(deps: &LoopDeps, cause: &Event, events: Vec<Event>) -> Result<(), HandleError> {
    for mut event in events {
        event.traceparent = event.traceparent.or_else(|| cause.traceparent.clone());
        let topic = event.payload.topic();
        deps.events.publish(topic, &event.to_message()).await.map_err(HandleError::transient)?;
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
    elapsed_ms: u64,
) -> Result<Disposition, QueueError> {
    match queue.ack(&delivery.receipt).await {
        Ok(()) => {
            info!(target_id = %event.payload.target(), elapsed_ms, "handled");
            Ok(Disposition::Acknowledged)
        }
        Err(error @ QueueError::LeaseLost { .. }) => lost_lease(error),
        Err(error) => Err(error),
    }
}

async fn give_back(queue: &dyn Queue, delivery: &Delivery, reason: &str) -> Result<Disposition, QueueError> {
    const FIRST_DELAY: Duration = Duration::from_secs(1);
    const LONGEST_DELAY: Duration = Duration::from_secs(300);
    warn!(reason, "not handled, the message comes again");
    let doublings = delivery.attempt.unwrap_or(1).saturating_sub(1).min(16);
    let delay = (FIRST_DELAY * 2u32.pow(doublings)).min(LONGEST_DELAY);
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

/// Records the failure, tells of it, and makes the message a dead letter.
async fn give_up(
    queue: &dyn Queue,
    worker: &dyn Worker,
    deps: &LoopDeps,
    delivery: &Delivery,
    event: &Event,
    error: &HandleError,
) -> Result<Disposition, QueueError> {
    let reason = error_chain(error);
    if let Err(error) = record_and_tell(worker, deps, event, &reason).await {
        return give_back(queue, delivery, &error_chain(&error)).await;
    }
    reject(queue, delivery, &reason).await
}

async fn record_and_tell(worker: &dyn Worker, deps: &LoopDeps, event: &Event, reason: &str) -> Result<(), HandleError> {
    let Some(failed) = failure::of_event(worker.name(), event, reason) else { return Ok(()) };
    let recorded = failure::record(deps.store.as_ref(), &failed, deps.clock.now()).await;
    if !recorded.map_err(HandleError::transient)? {
        return Ok(());
    }
    let failed = Event::new(worker.name(), event.time, Payload::SnapshotFailed(failed));
    emit_all(deps, event, vec![failed]).await
}
