//! Google's own Pub/Sub emulator, from the Cloud SDK.

use std::path::PathBuf;
use std::process::Command;

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_pubsub::client::{SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::DeadLetterPolicy;

use super::Process;
use super::process::free_port;
use crate::testkit::skip::{program_or_skip, skipped};

/// A running emulator.
#[derive(Debug)]
pub struct PubSubEmulator {
    host: String,
    _process: Process,
}

/// A subscription to create.
#[derive(Debug, Clone, Default)]
pub struct NewSubscription {
    /// Its name, without the project.
    pub name: String,
    /// Its topic's name, without the project.
    pub topic: String,
    /// The filter; the emulator keeps it and ignores it.
    pub filter: String,
    /// The dead-letter topic's name, without the project, and the number of deliveries before it.
    pub dead_letters: Option<(String, u32)>,
    /// Whether acknowledgements are confirmed and nothing is delivered twice within its lease.
    pub exactly_once: bool,
}

impl PubSubEmulator {
    /// Starts the emulator; says that `test` was skipped where it or Java is not installed.
    ///
    /// # Panics
    ///
    /// Where it is installed and does not start.
    pub fn start_or_skip(test: &str) -> Option<Self> {
        let gcloud = program_or_skip(test, "gcloud")?;
        program_or_skip(test, "java")?;
        let printed = Command::new(gcloud).args(["info", "--format=value(installation.sdk_root)"]).output();
        let root = PathBuf::from(String::from_utf8_lossy(&printed.expect("gcloud runs").stdout).trim());
        let program = root.join("platform/pubsub-emulator/bin/cloud-pubsub-emulator");
        if !program.is_file() {
            skipped(test, "the Cloud SDK has no Pub/Sub emulator: gcloud components install pubsub-emulator");
            return None;
        }
        let port = free_port().expect("a free port");
        let mut command = Command::new(program);
        command.args(["--host=127.0.0.1", &format!("--port={port}")]);
        let process = Process::start(&mut command, "Server started").expect("the emulator starts");
        Some(Self { host: format!("127.0.0.1:{port}"), _process: process })
    }

    /// What `PUBSUB_EMULATOR_HOST` would say: `127.0.0.1:<port>`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Creates topics and subscriptions in `project`.
    ///
    /// # Panics
    ///
    /// Where no client can be made.
    pub async fn admin(&self, project: &str) -> PubSubAdmin {
        let endpoint = format!("http://{}", self.host);
        let credentials: Credentials = anonymous::Builder::new().build();
        let topics = TopicAdmin::builder().with_endpoint(&endpoint).with_credentials(credentials.clone());
        let subscriptions = SubscriptionAdmin::builder().with_endpoint(&endpoint).with_credentials(credentials);
        PubSubAdmin {
            project: project.to_owned(),
            topics: topics.build().await.expect("a client of the emulator"),
            subscriptions: subscriptions.build().await.expect("a client of the emulator"),
        }
    }
}

/// Creates what Terraform creates in the cloud.
#[derive(Debug, Clone)]
pub struct PubSubAdmin {
    project: String,
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
}

impl PubSubAdmin {
    /// Creates a topic.
    ///
    /// # Panics
    ///
    /// Where the emulator refuses.
    pub async fn create_topic(&self, name: &str) {
        self.topics.create_topic().set_name(self.topic(name)).send().await.expect("a topic is created");
    }

    /// Creates a subscription; leases of 10 seconds.
    ///
    /// # Panics
    ///
    /// Where the emulator refuses.
    pub async fn create_subscription(&self, new: &NewSubscription) {
        let policy = new.dead_letters.as_ref().map(|(topic, attempts)| {
            let attempts = i32::try_from(*attempts).expect("at most 100 deliveries");
            DeadLetterPolicy::new().set_dead_letter_topic(self.topic(topic)).set_max_delivery_attempts(attempts)
        });
        let request = self.subscriptions.create_subscription();
        let request = request
            .set_name(format!("projects/{}/subscriptions/{}", self.project, new.name))
            .set_topic(self.topic(&new.topic))
            .set_filter(&new.filter)
            .set_ack_deadline_seconds(10)
            .set_enable_exactly_once_delivery(new.exactly_once)
            .set_or_clear_dead_letter_policy(policy);
        request.send().await.expect("a subscription is created");
    }

    fn topic(&self, name: &str) -> String {
        format!("projects/{}/topics/{name}", self.project)
    }
}
