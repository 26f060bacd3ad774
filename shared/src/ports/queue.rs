//! The queue between the workers: at least once, unordered, leased.
//!
//! Contract, held by `testkit::queue_contract` on every adapter:
//! - A message published before `publish` returns is never lost, whatever crashes, until it is acknowledged or dead-lettered.
//! - A received message is leased: nobody else receives it until the lease ends, by `nack`, by `reject`, or by time.
//! - `attempt` counts deliveries of the message on this subscription, from 1. After the subscription's last attempt an
//!   unacknowledged message becomes a dead letter.
//! - Calls on a lease that has ended say [`QueueError::LeaseLost`]; the message is then somebody else's.
//! - Nobody retries inside an adapter beyond what its client library does; after an error it is unknown whether the call
//!   took effect, and every call may be made again.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::event::{Message, Topic};

/// Puts messages on topics. Every subscription of the topic gets its own copy.
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Returns when the message is durable. A second call makes a second message.
    async fn publish(&self, topic: Topic, message: &Message) -> Result<(), QueueError>;
}

/// One subscription to one topic.
#[async_trait]
pub trait Queue: Send + Sync {
    /// The topic subscribed to.
    fn topic(&self) -> Topic;

    /// The subscription's name, for logs.
    fn name(&self) -> &str;

    /// Waits up to `wait` for one message and leases it; `None` when there was none.
    async fn receive(&self, wait: Duration) -> Result<Option<Delivery>, QueueError>;

    /// Makes the lease last [`Queue::lease`] from now. Adapters whose client extends by itself only check that it still holds.
    async fn extend(&self, receipt: &Receipt) -> Result<(), QueueError>;

    /// Removes the message: its effects and its own events are durable.
    async fn ack(&self, receipt: &Receipt) -> Result<(), QueueError>;

    /// Ends the lease; the message comes again after `delay`, or becomes a dead letter if this was its last attempt.
    async fn nack(&self, receipt: &Receipt, delay: Duration) -> Result<(), QueueError>;

    /// Makes the message a dead letter now, with its reason: it can never succeed.
    async fn reject(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError>;

    /// How long a lease lasts without an extension.
    fn lease(&self) -> Duration;

    /// How many deliveries a message gets before it becomes a dead letter.
    fn max_attempts(&self) -> u32;
}

/// Names one lease of one message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

/// A leased message.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The queue's own id of the message.
    pub message_id: String,
    /// When it was published; the same at every delivery.
    pub published_at: DateTime<Utc>,
    /// Which delivery of the message this is, from 1; `None` where the queue does not count.
    pub attempt: Option<u32>,
    /// The lease.
    pub receipt: Receipt,
}

/// Says what went wrong at the queue.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The lease ended before the call; the message may be somebody else's now.
    #[error("{queue}: lease lost")]
    LeaseLost {
        /// The subscription.
        queue: String,
    },
    /// A later call may succeed.
    #[error("{queue}: {source}")]
    Transient {
        /// The topic or subscription.
        queue: String,
        /// The adapter's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No later call will succeed without a person's help.
    #[error("{queue}: {source}")]
    Permanent {
        /// The topic or subscription.
        queue: String,
        /// The adapter's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl QueueError {
    /// True where the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }
}
