//! The durable queue of one machine: a single SQLite file.
//!
//! - Every subscription has its own copy of a message, made in the transaction that publishes it. Subscriptions are kept
//!   in the file, so what is published before a worker starts waits for it.
//! - Every change is one transaction in write-ahead mode with `synchronous = FULL`: a kill at any instant leaves the state
//!   before it or after it. An acknowledged copy is deleted.
//! - A lease is a time until which a copy is invisible, and a receipt that changes with each delivery. Times are the
//!   injected clock's; should it step back, a lease or delay that now reaches too far ahead is cut to its own length.
//! - Several processes may open one file. Those in this process wake each other; others are noticed within half a second.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::Notify;

use self::schema::failed;
pub use super::subscription::{Backlog, DeadLetter, SubscriptionOptions};
use super::waiting::{self, Claimed};
use crate::clock::Clock;
use crate::event::{Message, Topic};
use crate::ports::queue::{Delivery, EventSink, Queue, QueueError, Receipt};

mod letters;
mod messages;
mod schema;

/// All subscriptions of one queue file; clones share the connection.
#[derive(Debug, Clone)]
pub struct SqliteQueues {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    connection: Mutex<Connection>,
    changed: Notify,
}

impl SqliteQueues {
    /// Opens the file, making it where it is missing; the folder must exist.
    ///
    /// Errors name the file: one of a newer version, one that is damaged, read-only, or no queue at all.
    pub async fn open(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, QueueError> {
        let path = path.as_ref().to_owned();
        let opened = path.clone();
        let connection = blocking(move || schema::open(&opened)).await?;
        Ok(Self {
            shared: Arc::new(Shared { path, clock, connection: Mutex::new(connection), changed: Notify::new() }),
        })
    }

    /// Declares a subscription, or opens the one of that name with new options.
    ///
    /// A subscription gets what is published from its declaration on, until [`SqliteQueues::unsubscribe`].
    pub async fn subscribe(
        &self,
        name: &str,
        topic: Topic,
        options: SubscriptionOptions,
    ) -> Result<SqliteQueue, QueueError> {
        let (declared, taken) = (name.to_owned(), options.clone());
        self.shared.write(move |change| messages::subscribe(&change.transaction, &declared, topic, &taken)).await?;
        Ok(SqliteQueue { shared: self.shared.clone(), name: name.into(), topic, options })
    }

    /// Forgets a subscription and what waits on it; one that is not there is not an error.
    pub async fn unsubscribe(&self, name: &str) -> Result<(), QueueError> {
        let name = name.to_owned();
        self.shared.write(move |change| messages::unsubscribe(&change.transaction, &name)).await
    }

    /// Every dead letter, oldest first.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, QueueError> {
        self.shared.write(|change| letters::all(&change.transaction)).await
    }

    /// Delivers a dead letter anew, as if it had just been published; false where there is none of that id.
    pub async fn revive(&self, subscription: &str, message_id: &str) -> Result<bool, QueueError> {
        let (subscription, message_id) = (subscription.to_owned(), message_id.to_owned());
        let revived =
            move |change: &Change<'_>| letters::revive(&change.transaction, &subscription, &message_id, change.now);
        let revived = self.shared.write(revived).await?;
        self.shared.changed.notify_waiters();
        Ok(revived)
    }

    /// Removes dead letters that died before `before`; returns how many.
    pub async fn purge_dead_letters(&self, before: DateTime<Utc>) -> Result<usize, QueueError> {
        self.shared.write(move |change| letters::purge(&change.transaction, before)).await
    }

    /// Ends every lease, so that its message comes again at once; returns how many.
    ///
    /// Only for a process that knows that whoever held them is gone, as at the start of the only service on this file.
    pub async fn end_leases(&self) -> Result<usize, QueueError> {
        let ended = self.shared.write(|change| messages::end_leases(&change.transaction, change.now)).await?;
        self.shared.changed.notify_waiters();
        Ok(ended)
    }

    /// What waits on each subscription, by name.
    pub async fn backlog(&self) -> Result<Vec<Backlog>, QueueError> {
        self.shared.write(|change| letters::backlog(&change.transaction, change.now)).await
    }
}

#[async_trait]
impl EventSink for SqliteQueues {
    async fn publish(&self, topic: Topic, message: &Message) -> Result<(), QueueError> {
        let message = message.clone();
        let publish = move |change: &Change<'_>| messages::publish(&change.transaction, topic, &message, change.now);
        self.shared.write(publish).await?;
        self.shared.changed.notify_waiters();
        Ok(())
    }
}

/// One transaction and the time at which it happens.
struct Change<'c> {
    transaction: Transaction<'c>,
    now: DateTime<Utc>,
}

impl Shared {
    /// Runs `work` in one transaction that may write; an error changes nothing.
    async fn write<T, F>(self: &Arc<Self>, work: F) -> Result<T, QueueError>
    where
        T: Send + 'static,
        F: FnOnce(&Change<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let shared = self.clone();
        blocking(move || {
            let mut connection = shared.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let run = || {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let change = Change { transaction, now: shared.clock.now() };
                let result = work(&change)?;
                change.transaction.commit()?;
                Ok(result)
            };
            run().map_err(|error| failed(&shared.path, error))
        })
        .await
    }

    /// Runs `look` without taking the file's write lock.
    async fn read<T, F>(self: &Arc<Self>, look: F) -> Result<T, QueueError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, DateTime<Utc>) -> rusqlite::Result<T> + Send + 'static,
    {
        let shared = self.clone();
        blocking(move || {
            let connection = shared.connection.lock().unwrap_or_else(PoisonError::into_inner);
            look(&connection, shared.clock.now()).map_err(|error| failed(&shared.path, error))
        })
        .await
    }
}

/// Runs database work off the async threads; a panic in it goes on here.
async fn blocking<T, F>(work: F) -> Result<T, QueueError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, QueueError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        Err(_) => Err(QueueError::Transient { queue: "sqlite".into(), source: "the runtime is shutting down".into() }),
    }
}

/// One subscription of [`SqliteQueues`].
#[derive(Debug, Clone)]
pub struct SqliteQueue {
    shared: Arc<Shared>,
    name: String,
    topic: Topic,
    options: SubscriptionOptions,
}

impl SqliteQueue {
    /// Claims a message, or says in how long the next becomes visible.
    async fn claim(&self) -> Result<Claimed, QueueError> {
        let name = self.name.clone();
        let next = self.shared.read(move |connection, now| messages::next_visible(connection, &name, now)).await?;
        if next != Some(Duration::ZERO) {
            return Ok(Err(next));
        }
        let (name, options) = (self.name.clone(), self.options.clone());
        let claim = move |change: &Change<'_>| messages::claim(&change.transaction, &name, &options, change.now);
        Ok(self.shared.write(claim).await?.ok_or(None))
    }

    /// Changes the copy that `receipt` still leases.
    async fn settle<F>(&self, receipt: &Receipt, settle: F) -> Result<(), QueueError>
    where
        F: FnOnce(&Change<'_>, messages::Leased) -> rusqlite::Result<()> + Send + 'static,
    {
        let (name, receipt) = (self.name.clone(), receipt.clone());
        let settled = move |change: &Change<'_>| {
            let Some(leased) = messages::leased(&change.transaction, &name, &receipt, change.now)? else {
                return Ok(false);
            };
            settle(change, leased).map(|()| true)
        };
        if !self.shared.write(settled).await? {
            return Err(QueueError::LeaseLost { queue: self.name.clone() });
        }
        self.shared.changed.notify_waiters();
        Ok(())
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    fn topic(&self) -> Topic {
        self.topic
    }

    fn name(&self) -> &str {
        &self.name
    }

    async fn receive(&self, wait: Duration) -> Result<Option<Delivery>, QueueError> {
        waiting::receive(wait, &self.shared.changed, || self.claim()).await
    }

    async fn extend(&self, receipt: &Receipt) -> Result<(), QueueError> {
        let lease = self.options.lease;
        self.settle(receipt, move |change, leased| {
            messages::hide(&change.transaction, &leased, change.now, lease, true)
        })
        .await
    }

    async fn ack(&self, receipt: &Receipt) -> Result<(), QueueError> {
        self.settle(receipt, |change, leased| messages::remove(&change.transaction, &leased)).await
    }

    async fn nack(&self, receipt: &Receipt, delay: Duration) -> Result<(), QueueError> {
        let max_attempts = self.options.max_attempts;
        self.settle(receipt, move |change, leased| {
            if leased.attempts >= max_attempts {
                return letters::bury(&change.transaction, leased.copy_id, None, change.now);
            }
            messages::hide(&change.transaction, &leased, change.now, delay, false)
        })
        .await
    }

    async fn reject(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        let reason = reason.to_owned();
        self.settle(receipt, move |change, leased| {
            letters::bury(&change.transaction, leased.copy_id, Some(&reason), change.now)
        })
        .await
    }

    fn lease(&self) -> Duration {
        self.options.lease
    }

    fn max_attempts(&self) -> u32 {
        self.options.max_attempts
    }
}
