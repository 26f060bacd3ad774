//! What happens to a message: fan-out, claim, lease, removal. Each function is one part of one transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::letters;
use crate::adapters::subscription::SubscriptionOptions;
use crate::event::{Message, TARGET_ATTRIBUTE, Topic};
use crate::ports::queue::{Delivery, Receipt};

/// A copy whose lease holds.
pub(super) struct Leased {
    pub(super) copy_id: i64,
    pub(super) attempts: u32,
}

pub(super) fn subscribe(
    transaction: &Transaction<'_>,
    name: &str,
    topic: Topic,
    options: &SubscriptionOptions,
) -> rusqlite::Result<()> {
    let target = options.target.as_ref().map(|target| target.as_str());
    transaction.execute(
        "INSERT INTO subscriptions (name, topic, target) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET topic = excluded.topic, target = excluded.target",
        params![name, topic.as_str(), target],
    )?;
    Ok(())
}

pub(super) fn unsubscribe(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM subscriptions WHERE name = ?1", [name])?;
    Ok(())
}

/// Makes one copy per subscription that takes the message.
pub(super) fn publish(
    transaction: &Transaction<'_>,
    topic: Topic,
    message: &Message,
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let attributes = serde_json::to_string(&message.attributes).expect("strings always serialise");
    let target = message.attributes.get(TARGET_ATTRIBUTE);
    let message_id: String = transaction.query_row("SELECT lower(hex(randomblob(12)))", [], |row| row.get(0))?;
    transaction.execute(
        "INSERT INTO messages (subscription, message_id, attributes, data, published_at_us, visible_at_us)
         SELECT name, ?1, ?2, ?3, ?4, ?4 FROM subscriptions
         WHERE topic = ?5 AND (target IS NULL OR target = ?6)",
        params![message_id, attributes, &message.data[..], micros(now), topic.as_str(), target],
    )?;
    Ok(())
}

/// In how long the next copy becomes visible; `None` where there is none at all.
pub(super) fn next_visible(
    connection: &Connection,
    subscription: &str,
    now: DateTime<Utc>,
) -> rusqlite::Result<Option<Duration>> {
    let mut next = connection.prepare_cached(
        "SELECT min(CASE WHEN visible_at_us > ?2 + span_us THEN ?2 ELSE visible_at_us END)
         FROM messages WHERE subscription = ?1",
    )?;
    let next: Option<i64> = next.query_row(params![subscription, micros(now)], |row| row.get(0))?;
    Ok(next.map(|next| Duration::from_micros(u64::try_from(next.saturating_sub(micros(now))).unwrap_or(0))))
}

/// Leases the oldest visible copy, after burying those that have no delivery left.
pub(super) fn claim(
    transaction: &Transaction<'_>,
    subscription: &str,
    options: &SubscriptionOptions,
    now: DateTime<Utc>,
) -> rusqlite::Result<Option<Delivery>> {
    cut_to_span(transaction, subscription, now)?;
    letters::bury_exhausted(transaction, subscription, options.max_attempts, now)?;
    let span = span_micros(options.lease);
    let mut claim = transaction.prepare_cached(
        "UPDATE messages SET attempts = attempts + 1, visible_at_us = ?2 + ?3, span_us = ?3,
                receipt = copy_id || '-' || (attempts + 1) || '-' || lower(hex(randomblob(8)))
         WHERE copy_id = (SELECT copy_id FROM messages WHERE subscription = ?1 AND visible_at_us <= ?2
                          ORDER BY visible_at_us, copy_id LIMIT 1)
         RETURNING message_id, attributes, data, published_at_us, attempts, receipt",
    )?;
    claim.query_row(params![subscription, micros(now), span], delivery).optional()
}

/// Cuts leases and delays that a clock stepping back has lengthened.
fn cut_to_span(transaction: &Transaction<'_>, subscription: &str, now: DateTime<Utc>) -> rusqlite::Result<()> {
    let mut cut = transaction.prepare_cached(
        "UPDATE messages SET visible_at_us = ?2 + span_us WHERE subscription = ?1 AND visible_at_us > ?2 + span_us",
    )?;
    cut.execute(params![subscription, micros(now)]).map(drop)
}

/// Makes every leased copy visible now; its receipt is worth nothing from here on.
pub(super) fn end_leases(transaction: &Transaction<'_>, now: DateTime<Utc>) -> rusqlite::Result<usize> {
    transaction.execute(
        "UPDATE messages SET receipt = NULL, visible_at_us = ?1, span_us = 0
         WHERE receipt IS NOT NULL AND visible_at_us > ?1",
        [micros(now)],
    )
}

/// The copy that `receipt` leases, if it still does.
pub(super) fn leased(
    transaction: &Transaction<'_>,
    subscription: &str,
    receipt: &Receipt,
    now: DateTime<Utc>,
) -> rusqlite::Result<Option<Leased>> {
    let mut find = transaction.prepare_cached(
        "SELECT copy_id, attempts FROM messages WHERE subscription = ?1 AND receipt = ?2 AND visible_at_us > ?3",
    )?;
    let leased = |row: &Row<'_>| Ok(Leased { copy_id: row.get(0)?, attempts: row.get(1)? });
    find.query_row(params![subscription, receipt.0, micros(now)], leased).optional()
}

/// Makes the copy invisible for `span` from now; its lease goes on only where `leased`.
pub(super) fn hide(
    transaction: &Transaction<'_>,
    copy: &Leased,
    now: DateTime<Utc>,
    span: Duration,
    leased: bool,
) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE messages SET visible_at_us = ?2 + ?3, span_us = ?3, receipt = CASE WHEN ?4 THEN receipt END
         WHERE copy_id = ?1",
        params![copy.copy_id, micros(now), span_micros(span), leased],
    )?;
    Ok(())
}

pub(super) fn remove(transaction: &Transaction<'_>, copy: &Leased) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM messages WHERE copy_id = ?1", [copy.copy_id])?;
    Ok(())
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        message_id: row.get(0)?,
        message: message(row, 1, 2)?,
        published_at: time(row, 3)?,
        attempt: Some(row.get(4)?),
        receipt: Receipt(row.get(5)?),
    })
}

/// Reads a message from its columns.
pub(super) fn message(row: &Row<'_>, attributes: usize, data: usize) -> rusqlite::Result<Message> {
    let text: String = row.get(attributes)?;
    let attributes: BTreeMap<String, String> = serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(attributes, Type::Text, error.into()))?;
    Ok(Message { attributes, data: Bytes::from(row.get::<_, Vec<u8>>(data)?) })
}

/// Reads a time from its column.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<DateTime<Utc>> {
    let micros: i64 = row.get(column)?;
    DateTime::from_timestamp_micros(micros).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, micros))
}

/// A time as the file keeps it.
pub(super) fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

/// A span as the file keeps it; a century at most, so that sums stay in range.
fn span_micros(span: Duration) -> i64 {
    const LONGEST: i64 = 100 * 366 * 24 * 3600 * 1_000_000;
    i64::try_from(span.as_micros()).unwrap_or(LONGEST).min(LONGEST)
}
