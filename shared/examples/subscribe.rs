//! Prints every new snapshot, one line of JSON each: what a subscriber in Rust needs and no more.
//!
//! `cargo run -p polkashots-shared --example subscribe --features cloud -- PROJECT SUBSCRIPTION [TARGET]`
//!
//! The subscription is the reader's own, on the topic `...snapshot-published`: docs/events.md tells how to make it. With
//! `PUBSUB_EMULATOR_HOST` set it reads from the emulator.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use polkashots_shared::adapters::pubsub::{PubSub, PubSubSettings, PubSubSubscription};
use polkashots_shared::event::{Event, Payload, SnapshotPublished, Topic};
use polkashots_shared::ports::queue::Queue;

/// When an event whose effect failed comes again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(project), Some(name)) = (words.next(), words.next()) else {
        bail!("expected PROJECT SUBSCRIPTION [TARGET]")
    };
    let queue = open(project, name, words.next(), std::env::var("PUBSUB_EMULATOR_HOST").ok()).await?;
    loop {
        next(&queue, Duration::from_secs(60), print).await?;
    }
}

/// Opens a subscription of one's own. The filter is the subscription's; a target named here is checked once more.
pub async fn open(
    project: String,
    name: String,
    target: Option<String>,
    emulator_host: Option<String>,
) -> Result<impl Queue> {
    let settings = PubSubSettings { project, topic_prefix: "polkashots-".to_owned(), emulator_host };
    let subscription = PubSubSubscription {
        name,
        topic: Topic::SnapshotPublished,
        target: target.map(|target| target.parse()).transpose().context("TARGET")?,
        lease: Duration::from_secs(60),
        max_attempts: 100,
        dead_letter_topic: None,
        stays: true,
    };
    Ok(PubSub::connect(settings).await?.subscribe(subscription).await?)
}

/// Waits for one event, hands it to `effect`, and acknowledges it only after that succeeded: an event whose effect failed
/// comes again. `None` where none came in time.
pub async fn next(
    queue: &impl Queue,
    wait: Duration,
    effect: impl FnOnce(&SnapshotPublished) -> Result<()>,
) -> Result<Option<SnapshotPublished>> {
    let Some(delivery) = queue.receive(wait).await? else { return Ok(None) };
    let event = Event::from_message(Topic::SnapshotPublished, &delivery.message, delivery.published_at);
    let published = match event.map(|event| event.payload) {
        Ok(Payload::SnapshotPublished(published)) => published,
        // Of a newer schema, or not ours: coming again would not help.
        _ => {
            queue.ack(&delivery.receipt).await?;
            return Ok(None);
        }
    };
    if let Err(error) = effect(&published) {
        queue.nack(&delivery.receipt, RETRY_AFTER).await?;
        return Err(error);
    }
    queue.ack(&delivery.receipt).await?;
    Ok(Some(published))
}

fn print(published: &SnapshotPublished) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(published)?)?)
}
