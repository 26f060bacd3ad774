//! What the contract does not say of the queue in a SQLite file: other processes, a clock that steps back, bad files.
#![cfg(feature = "embedded")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use polkashots_shared::adapters::sqlite_queue::{SqliteQueues, SubscriptionOptions};
use polkashots_shared::clock::ManualClock;
use polkashots_shared::event::{Message, Topic};
use polkashots_shared::ports::queue::{EventSink, Queue, QueueError};
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_348_800, 0).unwrap_or_default()
}

fn message(data: &'static str) -> Message {
    Message {
        attributes: [("target".to_owned(), "kusama".to_owned())].into(),
        data: Bytes::from_static(data.as_bytes()),
    }
}

async fn scratch() -> Result<(TempDir, Arc<ManualClock>, SqliteQueues)> {
    let (folder, clock) = (tempfile::tempdir()?, Arc::new(ManualClock::at(noon())));
    let queues = SqliteQueues::open(folder.path().join("queue.db"), clock.clone()).await?;
    Ok((folder, clock, queues))
}

async fn open_error(path: &Path) -> Result<String> {
    let opened = SqliteQueues::open(path, Arc::new(ManualClock::at(noon()))).await;
    let error = opened.err().context("the file was opened")?;
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    Ok(error.to_string())
}

#[tokio::test]
async fn a_clock_that_steps_back_holds_a_message_for_one_lease_at_most() -> Result<()> {
    let (_folder, clock, queues) = scratch().await?;
    let queue = queues.subscribe("engine.tick", Topic::Tick, SubscriptionOptions::default()).await?;
    queues.publish(Topic::Tick, &message("waiting")).await?;
    queues.publish(Topic::Tick, &message("leased")).await?;
    let held = queue.receive(Duration::ZERO).await?.context("a message")?;
    clock.set(noon() - chrono::Duration::days(400));
    let second = queue.receive(Duration::ZERO).await?.context("published in what is now the future")?;
    assert_ne!(second.message_id, held.message_id);
    assert!(queue.receive(Duration::ZERO).await?.is_none(), "the lease still holds");
    clock.advance(MINUTE);
    assert!(queue.receive(Duration::ZERO).await?.is_some(), "the lease has ended");
    Ok(())
}

#[tokio::test]
async fn what_another_process_publishes_is_noticed() -> Result<()> {
    let (folder, clock, queues) = scratch().await?;
    let queue = queues.subscribe("engine.tick", Topic::Tick, SubscriptionOptions::default()).await?;
    let waiting = tokio::spawn(async move { queue.receive(MINUTE).await });
    let other = SqliteQueues::open(folder.path().join("queue.db"), clock).await?;
    other.publish(Topic::Tick, &message("from outside")).await?;
    let delivery = waiting.await??.context("a message")?;
    assert_eq!(delivery.message.data, "from outside");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_on_one_file_lose_and_double_nothing() -> Result<()> {
    let (folder, clock, queues) = scratch().await?;
    queues.subscribe("shared", Topic::Tick, SubscriptionOptions::default()).await?;
    let mut workers = Vec::new();
    for _ in 0..3 {
        let queues = SqliteQueues::open(folder.path().join("queue.db"), clock.clone()).await?;
        workers.push(tokio::spawn(async move {
            let queue = queues.subscribe("shared", Topic::Tick, SubscriptionOptions::default()).await?;
            let mut ids = Vec::new();
            for _ in 0..20 {
                queues.publish(Topic::Tick, &message("x")).await?;
                let delivery = queue.receive(MINUTE).await?.context("one is there for each published")?;
                queue.ack(&delivery.receipt).await?;
                ids.push(delivery.message_id);
            }
            anyhow::Ok(ids)
        }));
    }
    let mut ids = Vec::new();
    for worker in workers {
        ids.extend(worker.await??);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 60);
    Ok(())
}

#[tokio::test]
async fn the_backlog_tells_ready_leased_and_delayed_apart() -> Result<()> {
    let (_folder, clock, queues) = scratch().await?;
    let queue = queues.subscribe("engine.tick", Topic::Tick, SubscriptionOptions::default()).await?;
    queues.subscribe("publisher.snapshot-uploaded", Topic::SnapshotUploaded, SubscriptionOptions::default()).await?;
    for data in ["a", "b", "c"] {
        queues.publish(Topic::Tick, &message(data)).await?;
    }
    clock.advance(Duration::from_secs(10));
    let returned = queue.receive(Duration::ZERO).await?.context("a message")?;
    queue.nack(&returned.receipt, MINUTE).await?;
    queue.receive(Duration::ZERO).await?.context("a message")?;
    let backlog = queues.backlog().await?;
    let [ticks, uploads] = &backlog[..] else { anyhow::bail!("{backlog:?}") };
    assert_eq!((ticks.subscription.as_str(), ticks.ready, ticks.leased, ticks.delayed), ("engine.tick", 1, 1, 1));
    assert_eq!(ticks.oldest_age, Some(Duration::from_secs(10)));
    assert_eq!((uploads.ready, uploads.oldest_age), (0, None));
    Ok(())
}

#[tokio::test]
async fn a_dead_letter_can_be_delivered_anew_and_purged() -> Result<()> {
    let (_folder, clock, queues) = scratch().await?;
    let queue = queues.subscribe("engine.tick", Topic::Tick, SubscriptionOptions::default()).await?;
    for data in ["mended", "hopeless"] {
        queues.publish(Topic::Tick, &message(data)).await?;
        let delivery = queue.receive(Duration::ZERO).await?.context("a message")?;
        queue.reject(&delivery.receipt, "unknown target").await?;
    }
    let letters = queues.dead_letters().await?;
    assert_eq!((letters.len(), letters[0].reason.as_str(), letters[0].topic), (2, "unknown target", Topic::Tick));
    assert!(queues.revive("engine.tick", &letters[0].message_id).await?);
    assert!(!queues.revive("engine.tick", &letters[0].message_id).await?, "a second time there is none");
    let again = queue.receive(Duration::ZERO).await?.context("the mended one")?;
    assert_eq!((again.message.data, again.attempt, again.published_at), ("mended".into(), Some(1), noon()));
    clock.advance(MINUTE);
    assert_eq!(queues.purge_dead_letters(noon()).await?, 0);
    assert_eq!(queues.purge_dead_letters(noon() + MINUTE).await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_lease_whose_holder_is_gone_can_be_ended_and_its_receipt_is_worth_nothing() -> Result<()> {
    let (_folder, _clock, queues) = scratch().await?;
    let queue = queues.subscribe("engine.tick", Topic::Tick, SubscriptionOptions::default()).await?;
    assert_eq!(queues.end_leases().await?, 0);
    queues.publish(Topic::Tick, &message("held")).await?;
    let lost = queue.receive(Duration::ZERO).await?.context("a message")?;
    assert!(queue.receive(Duration::ZERO).await?.is_none(), "it is leased");
    assert_eq!(queues.end_leases().await?, 1);
    let again = queue.receive(Duration::ZERO).await?.context("the same message at once")?;
    assert_eq!((again.message.data, again.attempt), ("held".into(), Some(2)));
    assert!(matches!(queue.ack(&lost.receipt).await, Err(QueueError::LeaseLost { .. })));
    queue.ack(&again.receipt).await?;
    assert_eq!(queues.end_leases().await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_subscription_that_is_given_up_takes_its_messages_along() -> Result<()> {
    let (_folder, _clock, queues) = scratch().await?;
    queues.subscribe("old", Topic::Tick, SubscriptionOptions::default()).await?;
    queues.publish(Topic::Tick, &message("x")).await?;
    queues.unsubscribe("old").await?;
    queues.unsubscribe("old").await?;
    assert!(queues.backlog().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn files_that_are_no_queue_are_refused_by_name_and_left_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text = folder.path().join("notes.txt");
    fs::write(&text, "not a database, and longer than a page header of one hundred bytes ".repeat(20))?;
    assert!(open_error(&text).await?.contains("expected a polkashots queue"));
    let missing = folder.path().join("missing/queue.db");
    assert!(open_error(&missing).await?.contains("existing folder"));

    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign)?.execute_batch("CREATE TABLE theirs (x)")?;
    let before = fs::read(&foreign)?;
    assert!(open_error(&foreign).await?.contains("database of something else"));
    assert_eq!(fs::read(&foreign)?, before);
    Ok(())
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_with_the_way_out() -> Result<()> {
    let (folder, _clock, queues) = scratch().await?;
    drop(queues);
    let path = folder.path().join("queue.db");
    rusqlite::Connection::open(&path)?.pragma_update(None, "user_version", 2)?;
    assert!(open_error(&path).await?.contains("update polkashots"));
    Ok(())
}

#[tokio::test]
async fn a_damaged_file_is_told_with_its_name() -> Result<()> {
    let (folder, _clock, queues) = scratch().await?;
    queues.subscribe("engine.tick", Topic::Tick, SubscriptionOptions::default()).await?;
    let path = folder.path().join("queue.db");
    drop(queues);
    let length = fs::metadata(&path)?.len() as usize;
    let mut bytes = fs::read(&path)?;
    bytes[100..length].fill(0xff);
    fs::write(&path, bytes)?;
    assert!(open_error(&path).await?.contains("damaged"));
    Ok(())
}

#[tokio::test]
async fn a_write_ahead_log_left_by_a_kill_is_read() -> Result<()> {
    let (folder, clock, queues) = scratch().await?;
    queues.subscribe("engine.tick", Topic::Tick, SubscriptionOptions::default()).await?;
    queues.publish(Topic::Tick, &message("kept")).await?;
    // The write-ahead log as a kill leaves it: copied while the file is open.
    let copy = tempfile::tempdir()?;
    for name in ["queue.db", "queue.db-wal"] {
        fs::copy(folder.path().join(name), copy.path().join(name))?;
    }
    let revived = SqliteQueues::open(copy.path().join("queue.db"), clock).await?;
    let queue = revived.subscribe("engine.tick", Topic::Tick, SubscriptionOptions::default()).await?;
    let delivery = queue.receive(Duration::ZERO).await?.context("the message")?;
    assert_eq!(delivery.message.data, "kept");
    revived.unsubscribe("engine.tick").await?;
    assert!(matches!(queue.ack(&delivery.receipt).await, Err(QueueError::LeaseLost { .. })));
    Ok(())
}
