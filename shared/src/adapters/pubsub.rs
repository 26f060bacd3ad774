//! The queue on Google Cloud Pub/Sub.
//!
//! Only streaming pull is public in Google's client. Its habits decide the shape here: the stream is opened for one
//! message, given one, and closed at once, so that no second message is leased while the first is worked on; the client
//! goes on extending the lease in the background until the message's handler is consumed; acknowledgements are sent in
//! batches, so a call here returns only when the client has flushed them.
//!
//! Each stream has a connection of its own, because the emulator notices the end of a stream only by the end of its
//! connection: it would go on sending messages to the streams that were closed, each lost until its lease ends. A worker
//! that stays keeps the stream that brought nothing for its next look ([`PubSubSubscription::stays`]).

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use google_cloud_auth::credentials::{self, Credentials, anonymous};
use google_cloud_pubsub::client::{BasePublisher, Publisher, Subscriber};
use google_cloud_pubsub::error::AckError;
use google_cloud_pubsub::model;
use google_cloud_pubsub::subscriber::handler::Handler;
use google_cloud_pubsub::subscriber::{MessageStream, ShutdownToken};

use crate::event::{Message, TARGET_ATTRIBUTE, Topic};
use crate::ids::TargetId;
use crate::ports::queue::{Delivery, EventSink, Queue, QueueError, Receipt};

/// The longest that the client keeps a message leased; far beyond any run.
const MAX_LEASE: Duration = Duration::from_secs(7 * 24 * 3600);
/// The attribute of a dead letter that says why it is one; those that Pub/Sub forwarded itself have none.
pub const REASON_ATTRIBUTE: &str = "polkashots-reason";
/// The attribute of a dead letter that says which subscription gave it up; Pub/Sub's own name for it.
pub const DEAD_LETTER_SOURCE_ATTRIBUTE: &str = "CloudPubSubDeadLetterSourceSubscription";
/// The shortest pull: a stream that is closed sooner only takes messages away from others until their lease ends.
const MIN_WAIT: Duration = Duration::from_millis(500);
/// The longest value of an attribute that Pub/Sub takes is 1024 bytes.
const MAX_REASON_BYTES: usize = 1000;

/// Where Pub/Sub is and what this installation calls its topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PubSubSettings {
    /// The Google Cloud project.
    pub project: String,
    /// Stands before every topic's name, as in `polkashots-`.
    pub topic_prefix: String,
    /// The emulator's `host:port`; none means Google's own service with Application Default Credentials.
    pub emulator_host: Option<String>,
}

impl PubSubSettings {
    /// The full name of a topic: `projects/<project>/topics/<prefix><topic>`.
    pub fn topic_path(&self, topic: Topic) -> String {
        format!("projects/{}/topics/{}{topic}", self.project, self.topic_prefix)
    }

    /// The full name of a subscription.
    pub fn subscription_path(&self, name: &str) -> String {
        format!("projects/{}/subscriptions/{name}", self.project)
    }

    /// The emulator's address and the credentials that it takes.
    pub fn emulator(&self) -> Option<(String, Credentials)> {
        let host = self.emulator_host.as_ref()?;
        Some((format!("http://{host}"), anonymous::Builder::new().build()))
    }
}

/// Publishes events to Pub/Sub and opens subscriptions.
pub struct PubSub {
    settings: PubSubSettings,
    publishers: HashMap<Topic, Publisher>,
    credentials: Credentials,
}

/// How one subscription is read.
#[derive(Debug, Clone)]
pub struct PubSubSubscription {
    /// Its name, without the project.
    pub name: String,
    /// The topic that it is on.
    pub topic: Topic,
    /// The target it filters for; checked here too, because the emulator ignores filters.
    pub target: Option<TargetId>,
    /// How long a lease lasts after its holder died, 10 to 600 seconds.
    pub lease: Duration,
    /// The subscription's `max_delivery_attempts`.
    pub max_attempts: u32,
    /// The name of the dead-letter topic, without the project.
    pub dead_letter_topic: Option<String>,
    /// Whether its reader looks again and again, and at nothing else: a stream that brought nothing is then kept for the next
    /// look. Elsewhere it is closed, lest it take a message that nobody looks at.
    pub stays: bool,
}

impl PubSub {
    /// Connects; nothing is sent yet.
    pub async fn connect(settings: PubSubSettings) -> Result<Self, QueueError> {
        let failed = |error: String| permanent("pubsub", error);
        let credentials = match settings.emulator() {
            Some((_, credentials)) => credentials,
            None => credentials::Builder::default().build().map_err(|error| failed(error.to_string()))?,
        };
        let mut publisher = BasePublisher::builder().with_credentials(credentials.clone());
        if let Some((endpoint, _)) = settings.emulator() {
            publisher = publisher.with_endpoint(endpoint);
        }
        let publisher = publisher.build().await.map_err(|error| failed(error.to_string()))?;
        let publishers = Topic::ALL.into_iter().map(|topic| (topic, unbatched(&publisher, settings.topic_path(topic))));
        Ok(Self { publishers: publishers.collect(), settings, credentials })
    }

    /// Opens a subscription; that it does not exist shows at the first [`Queue::receive`].
    pub async fn subscribe(&self, subscription: PubSubSubscription) -> Result<PubSubQueue, QueueError> {
        let dead_letters = match &subscription.dead_letter_topic {
            Some(topic) => Some(self.dead_letter_publisher(topic).await?),
            None => None,
        };
        Ok(PubSubQueue {
            path: self.settings.subscription_path(&subscription.name),
            endpoint: self.settings.emulator().map(|(endpoint, _)| endpoint),
            credentials: self.credentials.clone(),
            dead_letters,
            held: Mutex::new(HashMap::new()),
            leases: AtomicU64::new(0),
            idle: Mutex::new(None),
            subscription,
        })
    }

    async fn dead_letter_publisher(&self, topic: &str) -> Result<Publisher, QueueError> {
        let mut publisher = BasePublisher::builder().with_credentials(self.credentials.clone());
        if let Some((endpoint, _)) = self.settings.emulator() {
            publisher = publisher.with_endpoint(endpoint);
        }
        let publisher = publisher.build().await.map_err(|error| permanent(topic, error.to_string()))?;
        Ok(unbatched(&publisher, format!("projects/{}/topics/{topic}", self.settings.project)))
    }
}

/// A publisher that sends each message at once and never twice at a time.
fn unbatched(publisher: &BasePublisher, topic: String) -> Publisher {
    publisher.publisher(topic).set_message_count_threshold(1_u32).set_or_clear_hedging_options(None).build()
}

#[async_trait]
impl EventSink for PubSub {
    async fn publish(&self, topic: Topic, message: &Message) -> Result<(), QueueError> {
        let publisher =
            self.publishers.get(&topic).ok_or_else(|| permanent(topic.as_str(), "no publisher".to_owned()))?;
        publish_to(publisher, &self.settings.topic_path(topic), message.clone()).await
    }
}

async fn publish_to(publisher: &Publisher, path: &str, message: Message) -> Result<(), QueueError> {
    let outgoing = model::Message::new().set_data(message.data).set_attributes(message.attributes);
    let sent = publisher.publish(outgoing).await;
    sent.map(|_id| ()).map_err(|error| classify(path, error.to_string(), rpc_is_permanent(&error)))
}

fn rpc_is_permanent(error: &google_cloud_pubsub::error::PublishError) -> bool {
    use google_cloud_pubsub::error::PublishError;
    match error {
        PublishError::Rpc(rpc) => is_permanent(rpc),
        _ => false,
    }
}

/// True for what only a person can mend: the resource is missing, or access to it.
fn is_permanent(error: &google_cloud_pubsub::Error) -> bool {
    use google_cloud_gax::error::rpc::Code;
    let code = error.status().map(|status| status.code);
    matches!(
        code,
        Some(
            Code::NotFound
                | Code::PermissionDenied
                | Code::InvalidArgument
                | Code::Unauthenticated
                | Code::FailedPrecondition
        )
    )
}

/// One Pub/Sub subscription.
pub struct PubSubQueue {
    path: String,
    subscription: PubSubSubscription,
    endpoint: Option<String>,
    credentials: Credentials,
    dead_letters: Option<Publisher>,
    held: Mutex<HashMap<Receipt, Held>>,
    /// How many leases there were; makes receipts differ.
    leases: AtomicU64,
    /// The stream that brought nothing yet.
    idle: Mutex<Option<Waiting>>,
}

/// What a stream brings next, and the stream.
type Next = (Option<Result<(model::Message, Handler), google_cloud_pubsub::Error>>, MessageStream);

/// A stream that is being waited on. Its wait is kept too, because a stream is opened by waiting on it.
struct Waiting {
    next: Pin<Box<dyn Future<Output = Next> + Send>>,
    shutdown: ShutdownToken,
}

impl Waiting {
    fn on(mut stream: MessageStream) -> Self {
        let shutdown = stream.shutdown_token();
        Self { next: Box::pin(async move { (stream.next().await, stream) }), shutdown }
    }
}

/// A leased message: dropping the handler gives it back.
struct Held {
    handler: Handler,
    flush: ShutdownToken,
    message: Message,
}

impl PubSubQueue {
    async fn open_stream(&self) -> Result<MessageStream, QueueError> {
        let mut subscriber = Subscriber::builder().with_credentials(self.credentials.clone());
        if let Some(endpoint) = &self.endpoint {
            subscriber = subscriber.with_endpoint(endpoint);
        }
        let subscriber = subscriber.build().await.map_err(|error| classify(&self.path, error.to_string(), false))?;
        let stream = subscriber
            .subscribe(&self.path)
            .set_max_outstanding_messages(1)
            .set_max_lease(MAX_LEASE)
            .set_max_lease_extension(self.subscription.lease)
            .build();
        Ok(stream)
    }

    fn is_ours(&self, message: &model::Message) -> bool {
        let Some(wanted) = &self.subscription.target else { return true };
        message.attributes.get(TARGET_ATTRIBUTE).is_some_and(|target| target == wanted.as_str())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Receipt, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Option<Waiting>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a stream that brought nothing, or closes it.
    async fn put_aside(&self, waiting: Waiting) {
        if self.subscription.stays {
            *self.idle() = Some(waiting);
            return;
        }
        // The request ends first: what is sent to it while the client shuts down would be lost until its lease ends.
        let Waiting { next, shutdown } = waiting;
        drop(next);
        shutdown.shutdown().await;
    }

    fn take(&self, receipt: &Receipt) -> Result<Held, QueueError> {
        self.held().remove(receipt).ok_or_else(|| self.lease_lost())
    }

    fn lease_lost(&self) -> QueueError {
        QueueError::LeaseLost { queue: self.path.clone() }
    }

    fn hold(&self, message: model::Message, handler: Handler, flush: ShutdownToken) -> Delivery {
        let attempt = handler.delivery_attempt().and_then(|attempt| u32::try_from(attempt).ok());
        let lease = self.leases.fetch_add(1, Ordering::Relaxed);
        let receipt = Receipt(format!("{}/{lease}", message.message_id));
        let delivery = Delivery {
            message_id: message.message_id.clone(),
            published_at: published_at(&message),
            message: Message { attributes: message.attributes.into_iter().collect(), data: message.data },
            attempt,
            receipt: receipt.clone(),
        };
        let held = Held { handler, flush, message: delivery.message.clone() };
        self.held().insert(receipt, held);
        delivery
    }

    async fn acknowledge(&self, handler: Handler, flush: &ShutdownToken) -> Result<(), QueueError> {
        let acknowledged = match handler {
            Handler::ExactlyOnce(handler) => handler.confirmed_ack().await,
            handler => {
                handler.ack();
                Ok(())
            }
        };
        flush.shutdown().await;
        acknowledged.map_err(|error| match error {
            AckError::LeaseExpired => self.lease_lost(),
            other => classify(&self.path, other.to_string(), false),
        })
    }
}

#[async_trait]
impl Queue for PubSubQueue {
    fn topic(&self) -> Topic {
        self.subscription.topic
    }

    fn name(&self) -> &str {
        &self.subscription.name
    }

    /// Waits half a second at least.
    async fn receive(&self, wait: Duration) -> Result<Option<Delivery>, QueueError> {
        let deadline = tokio::time::Instant::now() + wait.max(MIN_WAIT);
        let idle = self.idle().take();
        let mut waiting = match idle {
            Some(waiting) => waiting,
            None => Waiting::on(self.open_stream().await?),
        };
        loop {
            let Ok((next, mut stream)) = tokio::time::timeout_at(deadline, &mut waiting.next).await else {
                self.put_aside(waiting).await;
                return Ok(None);
            };
            let Some(next) = next else { return Ok(None) };
            let (message, handler) = next.map_err(|error| {
                let permanent = is_permanent(&error);
                classify(&self.path, error.to_string(), permanent)
            })?;
            if self.is_ours(&message) {
                return_others(&mut stream);
                return Ok(Some(self.hold(message, handler, waiting.shutdown)));
            }
            handler.ack();
            waiting = Waiting::on(stream);
        }
    }

    async fn extend(&self, receipt: &Receipt) -> Result<(), QueueError> {
        if self.held().contains_key(receipt) { Ok(()) } else { Err(self.lease_lost()) }
    }

    async fn ack(&self, receipt: &Receipt) -> Result<(), QueueError> {
        let held = self.take(receipt)?;
        self.acknowledge(held.handler, &held.flush).await
    }

    /// Gives the message back at once; how long Pub/Sub waits is the subscription's retry policy.
    async fn nack(&self, receipt: &Receipt, _delay: Duration) -> Result<(), QueueError> {
        let held = self.take(receipt)?;
        held.handler.nack();
        held.flush.shutdown().await;
        Ok(())
    }

    /// Copies the message with its reason to the dead-letter topic; without one it is given back until Pub/Sub gives up.
    async fn reject(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        let Some(dead_letters) = &self.dead_letters else { return self.nack(receipt, Duration::ZERO).await };
        let mut message = self.held().get(receipt).map(|held| held.message.clone()).ok_or_else(|| self.lease_lost())?;
        message.attributes.insert(REASON_ATTRIBUTE.to_owned(), cut(reason, MAX_REASON_BYTES).to_owned());
        message.attributes.insert(DEAD_LETTER_SOURCE_ATTRIBUTE.to_owned(), self.subscription.name.clone());
        publish_to(dead_letters, &self.path, message).await?;
        self.ack(receipt).await
    }

    fn lease(&self) -> Duration {
        self.subscription.lease
    }

    fn max_attempts(&self) -> u32 {
        self.subscription.max_attempts
    }
}

/// Gives back at once what came along with the message that was wanted, so that nobody waits for it.
fn return_others(stream: &mut MessageStream) {
    while let Some(Some(Ok((_, handler)))) = stream.next().now_or_never() {
        handler.nack();
    }
}

/// The beginning of a text, in whole characters.
fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

fn published_at(message: &model::Message) -> DateTime<Utc> {
    let time = message.publish_time.as_ref();
    time.and_then(|time| DateTime::from_timestamp(time.seconds(), u32::try_from(time.nanos()).unwrap_or(0)))
        .unwrap_or_else(Utc::now)
}

fn classify(queue: &str, error: String, is_permanent: bool) -> QueueError {
    if is_permanent {
        return permanent(queue, error);
    }
    QueueError::Transient { queue: queue.to_owned(), source: error.into() }
}

fn permanent(queue: &str, error: String) -> QueueError {
    QueueError::Permanent { queue: queue.to_owned(), source: error.into() }
}
