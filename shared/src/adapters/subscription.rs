//! What one subscription of a queue on this machine is told, and what the queue tells of it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::event::{Message, TARGET_ATTRIBUTE, Topic};
use crate::ids::TargetId;

/// How one subscription is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Only messages with this `target` attribute; all of the topic where there is none.
    pub target: Option<TargetId>,
    /// How long a lease lasts without an extension.
    pub lease: Duration,
    /// How many deliveries a message gets before it becomes a dead letter; at least 1.
    pub max_attempts: u32,
}

impl Default for SubscriptionOptions {
    /// All targets, a lease of a minute, ten deliveries.
    fn default() -> Self {
        Self { target: None, lease: Duration::from_secs(60), max_attempts: 10 }
    }
}

impl SubscriptionOptions {
    /// True where the subscription gets a copy of `message`.
    pub fn takes(&self, message: &Message) -> bool {
        match &self.target {
            Some(target) => message.attributes.get(TARGET_ATTRIBUTE).is_some_and(|found| found == target.as_str()),
            None => true,
        }
    }
}

/// A message that will not be delivered again, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The subscription that gave it up.
    pub subscription: String,
    /// The subscription's topic.
    pub topic: Topic,
    /// The queue's own id of the message.
    pub message_id: String,
    /// The message.
    pub message: Message,
    /// Why it will not be delivered again.
    pub reason: String,
    /// How many deliveries it had.
    pub attempts: u32,
    /// When it was published.
    pub published_at: DateTime<Utc>,
    /// When it became a dead letter.
    pub died_at: DateTime<Utc>,
}

/// What waits on one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// The subscription.
    pub subscription: String,
    /// The subscription's topic.
    pub topic: Topic,
    /// Messages that can be received now.
    pub ready: u64,
    /// Messages that somebody works on.
    pub leased: u64,
    /// Messages that were returned and wait for their delay to pass.
    pub delayed: u64,
    /// How long ago the oldest of all these was published; `None` where there is none.
    pub oldest_age: Option<Duration>,
}

/// The reason of a dead letter that nobody rejected.
#[cfg(any(feature = "embedded", feature = "testkit"))]
pub(crate) fn out_of_attempts(attempts: u32) -> String {
    format!("not acknowledged in {attempts} deliveries")
}
