//! Dead letters, and what waits: what `status` shows.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::types::Type;
use rusqlite::{Row, Transaction, params};

use super::messages::{message, micros, time};
use crate::adapters::subscription::{Backlog, DeadLetter, out_of_attempts};
use crate::event::Topic;

/// Every dead letter, oldest first.
pub(super) fn all(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<DeadLetter>> {
    let mut select = transaction.prepare_cached(
        "SELECT subscription, topic, message_id, attributes, data, reason, attempts, published_at_us, died_at_us
         FROM dead_letters ORDER BY letter_id",
    )?;
    let letter = |row: &Row<'_>| {
        Ok(DeadLetter {
            subscription: row.get(0)?,
            topic: topic(row, 1)?,
            message_id: row.get(2)?,
            message: message(row, 3, 4)?,
            reason: row.get(5)?,
            attempts: row.get(6)?,
            published_at: time(row, 7)?,
            died_at: time(row, 8)?,
        })
    };
    select.query_map([], letter)?.collect()
}

/// Makes dead letters of the visible copies that had all their deliveries.
pub(super) fn bury_exhausted(
    transaction: &Transaction<'_>,
    subscription: &str,
    max_attempts: u32,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let mut exhausted = transaction.prepare_cached(
        "SELECT copy_id FROM messages WHERE subscription = ?1 AND visible_at_us <= ?2 AND attempts >= ?3",
    )?;
    let copies = exhausted.query_map(params![subscription, micros(now), max_attempts], |row| row.get(0))?;
    for copy_id in copies.collect::<rusqlite::Result<Vec<i64>>>()? {
        bury(transaction, copy_id, None, now)?;
    }
    Ok(())
}

/// Makes a dead letter of a copy; without a reason it is that the deliveries are used up.
pub(super) fn bury(
    transaction: &Transaction<'_>,
    copy_id: i64,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let attempts: u32 =
        transaction.query_row("SELECT attempts FROM messages WHERE copy_id = ?1", [copy_id], |row| row.get(0))?;
    let reason = reason.map_or_else(|| out_of_attempts(attempts), str::to_owned);
    transaction.execute(
        "INSERT INTO dead_letters (subscription, topic, message_id, attributes, data, published_at_us, attempts,
                                   reason, died_at_us)
         SELECT subscription, topic, message_id, attributes, data, published_at_us, attempts, ?2, ?3
         FROM messages JOIN subscriptions ON name = subscription WHERE copy_id = ?1",
        params![copy_id, reason, micros(now)],
    )?;
    transaction.execute("DELETE FROM messages WHERE copy_id = ?1", [copy_id])?;
    Ok(())
}

/// Makes a fresh copy of a dead letter and removes the letter; false where either it or its subscription is gone.
pub(super) fn revive(
    transaction: &Transaction<'_>,
    subscription: &str,
    message_id: &str,
    now: DateTime<Utc>,
) -> rusqlite::Result<bool> {
    let copied = transaction.execute(
        "INSERT INTO messages (subscription, message_id, attributes, data, published_at_us, visible_at_us)
         SELECT subscription, message_id, attributes, data, published_at_us, ?3
         FROM dead_letters JOIN subscriptions ON name = subscription WHERE subscription = ?1 AND message_id = ?2",
        params![subscription, message_id, micros(now)],
    )?;
    if copied == 0 {
        return Ok(false);
    }
    let remove = "DELETE FROM dead_letters WHERE subscription = ?1 AND message_id = ?2";
    transaction.execute(remove, params![subscription, message_id])?;
    Ok(true)
}

pub(super) fn purge(transaction: &Transaction<'_>, before: DateTime<Utc>) -> rusqlite::Result<usize> {
    transaction.execute("DELETE FROM dead_letters WHERE died_at_us < ?1", [micros(before)])
}

/// What waits on each subscription, by name.
pub(super) fn backlog(transaction: &Transaction<'_>, now: DateTime<Utc>) -> rusqlite::Result<Vec<Backlog>> {
    let mut select = transaction.prepare_cached(
        "SELECT name, topic,
                count(copy_id) FILTER (WHERE visible_at_us <= ?1),
                count(copy_id) FILTER (WHERE visible_at_us > ?1 AND receipt IS NOT NULL),
                count(copy_id) FILTER (WHERE visible_at_us > ?1 AND receipt IS NULL),
                min(published_at_us)
         FROM subscriptions LEFT JOIN messages ON subscription = name GROUP BY name ORDER BY name",
    )?;
    let backlog = |row: &Row<'_>| {
        let oldest: Option<i64> = row.get(5)?;
        let age = |oldest: i64| Duration::from_micros(u64::try_from(micros(now) - oldest).unwrap_or(0));
        Ok(Backlog {
            subscription: row.get(0)?,
            topic: topic(row, 1)?,
            ready: row.get::<_, u32>(2)?.into(),
            leased: row.get::<_, u32>(3)?.into(),
            delayed: row.get::<_, u32>(4)?.into(),
            oldest_age: oldest.map(age),
        })
    };
    select.query_map([micros(now)], backlog)?.collect()
}

fn topic(row: &Row<'_>, column: usize) -> rusqlite::Result<Topic> {
    let found: String = row.get(column)?;
    Topic::ALL.into_iter().find(|topic| topic.as_str() == found).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, format!("unknown topic \"{found}\"").into())
    })
}
