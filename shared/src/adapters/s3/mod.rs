//! The object store on S3 and what speaks its protocol: MinIO, R2, AWS.
//!
//! Create-only writes use `If-None-Match: *`, swaps `If-Match` with the object's digest. A large object is a multipart
//! upload, see [`upload`]. Addresses are path-style. Nothing is read from the environment.

mod error;
mod upload;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{SubsecRound, Utc};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, GetOptions, GetRange, HeaderMap, HeaderValue,
    ObjectStore as _, ObjectStoreExt, PutMode, PutOptions, RetryConfig, UpdateVersion,
};

use self::error::{classify, classify_bucket, classify_write};
use self::upload::{MARKERS_PREFIX, MultipartUpload};
use crate::adapters::mark::{MARK_FIELD, new_mark};
use crate::clock::{Clock, SystemClock};
use crate::ports::object_store::{
    ByteStream, Generation, Headers, Object, ObjectMeta, ObjectStore, Precondition, StoreError, Upload, check_key,
};

/// Bytes of one request of a long read.
const READ_BYTES: u64 = 32 * 1024 * 1024;
/// How long one request may take; a part on a slow line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);

/// Where a bucket is and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// The bucket's name.
    pub bucket: String,
    /// The address of the service; none means AWS in `region`.
    pub endpoint: Option<String>,
    /// The region; `auto` for R2, any for MinIO.
    pub region: String,
    /// The key; none means the credentials of the machine that this runs on.
    pub credentials: Option<S3Credentials>,
    /// Bytes of one part of a large object, at least 5 MiB; an object has at most 10,000 parts.
    pub part_size_bytes: usize,
    /// Parts under way at once; each is held in memory.
    pub parallel_parts: usize,
    /// How long a request that fails is sent again.
    pub retry_for: Duration,
    /// The first pause between two tries; later ones grow.
    pub retry_pause: Duration,
}

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// The key's name.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// The token of temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl S3Settings {
    /// A bucket of AWS; parts of 64 MiB, three at once.
    pub fn new(bucket: impl Into<String>, region: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            endpoint: None,
            region: region.into(),
            credentials: None,
            part_size_bytes: 64 * 1024 * 1024,
            parallel_parts: 3,
            retry_for: Duration::from_secs(180),
            retry_pause: Duration::from_millis(500),
        }
    }

    fn client(&self, options: ClientOptions) -> Result<AmazonS3, object_store::Error> {
        let backoff = BackoffConfig { init_backoff: self.retry_pause, ..BackoffConfig::default() };
        let retry = RetryConfig { backoff, max_retries: 100, retry_timeout: self.retry_for };
        let plain = self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(retry)
            .with_client_options(options.with_timeout(REQUEST_TIMEOUT).with_allow_http(plain));
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(credentials) = &self.credentials {
            builder = builder
                .with_access_key_id(&credentials.access_key_id)
                .with_secret_access_key(&credentials.secret_access_key);
            if let Some(token) = &credentials.session_token {
                builder = builder.with_token(token);
            }
        }
        builder.build()
    }
}

/// A bucket that speaks S3.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Arc<AmazonS3>,
    /// Says `If-None-Match: *` with every request; completes multipart uploads only where no object is.
    creating: Arc<AmazonS3>,
    clock: Arc<dyn Clock>,
    settings: Arc<S3Settings>,
}

impl S3Store {
    /// Connects; nothing is sent yet.
    pub fn connect(settings: S3Settings) -> Result<Self, StoreError> {
        let failed = |error: object_store::Error| StoreError::Permanent {
            operation: "connect to bucket",
            key: settings.bucket.clone(),
            source: error.into(),
        };
        let mut only_new = HeaderMap::new();
        only_new.insert("if-none-match", HeaderValue::from_static("*"));
        Ok(Self {
            client: Arc::new(settings.client(ClientOptions::new()).map_err(failed)?),
            creating: Arc::new(settings.client(ClientOptions::new().with_default_headers(only_new)).map_err(failed)?),
            clock: Arc::new(SystemClock),
            settings: Arc::new(settings),
        })
    }

    /// Tells the age of abandoned uploads by this clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// What is known of an object and the mark of the write that made it.
    async fn find(&self, key: &str) -> Result<Option<(ObjectMeta, Option<String>)>, StoreError> {
        let head = GetOptions { head: true, ..GetOptions::default() };
        match self.client.get_opts(&path(key)?, head).await {
            Ok(found) => {
                let mark = found.attributes.get(&Attribute::Metadata(MARK_FIELD.into()));
                Ok(Some((meta(&found.meta), mark.map(|mark| mark.as_ref().to_owned()))))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(classify("look up", key, error)),
        }
    }

    /// The object in the way if this very write made it, otherwise the error.
    async fn or_own(&self, key: &str, mark: &str, error: StoreError) -> Result<ObjectMeta, StoreError> {
        match self.find(key).await? {
            Some((meta, Some(found))) if found == mark => Ok(meta),
            _ => Err(error),
        }
    }

    async fn list_all(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let folder = prefix.rsplit_once('/').map(|(folder, _)| path(folder)).transpose()?;
        let listed: Vec<_> = self
            .client
            .list(folder.as_ref())
            .try_collect()
            .await
            .map_err(|error| classify_bucket("list", prefix, &self.settings.bucket, error))?;
        let mut found: Vec<ObjectMeta> = listed.iter().map(meta).collect();
        found.retain(|object| object.key.starts_with(prefix));
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

/// The attributes of an object that `mark`s write makes.
fn attributes(headers: &Headers, mark: &str) -> Attributes {
    Attributes::from_iter([
        (Attribute::ContentType, headers.content_type.clone()),
        (Attribute::CacheControl, headers.cache_control.clone()),
        (Attribute::Metadata(MARK_FIELD.into()), mark.to_owned()),
    ])
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        check_key(key)?;
        Ok(self.find(key).await?.map(|(meta, _)| meta))
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Object, StoreError> {
        check_key(key)?;
        let found = self.client.get(&path(key)?).await.map_err(|error| classify("read", key, error))?;
        if found.meta.size > max_bytes {
            return Err(StoreError::TooLarge { key: key.to_owned(), size_bytes: found.meta.size, max_bytes });
        }
        let meta = meta(&found.meta);
        let bytes = found.bytes().await.map_err(|error| classify("read", key, error))?;
        Ok(Object { meta, bytes })
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError> {
        check_key(key)?;
        let meta = self.head(key).await?.ok_or_else(|| StoreError::NotFound { key: key.to_owned() })?;
        if range.start > range.end || range.end > meta.size {
            return Err(StoreError::Permanent {
                operation: "read",
                key: key.to_owned(),
                source: format!("range {}..{} leaves the object's {} bytes", range.start, range.end, meta.size).into(),
            });
        }
        let store = self.clone();
        let key = key.to_owned();
        let starts = futures::stream::iter(range.clone().step_by(READ_BYTES as usize));
        let pieces = starts.then(move |start| {
            let piece = start..range.end.min(start + READ_BYTES);
            read_piece(store.clone(), key.clone(), meta.generation.clone(), piece)
        });
        Ok(pieces.try_flatten().boxed())
    }

    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        precondition: Precondition,
        headers: &Headers,
    ) -> Result<ObjectMeta, StoreError> {
        check_key(key)?;
        let (mark, size) = (new_mark(key)?, bytes.len() as u64);
        let mode = match &precondition {
            Precondition::Create => PutMode::Create,
            Precondition::Generation(Generation(e_tag)) => {
                PutMode::Update(UpdateVersion { e_tag: Some(e_tag.clone()), version: None })
            }
            Precondition::None => PutMode::Overwrite,
        };
        let options = PutOptions { mode, attributes: attributes(headers, &mark), ..PutOptions::default() };
        let put = match self.client.put_opts(&path(key)?, bytes.into(), options).await {
            Ok(put) => put,
            Err(error) => {
                let error = classify_write(key, &self.settings.bucket, &precondition, error);
                return match error {
                    StoreError::AlreadyExists { .. } | StoreError::Changed { .. } => {
                        self.or_own(key, &mark, error).await
                    }
                    error => Err(error),
                };
            }
        };
        let generation = Generation(put.e_tag.unwrap_or_default());
        let known = self.head(key).await?.filter(|meta| meta.generation == generation);
        let updated = || Utc::now().trunc_subsecs(0);
        Ok(known.unwrap_or_else(|| ObjectMeta { key: key.to_owned(), size, generation, updated: updated() }))
    }

    async fn upload(&self, key: &str, headers: &Headers) -> Result<Box<dyn Upload>, StoreError> {
        check_key(key)?;
        Ok(Box::new(MultipartUpload::begin(self.clone(), key, headers).await?))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut found = self.list_all(prefix).await?;
        found.retain(|meta| !meta.key.starts_with(MARKERS_PREFIX));
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_key(key)?;
        match self.client.delete(&path(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(classify("delete", key, error)),
        }
    }

    async fn sweep_uploads(&self, min_age: Duration) -> Result<usize, StoreError> {
        upload::sweep(self, min_age).await
    }
}

/// One request of a read, of the object as it was when the read began.
async fn read_piece(
    store: S3Store,
    key: String,
    generation: Generation,
    piece: Range<u64>,
) -> Result<ByteStream, StoreError> {
    let options =
        GetOptions { range: Some(GetRange::Bounded(piece)), if_match: Some(generation.0), ..GetOptions::default() };
    let found = store.client.get_opts(&path(&key)?, options).await.map_err(|error| classify("read", &key, error))?;
    Ok(found.into_stream().map_err(move |error| classify("read", &key, error)).boxed())
}

fn path(key: &str) -> Result<Path, StoreError> {
    Path::parse(key).map_err(|error| classify("name", key, error.into()))
}

fn meta(object: &object_store::ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        key: object.location.to_string(),
        size: object.size,
        generation: Generation(object.e_tag.clone().unwrap_or_default()),
        updated: object.last_modified,
    }
}
