//! Holds the queues of memory and SQLite to the contract of the port.
#![cfg(all(feature = "testkit", feature = "embedded"))]

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use chrono::Utc;
use polkashots_shared::adapters::sqlite_queue::{SqliteQueues, SubscriptionOptions};
use polkashots_shared::clock::ManualClock;
use polkashots_shared::event::Topic;
use polkashots_shared::ports::queue::{EventSink, Queue};
use polkashots_shared::testkit::MemoryQueues;
use polkashots_shared::testkit::queue_contract::{self, QueueUnderTest};
use tempfile::TempDir;
use tokio::sync::Mutex;

struct Memory {
    clock: Arc<ManualClock>,
    queues: MemoryQueues,
}

#[async_trait]
impl QueueUnderTest for Memory {
    async fn sink(&self) -> Arc<dyn EventSink> {
        Arc::new(self.queues.clone())
    }

    async fn subscribe(&self, name: &str, topic: Topic, options: SubscriptionOptions) -> Arc<dyn Queue> {
        Arc::new(self.queues.subscribe(name, topic, options))
    }

    async fn advance(&self, by: Duration) -> bool {
        self.clock.advance(by);
        true
    }

    async fn dead_letters(&self) -> Option<Vec<(String, String)>> {
        let letters = self.queues.dead_letters();
        Some(letters.into_iter().map(|letter| (letter.subscription, letter.reason)).collect())
    }
}

#[tokio::test]
async fn memory_holds_the_contract() {
    let clock = Arc::new(ManualClock::at(Utc::now()));
    queue_contract::run(&Memory { queues: MemoryQueues::new(clock.clone()), clock }).await;
}

struct Sqlite {
    clock: Arc<ManualClock>,
    folder: TempDir,
    queues: Mutex<SqliteQueues>,
}

impl Sqlite {
    async fn new() -> Result<Self> {
        let (clock, folder) = (Arc::new(ManualClock::at(Utc::now())), tempfile::tempdir()?);
        let queues = SqliteQueues::open(folder.path().join("queue.db"), clock.clone()).await?;
        Ok(Self { clock, folder, queues: Mutex::new(queues) })
    }
}

#[async_trait]
impl QueueUnderTest for Sqlite {
    async fn sink(&self) -> Arc<dyn EventSink> {
        Arc::new(self.queues.lock().await.clone())
    }

    async fn subscribe(&self, name: &str, topic: Topic, options: SubscriptionOptions) -> Arc<dyn Queue> {
        let queues = self.queues.lock().await;
        Arc::new(queues.subscribe(name, topic, options).await.expect("a subscription is declared"))
    }

    async fn advance(&self, by: Duration) -> bool {
        self.clock.advance(by);
        true
    }

    async fn dead_letters(&self) -> Option<Vec<(String, String)>> {
        let letters = self.queues.lock().await.dead_letters().await.expect("dead letters are listed");
        Some(letters.into_iter().map(|letter| (letter.subscription, letter.reason)).collect())
    }

    async fn reopen(&self) -> bool {
        let path = self.folder.path().join("queue.db");
        *self.queues.lock().await = SqliteQueues::open(path, self.clock.clone()).await.expect("the file opens again");
        true
    }
}

#[tokio::test]
async fn sqlite_holds_the_contract() -> Result<()> {
    queue_contract::run(&Sqlite::new().await?).await;
    Ok(())
}
