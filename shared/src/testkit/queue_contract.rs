//! The contract of [`Queue`] and [`EventSink`], held by every adapter.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::adapters::subscription::SubscriptionOptions;
use crate::event::{Message, TARGET_ATTRIBUTE, Topic};
use crate::ports::queue::{Delivery, EventSink, Queue, QueueError};

/// The lease of every subscription under test; the shortest that Pub/Sub takes.
const LEASE: Duration = Duration::from_secs(10);

/// A queue to hold to the contract, and what a test can do to it.
#[async_trait]
pub trait QueueUnderTest: Send + Sync {
    /// Where messages are published.
    async fn sink(&self) -> Arc<dyn EventSink>;

    /// Declares a subscription, or opens the one of that name.
    async fn subscribe(&self, name: &str, topic: Topic, options: SubscriptionOptions) -> Arc<dyn Queue>;

    /// Lets `by` pass for leases and delays; false where only real time does that.
    async fn advance(&self, by: Duration) -> bool {
        let _ = by;
        false
    }

    /// Subscription and reason of each dead letter; `None` where no test can see them.
    async fn dead_letters(&self) -> Option<Vec<(String, String)>> {
        None
    }

    /// Forgets everything that is not durable, as a kill does; false where there is no such thing.
    async fn reopen(&self) -> bool {
        false
    }

    /// How long a message may take to arrive.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// False where one receiver is sent more messages than it wants, as by the Pub/Sub emulator; those that it gives back
    /// count as deliveries.
    fn sends_one_at_a_time(&self) -> bool {
        true
    }

    /// True where [`Delivery::attempt`] counts.
    fn counts_attempts(&self) -> bool {
        true
    }
}

/// A check's name and its run, which panics with what is broken.
pub type Check<'t> = (&'static str, BoxFuture<'t, ()>);

/// Runs every check, one after the other.
pub async fn run(under_test: &dyn QueueUnderTest) {
    for (_, check) in checks(under_test) {
        check.await;
    }
}

/// Every check, each on subscriptions of its own. They share topics, so that two at a time need two queues under test.
pub fn checks(under_test: &dyn QueueUnderTest) -> Vec<Check<'_>> {
    let suite = Suite { under_test };
    macro_rules! named {
        ($($check:ident),* $(,)?) => { vec![$((stringify!($check), suite.$check().boxed())),*] };
    }
    named![
        an_empty_queue_gives_nothing,
        a_message_arrives_as_it_was_published,
        a_lease_keeps_others_out,
        an_acknowledged_message_is_gone,
        every_subscription_gets_its_own_copy,
        a_subscription_takes_only_its_topic_and_target,
        several_messages_all_arrive_once_each,
        concurrent_receivers_never_share_a_message,
        a_returned_message_comes_again,
        a_rejected_message_is_a_dead_letter_with_its_reason,
        the_last_return_makes_a_dead_letter,
        a_settled_lease_is_lost,
        what_was_published_survives_a_kill,
        a_lease_that_ends_by_time_brings_the_message_again,
        an_extended_lease_holds,
        a_delay_holds_the_message_back,
        the_last_lease_that_ends_makes_a_dead_letter,
        a_lease_survives_a_kill_and_ends_by_time,
    ]
}

#[derive(Clone, Copy)]
struct Suite<'t> {
    under_test: &'t dyn QueueUnderTest,
}

fn message(target: &str, data: &str) -> Message {
    let attributes = [(TARGET_ATTRIBUTE, target), ("ce-id", data), ("ce-type", "any")];
    Message {
        attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        data: Bytes::copy_from_slice(data.as_bytes()),
    }
}

fn assert_lost(result: Result<(), QueueError>, call: &str) {
    assert!(matches!(result, Err(QueueError::LeaseLost { .. })), "{call} on a lost lease: {result:?}");
}

impl Suite<'_> {
    async fn queue(&self, name: &str, max_attempts: u32) -> Arc<dyn Queue> {
        let options = SubscriptionOptions { target: None, lease: LEASE, max_attempts };
        self.under_test.subscribe(name, Topic::Tick, options).await
    }

    async fn publish(&self, message: &Message) {
        self.publish_on(Topic::Tick, message).await;
    }

    async fn publish_on(&self, topic: Topic, message: &Message) {
        self.under_test.sink().await.publish(topic, message).await.expect("a message is published");
    }

    async fn receive(&self, queue: &dyn Queue) -> Delivery {
        self.try_receive(queue).await.expect("a message is there")
    }

    async fn try_receive(&self, queue: &dyn Queue) -> Option<Delivery> {
        queue.receive(self.under_test.patience()).await.expect("receive answers")
    }

    async fn assert_empty(&self, queue: &dyn Queue) {
        let found = queue.receive(Duration::ZERO).await.expect("receive answers");
        assert!(found.is_none(), "{} gave {found:?}", queue.name());
    }

    /// Acknowledges what other checks published, since subscriptions share the topic.
    async fn drain(&self, queue: &dyn Queue) {
        while let Some(delivery) = queue.receive(Duration::ZERO).await.expect("receive answers") {
            queue.ack(&delivery.receipt).await.expect("acknowledged");
        }
    }

    fn assert_attempt(&self, delivery: &Delivery, expected: u32) {
        if self.under_test.counts_attempts() {
            assert_eq!(delivery.attempt, Some(expected));
        }
    }

    async fn reasons(&self, queue: &dyn Queue) -> Option<Vec<String>> {
        let letters = self.under_test.dead_letters().await?;
        Some(letters.into_iter().filter(|(name, _)| name == queue.name()).map(|(_, reason)| reason).collect())
    }

    async fn an_empty_queue_gives_nothing(self) {
        let queue = self.queue("empty", 5).await;
        assert_eq!((queue.topic(), queue.lease(), queue.max_attempts()), (Topic::Tick, LEASE, 5));
        self.assert_empty(queue.as_ref()).await;
    }

    async fn a_message_arrives_as_it_was_published(self) {
        let queue = self.queue("arrives", 5).await;
        let mut sent = message("polkadot", "body");
        sent.data = Bytes::from_static(b"\x00\xff any bytes");
        self.publish(&sent).await;
        let delivery = self.receive(queue.as_ref()).await;
        assert_eq!(delivery.message, sent);
        assert!(!delivery.message_id.is_empty());
        self.assert_attempt(&delivery, 1);
        queue.ack(&delivery.receipt).await.expect("acknowledged");
    }

    async fn a_lease_keeps_others_out(self) {
        let queue = self.queue("lease", 5).await;
        self.publish(&message("a", "leased")).await;
        let delivery = self.receive(queue.as_ref()).await;
        self.assert_empty(queue.as_ref()).await;
        self.assert_empty(self.queue("lease", 5).await.as_ref()).await;
        queue.extend(&delivery.receipt).await.expect("a lease that holds is extended");
        queue.ack(&delivery.receipt).await.expect("acknowledged");
    }

    async fn an_acknowledged_message_is_gone(self) {
        let queue = self.queue("acknowledged", 5).await;
        self.publish(&message("a", "once")).await;
        let delivery = self.receive(queue.as_ref()).await;
        queue.ack(&delivery.receipt).await.expect("acknowledged");
        self.under_test.advance(LEASE * 10).await;
        self.assert_empty(queue.as_ref()).await;
    }

    async fn every_subscription_gets_its_own_copy(self) {
        let queues = [self.queue("copy-a", 5).await, self.queue("copy-b", 5).await];
        self.publish(&message("a", "copied")).await;
        for queue in &queues {
            let delivery = self.receive(queue.as_ref()).await;
            assert_eq!(delivery.message.data, "copied");
            queue.ack(&delivery.receipt).await.expect("acknowledged");
            self.assert_empty(queue.as_ref()).await;
        }
    }

    async fn a_subscription_takes_only_its_topic_and_target(self) {
        let target = Some("kusama".parse().expect("a target id"));
        let options = SubscriptionOptions { target, lease: LEASE, max_attempts: 5 };
        let queue = self.under_test.subscribe("filtered", Topic::SnapshotUploaded, options).await;
        self.publish_on(Topic::SnapshotUploaded, &message("polkadot", "other target")).await;
        self.publish_on(Topic::SnapshotFailed, &message("kusama", "other topic")).await;
        let bare = Message { attributes: Default::default(), data: "no target".into() };
        self.publish_on(Topic::SnapshotUploaded, &bare).await;
        self.publish_on(Topic::SnapshotUploaded, &message("kusama", "mine")).await;
        let delivery = self.receive(queue.as_ref()).await;
        assert_eq!(delivery.message.data, "mine");
        queue.ack(&delivery.receipt).await.expect("acknowledged");
        self.assert_empty(queue.as_ref()).await;
    }

    async fn several_messages_all_arrive_once_each(self) {
        let queue = self.queue("several", 5).await;
        let one_at_a_time = !self.under_test.sends_one_at_a_time();
        let count = if one_at_a_time { 2 } else { 20 };
        let sent: Vec<String> = (0..count).map(|number| format!("several-{number:02}")).collect();
        for data in sent.iter().take(if one_at_a_time { 0 } else { sent.len() }) {
            self.publish(&message("a", data)).await;
        }
        let mut received = Vec::new();
        while let Some(next) = sent.get(received.len()) {
            if one_at_a_time {
                self.publish(&message("a", next)).await;
            }
            let delivery = self.receive(queue.as_ref()).await;
            received.push(String::from_utf8_lossy(&delivery.message.data).into_owned());
            queue.ack(&delivery.receipt).await.expect("acknowledged");
        }
        received.sort();
        assert_eq!(received, sent);
        self.assert_empty(queue.as_ref()).await;
    }

    async fn concurrent_receivers_never_share_a_message(self) {
        if !self.under_test.sends_one_at_a_time() {
            return;
        }
        let queue = self.queue("concurrent", 5).await;
        for number in 0..6 {
            self.publish(&message("a", &number.to_string())).await;
        }
        let received = futures::future::join_all((0..6).map(|_| self.receive(queue.as_ref()))).await;
        let mut ids: Vec<&str> = received.iter().map(|delivery| delivery.message_id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6, "a message was leased twice");
        for delivery in &received {
            queue.ack(&delivery.receipt).await.expect("acknowledged");
        }
    }

    async fn a_returned_message_comes_again(self) {
        let queue = self.queue("returned", 5).await;
        self.publish(&message("a", "again")).await;
        let first = self.receive(queue.as_ref()).await;
        queue.nack(&first.receipt, Duration::ZERO).await.expect("returned");
        let second = self.receive(queue.as_ref()).await;
        assert_eq!((&second.message, &second.message_id), (&first.message, &first.message_id));
        assert_eq!(second.published_at, first.published_at, "the time of publication never changes");
        assert_ne!(second.receipt, first.receipt);
        self.assert_attempt(&second, 2);
        queue.ack(&second.receipt).await.expect("acknowledged");
    }

    async fn a_rejected_message_is_a_dead_letter_with_its_reason(self) {
        let queue = self.queue("rejected", 5).await;
        self.publish(&message("a", "hopeless")).await;
        let delivery = self.receive(queue.as_ref()).await;
        queue.reject(&delivery.receipt, "unknown target \"a\"").await.expect("rejected");
        self.under_test.advance(LEASE * 10).await;
        self.assert_empty(queue.as_ref()).await;
        if let Some(reasons) = self.reasons(queue.as_ref()).await {
            assert_eq!(reasons, ["unknown target \"a\""]);
        }
    }

    async fn the_last_return_makes_a_dead_letter(self) {
        let queue = self.queue("returned-too-often", 5).await;
        self.publish(&message("a", "five times")).await;
        if !self.under_test.counts_attempts() {
            return self.drain(queue.as_ref()).await;
        }
        for attempt in 1..=5 {
            let delivery = self.receive(queue.as_ref()).await;
            self.assert_attempt(&delivery, attempt);
            queue.nack(&delivery.receipt, Duration::ZERO).await.expect("returned");
        }
        self.assert_empty(queue.as_ref()).await;
        if let Some(reasons) = self.reasons(queue.as_ref()).await {
            assert!(matches!(&reasons[..], [reason] if reason.contains('5')), "{reasons:?}");
        }
    }

    async fn a_settled_lease_is_lost(self) {
        let queue = self.queue("settled", 5).await;
        self.publish(&message("a", "settled")).await;
        let returned = self.receive(queue.as_ref()).await.receipt;
        queue.nack(&returned, Duration::ZERO).await.expect("returned");
        assert_lost(queue.ack(&returned).await, "ack");
        let current = self.receive(queue.as_ref()).await.receipt;
        assert_lost(queue.extend(&returned).await, "extend");
        assert_lost(queue.nack(&returned, Duration::ZERO).await, "nack");
        assert_lost(queue.reject(&returned, "late").await, "reject");
        queue.ack(&current).await.expect("the present lease is untouched");
        assert_lost(queue.ack(&current).await, "a second ack");
    }

    async fn what_was_published_survives_a_kill(self) {
        let queue = self.queue("killed", 5).await;
        self.publish(&message("a", "durable")).await;
        drop(queue);
        if !self.under_test.reopen().await {
            return self.drain(self.queue("killed", 5).await.as_ref()).await;
        }
        self.publish(&message("a", "after the kill, before the worker")).await;
        let queue = self.queue("killed", 5).await;
        let mut found = Vec::new();
        for _ in 0..2 {
            let delivery = self.receive(queue.as_ref()).await;
            found.push(delivery.message.data);
            queue.ack(&delivery.receipt).await.expect("acknowledged");
        }
        found.sort();
        assert_eq!(found, ["after the kill, before the worker", "durable"]);
    }

    /// Leases one message on a new subscription; `None` where time cannot be made to pass.
    async fn lease_one(&self, name: &str, max_attempts: u32) -> Option<(Arc<dyn Queue>, Delivery)> {
        if !self.under_test.advance(Duration::ZERO).await {
            return None;
        }
        let queue = self.queue(name, max_attempts).await;
        self.publish(&message("a", name)).await;
        let delivery = self.receive(queue.as_ref()).await;
        Some((queue, delivery))
    }

    async fn a_lease_that_ends_by_time_brings_the_message_again(self) {
        let Some((queue, first)) = self.lease_one("timed", 5).await else { return };
        self.under_test.advance(LEASE - Duration::from_millis(1)).await;
        self.assert_empty(queue.as_ref()).await;
        self.under_test.advance(Duration::from_millis(1)).await;
        assert_lost(queue.extend(&first.receipt).await, "extend");
        let second = self.receive(queue.as_ref()).await;
        self.assert_attempt(&second, 2);
        assert_eq!(second.published_at, first.published_at);
        assert_lost(queue.ack(&first.receipt).await, "ack");
        queue.ack(&second.receipt).await.expect("acknowledged");
    }

    async fn an_extended_lease_holds(self) {
        let Some((queue, delivery)) = self.lease_one("extended", 5).await else { return };
        for _ in 0..5 {
            self.under_test.advance(LEASE * 2 / 3).await;
            queue.extend(&delivery.receipt).await.expect("a lease that holds is extended");
            self.assert_empty(queue.as_ref()).await;
        }
        queue.ack(&delivery.receipt).await.expect("acknowledged");
    }

    async fn a_delay_holds_the_message_back(self) {
        let Some((queue, first)) = self.lease_one("delayed", 5).await else { return };
        queue.nack(&first.receipt, LEASE * 3).await.expect("returned");
        self.under_test.advance(LEASE * 2).await;
        self.assert_empty(queue.as_ref()).await;
        self.under_test.advance(LEASE).await;
        let second = self.receive(queue.as_ref()).await;
        self.assert_attempt(&second, 2);
        queue.ack(&second.receipt).await.expect("acknowledged");
    }

    async fn the_last_lease_that_ends_makes_a_dead_letter(self) {
        let Some((queue, _)) = self.lease_one("timed-out-too-often", 5).await else { return };
        for attempt in 2..=5 {
            self.under_test.advance(LEASE).await;
            self.assert_attempt(&self.receive(queue.as_ref()).await, attempt);
        }
        self.under_test.advance(LEASE).await;
        self.assert_empty(queue.as_ref()).await;
        if let Some(reasons) = self.reasons(queue.as_ref()).await {
            assert_eq!(reasons.len(), 1, "{reasons:?}");
        }
    }

    async fn a_lease_survives_a_kill_and_ends_by_time(self) {
        let Some((queue, first)) = self.lease_one("killed-with-lease", 5).await else { return };
        drop(queue);
        if !self.under_test.reopen().await {
            return;
        }
        let queue = self.queue("killed-with-lease", 5).await;
        self.assert_empty(queue.as_ref()).await;
        self.under_test.advance(LEASE).await;
        let second = self.receive(queue.as_ref()).await;
        assert_eq!(second.message, first.message);
        self.assert_attempt(&second, 2);
        queue.ack(&second.receipt).await.expect("acknowledged");
    }
}
