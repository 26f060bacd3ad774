//! Holds the Pub/Sub adapter to the contract of the port, on Google's emulator.
#![expect(clippy::print_stdout, reason = "how long each check waited is what the emulator must be watched for")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_trait::async_trait;
use chrono::Utc;
use futures::future::{join_all, try_join_all};
use polkashots_shared::adapters::pubsub::{
    DEAD_LETTER_SOURCE_ATTRIBUTE, PubSub, PubSubQueue, PubSubSettings, PubSubSubscription, REASON_ATTRIBUTE,
};
use polkashots_shared::adapters::subscription::SubscriptionOptions;
use polkashots_shared::event::{Event, Message, Payload, TARGET_ATTRIBUTE, Tick, Topic};
use polkashots_shared::ports::queue::{EventSink, Queue, QueueError};
use polkashots_shared::testkit::queue_contract::{self, QueueUnderTest};
use polkashots_shared::testkit::servers::{NewSubscription, PubSubAdmin, PubSubEmulator};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

const PREFIX: &str = "polkashots-";
const DEAD_LETTERS: &str = "polkashots-dead-letters";
/// The shortest lease that Pub/Sub takes.
const LEASE: Duration = Duration::from_secs(10);
/// How long the emulator may take to deliver what was given back by time.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the emulator loses between two streams counts as a delivery; only the check of dead letters wants few.
const MANY_ATTEMPTS: u32 = 100;
/// How long a message that nobody holds may take.
const SOON: Duration = Duration::from_secs(30);

/// A project with every topic on an emulator, and a client of it.
struct Cloud {
    emulator: Arc<PubSubEmulator>,
    admin: PubSubAdmin,
    settings: PubSubSettings,
    pubsub: Arc<PubSub>,
    declared: Mutex<HashSet<String>>,
    letters: PubSubQueue,
    seen_letters: Mutex<Vec<(String, String)>>,
}

impl Cloud {
    async fn start_or_skip(test: &str) -> Result<Option<Self>> {
        let Some(emulator) = PubSubEmulator::start_or_skip(test) else { return Ok(None) };
        Self::with_project(Arc::new(emulator), "first").await.map(Some)
    }

    /// Projects know nothing of each other, so that checks in different ones can run at the same time.
    async fn with_project(emulator: Arc<PubSubEmulator>, project: &str) -> Result<Self> {
        let admin = emulator.admin(project).await;
        for topic in Topic::ALL {
            admin.create_topic(&format!("{PREFIX}{topic}")).await;
        }
        admin.create_topic(DEAD_LETTERS).await;
        let settings = PubSubSettings {
            project: project.to_owned(),
            topic_prefix: PREFIX.to_owned(),
            emulator_host: Some(emulator.host().to_owned()),
        };
        let pubsub = Arc::new(PubSub::connect(settings.clone()).await?);
        let read_all = NewSubscription {
            name: "dead-letters".to_owned(),
            topic: DEAD_LETTERS.to_owned(),
            ..NewSubscription::default()
        };
        admin.create_subscription(&read_all).await;
        let letters = pubsub.subscribe(PubSubSubscription { dead_letter_topic: None, ..subscription("dead-letters") });
        let letters = letters.await?;
        let (declared, seen_letters) = (Mutex::default(), Mutex::default());
        Ok(Self { emulator, admin, settings, pubsub, declared, letters, seen_letters })
    }

    /// Creates a subscription with dead letters, unless it is there.
    async fn declare(&self, name: &str, topic: Topic, max_attempts: u32) {
        if !self.declared.lock().await.insert(name.to_owned()) {
            return;
        }
        let new = NewSubscription {
            name: name.to_owned(),
            topic: format!("{PREFIX}{topic}"),
            dead_letters: Some((DEAD_LETTERS.to_owned(), max_attempts)),
            ..NewSubscription::default()
        };
        self.admin.create_subscription(&new).await;
    }

    /// A new subscription of the tick topic.
    async fn ticks(&self, name: &str) -> Result<PubSubQueue> {
        self.declare(name, Topic::Tick, MANY_ATTEMPTS).await;
        Ok(self.pubsub.subscribe(subscription(name)).await?)
    }

    /// A subscription that takes only the messages whose target is its name.
    async fn own_ticks(&self, name: &str) -> Result<PubSubQueue> {
        self.declare(name, Topic::Tick, MANY_ATTEMPTS).await;
        Ok(self.pubsub.subscribe(PubSubSubscription { target: Some(name.parse()?), ..subscription(name) }).await?)
    }

    /// The same subscription held by a runtime of its own: dropping the runtime is what a kill is.
    fn elsewhere(&self, name: &str) -> Result<(Runtime, PubSubQueue)> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (settings, name) = (self.settings.clone(), name.to_owned());
        let handle = runtime.handle().clone();
        let queue = std::thread::spawn(move || {
            handle.block_on(async {
                let target = Some(name.parse().expect("a legal target"));
                let own = PubSubSubscription { target, ..subscription(&name) };
                PubSub::connect(settings).await?.subscribe(own).await
            })
        });
        let queue = queue.join().map_err(|_| anyhow::anyhow!("connecting panicked"))??;
        Ok((runtime, queue))
    }
}

fn subscription(name: &str) -> PubSubSubscription {
    PubSubSubscription {
        name: name.to_owned(),
        topic: Topic::Tick,
        target: None,
        lease: LEASE,
        max_attempts: 5,
        dead_letter_topic: Some(DEAD_LETTERS.to_owned()),
        stays: false,
    }
}

fn bare_tick(target: &str) -> Message {
    let attributes = [(TARGET_ATTRIBUTE.to_owned(), target.to_owned())];
    Message { attributes: attributes.into(), data: "by hand".into() }
}

#[async_trait]
impl QueueUnderTest for Cloud {
    async fn sink(&self) -> Arc<dyn EventSink> {
        self.pubsub.clone()
    }

    async fn subscribe(&self, name: &str, topic: Topic, options: SubscriptionOptions) -> Arc<dyn Queue> {
        self.declare(name, topic, MANY_ATTEMPTS).await;
        let SubscriptionOptions { target, lease, max_attempts } = options;
        let opened = PubSubSubscription { topic, target, lease, max_attempts, ..subscription(name) };
        Arc::new(self.pubsub.subscribe(opened).await.expect("a subscription is opened"))
    }

    async fn dead_letters(&self) -> Option<Vec<(String, String)>> {
        let mut seen = self.seen_letters.lock().await;
        while let Some(letter) = self.letters.receive(Duration::from_secs(3)).await.expect("receive answers") {
            self.letters.ack(&letter.receipt).await.expect("acknowledged");
            let attribute = |name: &str| letter.message.attributes.get(name).cloned();
            let source = attribute(DEAD_LETTER_SOURCE_ATTRIBUTE).unwrap_or_default();
            let attempts = attribute("CloudPubSubDeadLetterSourceDeliveryCount").unwrap_or_default();
            let reason = attribute(REASON_ATTRIBUTE).unwrap_or_else(|| format!("after {attempts} deliveries"));
            seen.push((source, reason));
        }
        Some(seen.clone())
    }

    async fn reopen(&self) -> bool {
        true
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn sends_one_at_a_time(&self) -> bool {
        false
    }

    /// The emulator also counts what it sends to a stream that has just been closed.
    fn counts_attempts(&self) -> bool {
        false
    }
}

/// Each check waits for the emulator most of the time, so that all run at once.
#[tokio::test(flavor = "multi_thread")]
async fn pubsub_holds_the_contract() -> Result<()> {
    let Some(first) = Cloud::start_or_skip("pubsub_holds_the_contract").await? else { return Ok(()) };
    let count = queue_contract::checks(&first).len();
    let projects = (0..count).map(|number| {
        let emulator = first.emulator.clone();
        async move { Cloud::with_project(emulator, &format!("contract-{number:02}")).await }
    });
    let clouds = try_join_all(projects).await?;
    let checks = clouds.iter().enumerate().map(|(number, cloud)| queue_contract::checks(cloud).swap_remove(number));
    join_all(checks.map(|(name, check)| timed(name, check))).await;
    Ok(())
}

/// The rest shares one emulator too, because starting one takes seconds; each check has its own project.
#[tokio::test(flavor = "multi_thread")]
async fn pubsub_keeps_a_workers_promises() -> Result<()> {
    let Some(first) = Cloud::start_or_skip("pubsub_keeps_a_workers_promises").await? else { return Ok(()) };
    let project = |name: &'static str| Cloud::with_project(first.emulator.clone(), name);
    tokio::try_join!(
        async { a_missing_subscription_is_named(&project("missing").await?).await.context("missing") },
        async { an_empty_pull_ends_within_its_wait(&project("empty").await?).await.context("empty") },
        async { messages_of_other_targets_are_taken_off_unseen(&project("filtered").await?).await.context("filtered") },
        async {
            an_event_arrives_as_cloud_event_with_its_filter_attribute(&project("events").await?).await.context("events")
        },
        async { a_returned_message_comes_to_another(&project("returned").await?).await.context("returned") },
        async { a_long_handler_keeps_its_message(&project("long").await?).await.context("long") },
        async { a_killed_holders_message_goes_to_another(&project("killed").await?).await.context("killed") },
        async { one_message_is_leased_at_a_time(&project("single").await?).await.context("single") },
        async {
            a_message_returned_too_often_is_a_dead_letter(&project("dead-letters").await?).await.context("dead-letters")
        },
    )?;
    Ok(())
}

/// Says how long a check took, where the output of a test is shown.
async fn timed(name: &str, check: impl Future<Output = ()>) {
    let started = Instant::now();
    check.await;
    println!("{:6.1} s  {name}", started.elapsed().as_secs_f64());
}

async fn a_missing_subscription_is_named(cloud: &Cloud) -> Result<()> {
    let queue = cloud.pubsub.subscribe(subscription("nowhere")).await?;
    let refused = queue.receive(SOON).await.err().context("a missing subscription is an error")?;
    assert!(matches!(refused, QueueError::Permanent { .. }), "{refused:?}");
    assert!(refused.to_string().contains("projects/missing/subscriptions/nowhere"), "{refused}");
    let other =
        PubSub::connect(PubSubSettings { topic_prefix: "absent-".to_owned(), ..cloud.settings.clone() }).await?;
    let refused = other.publish(Topic::Tick, &bare_tick("polkadot")).await.err().context("a missing topic")?;
    assert!(
        matches!(refused, QueueError::Permanent { .. }) && refused.to_string().contains("absent-tick"),
        "{refused}"
    );
    Ok(())
}

async fn an_empty_pull_ends_within_its_wait(cloud: &Cloud) -> Result<()> {
    let queue = cloud.ticks("empty-pull").await?;
    let started = Instant::now();
    assert!(queue.receive(Duration::from_secs(1)).await?.is_none());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    Ok(())
}

async fn an_event_arrives_as_cloud_event_with_its_filter_attribute(cloud: &Cloud) -> Result<()> {
    let queue = cloud.ticks("cloud-events").await?;
    let event = Event::new("scheduler", Utc::now(), Payload::Tick(Tick { target: "kusama".parse()? }));
    cloud.pubsub.publish(Topic::Tick, &event.to_message()).await?;
    let delivery = queue.receive(SOON).await?.context("the event arrives")?;
    let attribute = |name: &str| delivery.message.attributes.get(name).map(String::as_str);
    assert_eq!(attribute("ce-specversion"), Some("1.0"));
    assert_eq!(attribute("ce-type"), Some("io.polkashots.tick.v1"));
    assert_eq!(attribute(TARGET_ATTRIBUTE), Some("kusama"));
    assert_eq!(delivery.attempt, Some(1));
    let read = Event::from_message(Topic::Tick, &delivery.message, delivery.published_at)?;
    assert_eq!(read.id, event.id);
    queue.ack(&delivery.receipt).await?;
    Ok(())
}

async fn messages_of_other_targets_are_taken_off_unseen(cloud: &Cloud) -> Result<()> {
    cloud.declare("filtered", Topic::Tick, MANY_ATTEMPTS).await;
    let filtered = PubSubSubscription { target: Some("kusama".parse()?), ..subscription("filtered") };
    let queue = cloud.pubsub.subscribe(filtered).await?;
    for target in ["polkadot", "kusama"] {
        cloud.pubsub.publish(Topic::Tick, &bare_tick(target)).await?;
    }
    let delivery = queue.receive(SOON).await?.context("the target's message arrives")?;
    assert_eq!(delivery.message.attributes[TARGET_ATTRIBUTE], "kusama");
    queue.ack(&delivery.receipt).await?;
    assert!(queue.receive(Duration::from_secs(1)).await?.is_none());
    Ok(())
}

/// Two messages wait; while a worker holds one, another worker gets the other.
///
/// It may take long: the emulator sends the first worker both, and one that is still on the line when that worker closes
/// its stream comes again only when its lease ends.
async fn one_message_is_leased_at_a_time(cloud: &Cloud) -> Result<()> {
    let name = "one-at-a-time";
    let (holder, other) = (cloud.own_ticks(name).await?, cloud.own_ticks(name).await?);
    for _ in 0..2 {
        cloud.pubsub.publish(Topic::Tick, &bare_tick(name)).await?;
    }
    let first = holder.receive(SOON).await?.context("a message arrives")?;
    let second = other.receive(PATIENCE).await?.context("the other message is free for others")?;
    assert_ne!(first.message_id, second.message_id);
    holder.ack(&first.receipt).await?;
    other.ack(&second.receipt).await?;
    Ok(())
}

/// Its holder lives and would extend the lease for ever, so that it comes at all shows that it was given back. It may take a
/// lease: the emulator may send it to the stream that was just closed.
async fn a_returned_message_comes_to_another(cloud: &Cloud) -> Result<()> {
    let (evicted, other) = (cloud.ticks("evicted").await?, cloud.ticks("evicted").await?);
    cloud.pubsub.publish(Topic::Tick, &bare_tick("polkadot")).await?;
    let first = evicted.receive(SOON).await?.context("the message arrives")?;
    evicted.nack(&first.receipt, Duration::ZERO).await?;
    let second = other.receive(PATIENCE).await?.context("the message comes again")?;
    assert_eq!(second.message_id, first.message_id);
    assert!(second.attempt > first.attempt, "{:?}", second.attempt);
    other.ack(&second.receipt).await?;
    Ok(())
}

async fn a_long_handler_keeps_its_message(cloud: &Cloud) -> Result<()> {
    let (holder, other) = (cloud.own_ticks("long").await?, cloud.own_ticks("long").await?);
    cloud.pubsub.publish(Topic::Tick, &bare_tick("long")).await?;
    let delivery = holder.receive(SOON).await?.context("the message arrives")?;
    assert!(other.receive(LEASE * 3 + Duration::from_secs(3)).await?.is_none(), "somebody else got it");
    holder.extend(&delivery.receipt).await?;
    holder.ack(&delivery.receipt).await?;
    assert!(other.receive(LEASE + Duration::from_secs(2)).await?.is_none(), "it came again after the ack");
    Ok(())
}

async fn a_killed_holders_message_goes_to_another(cloud: &Cloud) -> Result<()> {
    let other = cloud.own_ticks("killed-holder").await?;
    let (runtime, holder) = cloud.elsewhere("killed-holder")?;
    let holder = Arc::new(holder);
    cloud.pubsub.publish(Topic::Tick, &bare_tick("killed-holder")).await?;
    let held = holder.clone();
    let first = runtime.spawn(async move { held.receive(SOON).await }).await??.context("the message arrives")?;
    runtime.shutdown_background();
    let second = other.receive(PATIENCE).await?.context("the message goes to another")?;
    assert_eq!(second.message_id, first.message_id);
    other.ack(&second.receipt).await?;
    Ok(())
}

async fn a_message_returned_too_often_is_a_dead_letter(cloud: &Cloud) -> Result<()> {
    let name = "returned-often";
    cloud.declare(name, Topic::Tick, 5).await;
    let queue = cloud.own_ticks(name).await?;
    cloud.pubsub.publish(Topic::Tick, &bare_tick(name)).await?;
    let mut last_attempt = 0;
    while last_attempt < 5 {
        let Some(delivery) = queue.receive(PATIENCE).await? else { break };
        let attempt = delivery.attempt.context("a subscription with dead letters counts")?;
        assert!(attempt > last_attempt && attempt <= 5, "attempt {attempt} after {last_attempt}");
        last_attempt = attempt;
        queue.nack(&delivery.receipt, Duration::ZERO).await?;
    }
    loop {
        let letter = cloud.letters.receive(PATIENCE).await?.context("the dead letter arrives")?;
        cloud.letters.ack(&letter.receipt).await?;
        if letter.message.attributes[TARGET_ATTRIBUTE] == name {
            return Ok(());
        }
    }
}
