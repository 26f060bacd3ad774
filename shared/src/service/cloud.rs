//! The adapters that settings name: the store, and the queues on Pub/Sub.

use std::sync::Arc;

use super::metrics::Metrics;
use super::observed_store::ObservedStore;
use crate::adapters::directory_store::DirectoryStore;
use crate::adapters::gcs::{GcsSettings, GcsStore};
use crate::adapters::pubsub::{PubSub, PubSubSettings, PubSubSubscription};
use crate::event::Topic;
use crate::ports::object_store::{ObjectStore, StoreError};
use crate::ports::queue::{EventSink, Queue, QueueError};
use crate::retry::{Policy, RetryingStore};
use crate::settings::{QueueSettings, StoreLocation, StoreSettings};

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
        StoreLocation::S3 { bucket } => s3(bucket, settings)?,
        StoreLocation::Directory(path) => Arc::new(DirectoryStore::open(path)?),
    };
    let observed: Arc<dyn ObjectStore> = Arc::new(ObservedStore::new(store, metrics));
    Ok(Arc::new(RetryingStore::new(observed, Policy::default())))
}

/// Where events go, and the queues by which `worker` reads `topics`.
pub async fn subscribe(
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
        };
        queues.push(Arc::new(pubsub.subscribe(subscription).await?));
    }
    Ok((Arc::new(pubsub), queues))
}

fn s3(bucket: &str, settings: &StoreSettings) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let address = settings.s3_endpoint.as_ref().map_or("Amazon S3", |url| url.as_str());
    Err(StoreError::Permanent {
        operation: "open bucket",
        key: format!("s3://{bucket} at {address}, region {}", settings.s3_region),
        source: "this build has no adapter for S3: use gs://BUCKET or a directory".into(),
    })
}
