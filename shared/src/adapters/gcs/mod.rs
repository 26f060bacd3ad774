//! The object store on Google Cloud Storage.
//!
//! Reads and writes go by JSON over HTTP (`data` endpoint), listing, composing and deleting by gRPC (`control`
//! endpoint); emulators serve the two on different ports. A large object is sent in parts, see [`upload`].
//!
//! The client sends a request again when its answer is lost, so a create-only write can find its own object in the way.
//! Every write therefore carries a mark of its own in the object's metadata: the object in the way is ours if it has it.

mod error;
mod upload;
mod write;

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_gax::retry_policy::{LimitedElapsedTime, RetryPolicyExt};
use google_cloud_storage::client::{Storage, StorageControl};
use google_cloud_storage::model;
use google_cloud_storage::model_ext::ReadRange;
use google_cloud_storage::read_object::ReadObjectResponse;
use google_cloud_storage::retry_policy::RetryableErrors;

use self::error::{broken, classify, is_not_found};
use self::upload::{PARTS_PREFIX, PartUpload};
use crate::ports::object_store::{
    ByteStream, Generation, Headers, Object, ObjectMeta, ObjectStore, Precondition, StoreError, Upload, check_key,
};

/// Where a bucket is and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcsSettings {
    /// The bucket's name.
    pub bucket: String,
    /// The address of the JSON API; none means Google's.
    pub data_endpoint: Option<String>,
    /// The address of the gRPC API; none means Google's.
    pub control_endpoint: Option<String>,
    /// Bytes of one part of a large object; each is held in memory and sent again whole when a request breaks.
    pub part_size_bytes: usize,
    /// Parts under way at once.
    pub parallel_parts: usize,
    /// How long a request that fails is sent again.
    pub retry_for: Duration,
    /// The first pause between two tries; later ones grow.
    pub retry_pause: Duration,
}

impl GcsSettings {
    /// The bucket at Google's own service, 16 MiB parts, four at once.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            data_endpoint: None,
            control_endpoint: None,
            part_size_bytes: 16 * 1024 * 1024,
            parallel_parts: 4,
            retry_for: Duration::from_secs(180),
            retry_pause: Duration::from_secs(1),
        }
    }
}

impl GcsSettings {
    fn retries(&self) -> LimitedElapsedTime<RetryableErrors> {
        RetryableErrors.with_time_limit(self.retry_for)
    }

    fn pauses(&self) -> Result<ExponentialBackoff, google_cloud_gax::exponential_backoff::Error> {
        let builder = ExponentialBackoffBuilder::new().with_initial_delay(self.retry_pause);
        builder.with_maximum_delay(self.retry_pause.max(Duration::from_secs(15))).build()
    }
}

/// A Cloud Storage bucket.
#[derive(Clone)]
pub struct GcsStore {
    data: Storage,
    control: StorageControl,
    /// `projects/_/buckets/<bucket>`.
    bucket: String,
    settings: GcsSettings,
}

impl GcsStore {
    /// Connects with Application Default Credentials, or with none where an endpoint is given.
    pub async fn connect(settings: GcsSettings) -> Result<Self, StoreError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Permanent {
            operation: "connect to bucket",
            key: settings.bucket.clone(),
            source,
        };
        let pauses = || settings.pauses().map_err(|error| failed(error.into()));
        let mut data = Storage::builder().with_retry_policy(settings.retries()).with_backoff_policy(pauses()?);
        if let Some(endpoint) = &settings.data_endpoint {
            data = data.with_endpoint(endpoint).with_credentials(anonymous::Builder::new().build());
        }
        let mut control =
            StorageControl::builder().with_retry_policy(settings.retries()).with_backoff_policy(pauses()?);
        if let Some(endpoint) = &settings.control_endpoint {
            control = control.with_endpoint(endpoint).with_credentials(anonymous::Builder::new().build());
        }
        Ok(Self {
            data: data.build().await.map_err(|error| failed(error.into()))?,
            control: control.build().await.map_err(|error| failed(error.into()))?,
            bucket: format!("projects/_/buckets/{}", settings.bucket),
            settings,
        })
    }

    async fn open(&self, key: &str, range: ReadRange) -> Result<ReadObjectResponse, StoreError> {
        let request = self.data.read_object(&self.bucket, key).set_read_range(range);
        request.send().await.map_err(|error| classify("read", key, error, None))
    }

    async fn list_all(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut items = self.control.list_objects().set_parent(&self.bucket).set_prefix(prefix).by_item();
        let mut found = Vec::new();
        while let Some(object) = items.next().await {
            found.push(meta(&object.map_err(|error| classify("list", prefix, error, None))?));
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

#[async_trait]
impl ObjectStore for GcsStore {
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        check_key(key)?;
        Ok(self.find(key).await?.as_ref().map(meta))
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Object, StoreError> {
        check_key(key)?;
        let mut response = self.open(key, ReadRange::all()).await?;
        let highlights = response.object();
        let size = u64::try_from(highlights.size).unwrap_or(0);
        let too_large = |size_bytes| StoreError::TooLarge { key: key.to_owned(), size_bytes, max_bytes };
        if size > max_bytes {
            return Err(too_large(size));
        }
        let mut bytes = BytesMut::with_capacity(usize::try_from(size).unwrap_or(0));
        while let Some(chunk) = response.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| classify("read", key, error, None))?);
            // The size that was announced may be missing or wrong.
            if bytes.len() as u64 > max_bytes {
                return Err(too_large(bytes.len() as u64));
            }
        }
        let size = bytes.len() as u64;
        let generation = Generation(highlights.generation.to_string());
        let known = self.head(key).await?.filter(|meta| meta.generation == generation);
        let updated = known.map_or_else(Utc::now, |meta| meta.updated);
        Ok(Object { meta: ObjectMeta { key: key.to_owned(), size, generation, updated }, bytes: bytes.freeze() })
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError> {
        check_key(key)?;
        let wanted = range.end.saturating_sub(range.start);
        let size = self.head(key).await?.ok_or_else(|| StoreError::NotFound { key: key.to_owned() })?.size;
        if range.start > range.end || range.end > size {
            return Err(StoreError::Permanent {
                operation: "read",
                key: key.to_owned(),
                source: format!("range {}..{} leaves the object's {size} bytes", range.start, range.end).into(),
            });
        }
        if wanted == 0 {
            return Ok(futures::stream::empty().boxed());
        }
        let response = self.open(key, ReadRange::segment(range.start, wanted)).await?;
        Ok(stream_exactly(key.to_owned(), response, wanted))
    }

    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        precondition: Precondition,
        headers: &Headers,
    ) -> Result<ObjectMeta, StoreError> {
        check_key(key)?;
        let if_generation = match &precondition {
            Precondition::Create => Some(0),
            Precondition::Generation(Generation(text)) => {
                Some(text.parse().map_err(|_| StoreError::Changed { key: key.to_owned() })?)
            }
            Precondition::None => None,
        };
        let stored = self.write_whole(key, bytes, if_generation, headers).await?;
        Ok(meta(&stored))
    }

    async fn upload(&self, key: &str, headers: &Headers) -> Result<Box<dyn Upload>, StoreError> {
        check_key(key)?;
        Ok(Box::new(PartUpload::new(self.clone(), key, headers)?))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut found = self.list_all(prefix).await?;
        found.retain(|meta| !meta.key.starts_with(PARTS_PREFIX));
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_key(key)?;
        let request = self.control.delete_object().set_bucket(&self.bucket).set_object(key).with_idempotency(true);
        match request.send().await {
            Ok(()) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(classify("delete", key, error, None)),
        }
    }

    async fn sweep_uploads(&self, min_age: Duration) -> Result<usize, StoreError> {
        let parts = self.list_all(PARTS_PREFIX).await?;
        let age = |part: &ObjectMeta| Utc::now().signed_duration_since(part.updated).to_std().unwrap_or_default();
        let old: Vec<String> = parts.into_iter().filter(|part| age(part) >= min_age).map(|part| part.key).collect();
        let removed = old.len();
        self.delete_all(old).await?;
        Ok(removed)
    }
}

/// The response's chunks; an error where it ends before `wanted` bytes came.
fn stream_exactly(key: String, response: ReadObjectResponse, wanted: u64) -> ByteStream {
    futures::stream::unfold(Some((response, wanted)), move |state| {
        let key = key.clone();
        async move {
            let (mut response, left) = state?;
            match response.next().await {
                Some(Ok(chunk)) => {
                    let left = left.saturating_sub(chunk.len() as u64);
                    Some((Ok(chunk), Some((response, left))))
                }
                Some(Err(error)) => Some((Err(classify("read", &key, error, None)), None)),
                None if left > 0 => Some((Err(broken("read", &key, format!("ended {left} bytes early"))), None)),
                None => None,
            }
        }
    })
    .boxed()
}

fn meta(object: &model::Object) -> ObjectMeta {
    ObjectMeta {
        key: object.name.clone(),
        size: u64::try_from(object.size).unwrap_or(0),
        generation: Generation(object.generation.to_string()),
        updated: object.update_time.as_ref().or(object.create_time.as_ref()).map_or_else(Utc::now, |time| {
            DateTime::from_timestamp(time.seconds(), u32::try_from(time.nanos()).unwrap_or(0)).unwrap_or_default()
        }),
    }
}
