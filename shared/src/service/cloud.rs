//! The adapters that settings name: the store, and the queues on Pub/Sub.

use std::sync::Arc;

use super::metrics::Metrics;
use super::observed_store::ObservedStore;
use crate::adapters::directory_store::DirectoryStore;
use crate::adapters::gcs::{GcsSettings, GcsStore};
use crate::adapters::pubsub::{PubSub, PubSubSettings, PubSubSubscription};
use crate::adapters::s3::{S3Credentials, S3Settings, S3Store};
use crate::event::Topic;
use crate::ports::object_store::{ObjectStore, StoreError};
use crate::ports::queue::{EventSink, Queue, QueueError};
use crate::retry::{Policy, RetryingStore};
use crate::settings::{QueueSettings, RunSettings, StoreLocation, StoreSettings};

/// Opens the store, observed and retried.
pub async fn open_store(settings: &StoreSettings, metrics: Arc<Metrics>) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let store: Arc<dyn ObjectStore> = match &settings.store {
        StoreLocation::Gcs { bucket } => {
            let gcs = GcsSettings {
                data_endpoint: settings.gcs_data_address(),
                control_endpoint: settings.gcs_control_address(),
                ..GcsSettings::new(bucket)
            };
            Arc::new(GcsStore::connect(gcs).await?)
        }
        StoreLocation::S3 { bucket } => Arc::new(S3Store::connect(s3_settings(bucket, settings))?),
        StoreLocation::Directory(path) => Arc::new(DirectoryStore::open(path)?),
    };
    let observed: Arc<dyn ObjectStore> = Arc::new(ObservedStore::new(store, metrics));
    Ok(Arc::new(RetryingStore::new(observed, Policy::default())))
}

/// Where events go, and the queues by which `worker` reads `topics`.
pub async fn subscribe(
    run: &RunSettings,
    settings: &QueueSettings,
    worker: &str,
    topics: &[Topic],
) -> Result<(Arc<dyn EventSink>, Vec<Arc<dyn Queue>>), QueueError> {
    let pubsub = PubSub::connect(PubSubSettings {
        project: settings.project.clone(),
        topic_prefix: settings.topic_prefix.clone(),
        emulator_host: settings.pubsub_emulator_host.clone(),
    });
    let pubsub = pubsub.await?;
    let mut queues: Vec<Arc<dyn Queue>> = Vec::new();
    for &topic in topics {
        let subscription = PubSubSubscription {
            name: settings.subscription(worker, topic),
            topic,
            target: settings.target.clone(),
            lease: settings.lease,
            max_attempts: settings.max_attempts,
            dead_letter_topic: settings.dead_letter_topic.clone(),
            stays: !run.one_shot,
        };
        queues.push(Arc::new(pubsub.subscribe(subscription).await?));
    }
    Ok((Arc::new(pubsub), queues))
}

fn s3_settings(bucket: &str, settings: &StoreSettings) -> S3Settings {
    let credentials = settings.s3_access_key_id.clone().zip(settings.s3_secret_access_key.as_ref());
    let session_token = settings.s3_session_token.as_ref().map(|token| token.reveal().to_owned());
    S3Settings {
        endpoint: settings.s3_address(),
        credentials: credentials.map(|(access_key_id, secret)| S3Credentials {
            access_key_id,
            secret_access_key: secret.reveal().to_owned(),
            session_token,
        }),
        ..S3Settings::new(bucket, &settings.s3_region)
    }
}
