//! The queue with its messages counted, and what that says about readiness.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::metrics::Metrics;
use crate::event::Topic;
use crate::ports::queue::{Delivery, Queue, QueueError, Receipt};
use crate::worker::error_chain;

/// Counts what comes out of the queue that it decorates, and knows whether the queue answers.
pub struct ObservedQueue {
    inner: Arc<dyn Queue>,
    metrics: Arc<Metrics>,
    contact: Mutex<Contact>,
}

/// The last that was heard of a queue.
#[derive(Debug, Clone)]
enum Contact {
    None,
    Answered(Instant),
    Failed(String),
}

/// A queue that has not answered for this long is not ready; a worker that is busy does not ask.
const SILENCE: Duration = Duration::from_secs(60);

impl ObservedQueue {
    /// Decorates `inner`.
    pub fn new(inner: Arc<dyn Queue>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics, contact: Mutex::new(Contact::None) }
    }

    /// Why the queue cannot be read, where that is so.
    pub fn trouble(&self) -> Option<String> {
        let contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let name = self.inner.name();
        match contact {
            Contact::None => Some(format!("{name}: not asked yet")),
            Contact::Failed(error) => Some(format!("{name}: {error}")),
            Contact::Answered(at) if at.elapsed() > SILENCE => Some(format!("{name}: silent for a minute")),
            Contact::Answered(_) => None,
        }
    }

    fn note<T>(&self, done: &Result<T, QueueError>) {
        let contact = match done {
            Ok(_) => Contact::Answered(Instant::now()),
            Err(QueueError::LeaseLost { .. }) => return,
            Err(error) => Contact::Failed(error_chain(error)),
        };
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner) = contact;
    }

    fn end(&self, became: &'static str, done: Result<(), QueueError>) -> Result<(), QueueError> {
        let topic = self.inner.topic();
        match &done {
            Ok(()) => self.metrics.message(topic.as_str(), became),
            Err(QueueError::LeaseLost { .. }) => self.metrics.message(topic.as_str(), "lost"),
            Err(_) => self.metrics.transient_failure("end lease"),
        }
        done
    }
}

#[async_trait]
impl Queue for ObservedQueue {
    fn topic(&self) -> Topic {
        self.inner.topic()
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn receive(&self, wait: Duration) -> Result<Option<Delivery>, QueueError> {
        let received = self.inner.receive(wait).await;
        self.note(&received);
        if matches!(received, Ok(Some(_))) {
            self.metrics.message(self.inner.topic().as_str(), "received");
        }
        received
    }

    async fn extend(&self, receipt: &Receipt) -> Result<(), QueueError> {
        let extended = self.inner.extend(receipt).await;
        self.note(&extended);
        if extended.is_ok() {
            self.metrics.lease_extended(self.inner.topic().as_str());
        }
        extended
    }

    async fn ack(&self, receipt: &Receipt) -> Result<(), QueueError> {
        let done = self.inner.ack(receipt).await;
        self.end("acknowledged", done)
    }

    async fn nack(&self, receipt: &Receipt, delay: Duration) -> Result<(), QueueError> {
        let done = self.inner.nack(receipt, delay).await;
        self.end("returned", done)
    }

    async fn reject(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        let done = self.inner.reject(receipt, reason).await;
        self.end("dead_letter", done)
    }

    fn lease(&self) -> Duration {
        self.inner.lease()
    }

    fn max_attempts(&self) -> u32 {
        self.inner.max_attempts()
    }
}
