//! Which topics and subscriptions a worker uses.

use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::duration::duration;
use crate::event::Topic;
use crate::ids::TargetId;
use crate::names;

/// Pub/Sub: where it is and how this installation's topics and subscriptions are read.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Pub/Sub")]
pub struct QueueSettings {
    /// The Google Cloud project of the topics and subscriptions
    #[arg(long, env = "POLKASHOTS_PROJECT", value_name = "PROJECT", value_parser = NonEmptyStringValueParser::new())]
    pub project: String,
    /// Stands before the name of every topic and subscription, as in polkashots-tick
    #[arg(long, env = "POLKASHOTS_TOPIC_PREFIX", value_name = "PREFIX", default_value = "polkashots-")]
    pub topic_prefix: String,
    /// Read this target's own subscriptions, `<prefix><worker>.<topic>.<target>`, instead of `<prefix><worker>.<topic>`
    #[arg(long, env = "POLKASHOTS_TARGET", value_name = "TARGET")]
    pub target: Option<TargetId>,
    /// How long a message stays away from others after its holder died, 10s to 600s
    #[arg(long, env = "POLKASHOTS_LEASE", value_name = "TIME", default_value = "60s", value_parser = lease)]
    pub lease: Duration,
    /// The subscriptions' max_delivery_attempts: the last one records the failure
    #[arg(long, env = "POLKASHOTS_MAX_ATTEMPTS", value_name = "N", default_value = "5",
          value_parser = clap::value_parser!(u32).range(5..=100))]
    pub max_attempts: u32,
    /// The whole name of the topic for messages that can never succeed; without it they come again until Pub/Sub gives up
    #[arg(long, env = "POLKASHOTS_DEAD_LETTER_TOPIC", value_name = "TOPIC",
          value_parser = NonEmptyStringValueParser::new())]
    pub dead_letter_topic: Option<String>,
    /// The host:port of a Pub/Sub emulator, instead of Google's own service
    #[arg(long, env = "PUBSUB_EMULATOR_HOST", value_name = "HOST:PORT", value_parser = NonEmptyStringValueParser::new())]
    pub pubsub_emulator_host: Option<String>,
}

impl QueueSettings {
    /// The name of the subscription by which `worker` reads `topic`, without the project.
    pub fn subscription(&self, worker: &str, topic: Topic) -> String {
        let name = names::subscription_name(worker, topic.as_str(), self.target.as_ref());
        format!("{}{name}", self.topic_prefix)
    }
}

/// What Pub/Sub takes as a stream's ack deadline.
fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    let bounds = Duration::from_secs(10)..=Duration::from_secs(600);
    if bounds.contains(&lease) { Ok(lease) } else { Err("expected 10s to 600s, as Pub/Sub takes them".into()) }
}
