//! The queue in memory: leases by an injected clock, redelivery, delay and dead letters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use crate::adapters::subscription::{Backlog, DeadLetter, SubscriptionOptions, out_of_attempts};
use crate::adapters::waiting;
use crate::clock::Clock;
use crate::event::{Message, Topic};
use crate::ports::queue::{Delivery, EventSink, Queue, QueueError, Receipt};

/// All subscriptions of an in-memory queue; clones share the messages.
#[derive(Debug, Clone)]
pub struct MemoryQueues {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    subscriptions: BTreeMap<String, Subscription>,
    published: Vec<(Topic, Message)>,
    dead_letters: Vec<DeadLetter>,
    counter: u64,
}

#[derive(Debug)]
struct Subscription {
    topic: Topic,
    options: SubscriptionOptions,
    copies: Vec<Copy>,
}

#[derive(Debug)]
struct Copy {
    message_id: String,
    message: Message,
    published_at: DateTime<Utc>,
    attempts: u32,
    visible_at: DateTime<Utc>,
    receipt: Option<Receipt>,
}

impl MemoryQueues {
    /// No subscriptions yet; leases end by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { shared: Arc::new(Shared { clock, state: Mutex::default(), changed: Notify::new() }) }
    }

    /// Declares a subscription, or opens the one of that name with new options.
    pub fn subscribe(&self, name: &str, topic: Topic, options: SubscriptionOptions) -> MemoryQueue {
        let mut state = self.shared.lock();
        let fresh = || Subscription { topic, options: options.clone(), copies: Vec::new() };
        state.subscriptions.entry(name.into()).or_insert_with(fresh).options = options.clone();
        MemoryQueue { shared: self.shared.clone(), name: name.into(), topic, options }
    }

    /// Everything ever published, in order.
    pub fn published(&self) -> Vec<(Topic, Message)> {
        self.shared.lock().published.clone()
    }

    /// Every dead letter, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.shared.lock().dead_letters.clone()
    }

    /// What waits on each subscription, by name.
    pub fn backlog(&self) -> Vec<Backlog> {
        let now = self.shared.clock.now();
        self.shared.lock().subscriptions.iter().map(|(name, subscription)| subscription.backlog(name, now)).collect()
    }

    /// True where no message waits or is worked on.
    pub fn is_idle(&self) -> bool {
        self.shared.lock().subscriptions.values().all(|subscription| subscription.copies.is_empty())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    fn backlog(&self, name: &str, now: DateTime<Utc>) -> Backlog {
        let count = |wanted: fn(&Copy, DateTime<Utc>) -> bool| {
            self.copies.iter().filter(|copy| wanted(copy, now)).count() as u64
        };
        let oldest = self.copies.iter().map(|copy| copy.published_at).min();
        Backlog {
            subscription: name.into(),
            topic: self.topic,
            ready: count(|copy, now| copy.visible_at <= now),
            leased: count(|copy, now| copy.visible_at > now && copy.receipt.is_some()),
            delayed: count(|copy, now| copy.visible_at > now && copy.receipt.is_none()),
            oldest_age: oldest.map(|oldest| (now - oldest).to_std().unwrap_or_default()),
        }
    }
}

#[async_trait]
impl EventSink for MemoryQueues {
    async fn publish(&self, topic: Topic, message: &Message) -> Result<(), QueueError> {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        state.counter += 1;
        let message_id = format!("m{}", state.counter);
        state.published.push((topic, message.clone()));
        let takers = state.subscriptions.values_mut().filter(|s| s.topic == topic && s.options.takes(message));
        for subscription in takers {
            subscription.copies.push(Copy {
                message_id: message_id.clone(),
                message: message.clone(),
                published_at: now,
                attempts: 0,
                visible_at: now,
                receipt: None,
            });
        }
        drop(state);
        self.shared.changed.notify_waiters();
        Ok(())
    }
}

/// One subscription of [`MemoryQueues`].
#[derive(Debug, Clone)]
pub struct MemoryQueue {
    shared: Arc<Shared>,
    name: String,
    topic: Topic,
    options: SubscriptionOptions,
}

impl MemoryQueue {
    fn claim(&self) -> Option<Delivery> {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        state.bury_exhausted(&self.name, self.options.max_attempts, now);
        state.counter += 1;
        let receipt = Receipt(format!("r{}", state.counter));
        let copies = &mut state.subscriptions.get_mut(&self.name)?.copies;
        let copy = copies.iter_mut().find(|copy| copy.visible_at <= now)?;
        copy.attempts += 1;
        copy.visible_at = now + self.options.lease;
        copy.receipt = Some(receipt.clone());
        Some(Delivery {
            message: copy.message.clone(),
            message_id: copy.message_id.clone(),
            published_at: copy.published_at,
            attempt: Some(copy.attempts),
            receipt,
        })
    }

    /// Runs `change` on the copies and the index of the one that `receipt` still leases.
    fn with_lease<T>(
        &self,
        receipt: &Receipt,
        change: impl FnOnce(&mut State, usize, DateTime<Utc>) -> T,
    ) -> Result<T, QueueError> {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        let held = |copy: &Copy| copy.receipt.as_ref() == Some(receipt) && copy.visible_at > now;
        let subscription = state.subscriptions.get(&self.name);
        let at = subscription.and_then(|subscription| subscription.copies.iter().position(held));
        let at = at.ok_or_else(|| QueueError::LeaseLost { queue: self.name.clone() })?;
        let changed = change(&mut state, at, now);
        drop(state);
        self.shared.changed.notify_waiters();
        Ok(changed)
    }
}

impl State {
    fn copies(&mut self, name: &str) -> &mut Vec<Copy> {
        &mut self.subscriptions.get_mut(name).expect("a lease is on a declared subscription").copies
    }

    fn bury_exhausted(&mut self, name: &str, max_attempts: u32, now: DateTime<Utc>) {
        while let Some(at) = self.subscriptions.get(name).and_then(|subscription| {
            subscription.copies.iter().position(|copy| copy.visible_at <= now && copy.attempts >= max_attempts)
        }) {
            self.bury(name, at, None, now);
        }
    }

    fn bury(&mut self, name: &str, at: usize, reason: Option<&str>, now: DateTime<Utc>) {
        let topic = self.subscriptions[name].topic;
        let copy = self.copies(name).remove(at);
        self.dead_letters.push(DeadLetter {
            subscription: name.into(),
            topic,
            message_id: copy.message_id,
            message: copy.message,
            reason: reason.map_or_else(|| out_of_attempts(copy.attempts), str::to_owned),
            attempts: copy.attempts,
            published_at: copy.published_at,
            died_at: now,
        });
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    fn topic(&self) -> Topic {
        self.topic
    }

    fn name(&self) -> &str {
        &self.name
    }

    async fn receive(&self, wait: Duration) -> Result<Option<Delivery>, QueueError> {
        waiting::receive(wait, &self.shared.changed, || std::future::ready(Ok(self.claim().ok_or(None)))).await
    }

    async fn extend(&self, receipt: &Receipt) -> Result<(), QueueError> {
        let lease = self.options.lease;
        self.with_lease(receipt, |state, at, now| state.copies(&self.name)[at].visible_at = now + lease)
    }

    async fn ack(&self, receipt: &Receipt) -> Result<(), QueueError> {
        self.with_lease(receipt, |state, at, _| {
            state.copies(&self.name).remove(at);
        })
    }

    async fn nack(&self, receipt: &Receipt, delay: Duration) -> Result<(), QueueError> {
        self.with_lease(receipt, |state, at, now| {
            let copy = &mut state.copies(&self.name)[at];
            if copy.attempts >= self.options.max_attempts {
                return state.bury(&self.name, at, None, now);
            }
            copy.receipt = None;
            copy.visible_at = now + delay;
        })
    }

    async fn reject(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        self.with_lease(receipt, |state, at, now| state.bury(&self.name, at, Some(reason), now))
    }

    fn lease(&self) -> Duration {
        self.options.lease
    }

    fn max_attempts(&self) -> u32 {
        self.options.max_attempts
    }
}
