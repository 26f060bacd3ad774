//! The object store: whole objects, immutable by default, each write with its precondition.
//!
//! Contract, held by `testkit::object_store_contract` on every adapter:
//! - A reader sees an object whole or not at all; what a failed or killed write leaves is invisible and is removed by
//!   `sweep_uploads`.
//! - Every write changes the object's generation; a write with a precondition that does not hold changes nothing. (On S3
//!   the generation is the content's digest: the same bytes written again have the same one.)
//! - `list` shows every object whose write has returned, ordered by key.
//! - Keys are [`check_key`]'s: relative, `/`-separated, without empty, `.` or `..` segments.
//! - Adapters retry nothing beyond what their client library does ([`crate::retry`] decorates them). After a transient
//!   error it is unknown whether the write took effect; the same call may be made again, and `AlreadyExists` may then
//!   be one's own earlier write: compare the content.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;

use crate::ids::Sha256;

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 512;

/// A place for objects: a bucket or a directory.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// What is known of an object; `None` if there is none.
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError>;

    /// A small object whole; [`StoreError::TooLarge`] beyond `max_bytes`, [`StoreError::NotFound`] if there is none.
    async fn get(&self, key: &str, max_bytes: u64) -> Result<Object, StoreError>;

    /// A range of an object as a stream of chunks; ends early only with an error.
    async fn read(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError>;

    /// Writes a small object whole, if `precondition` holds.
    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        precondition: Precondition,
        headers: &Headers,
    ) -> Result<ObjectMeta, StoreError>;

    /// Starts a large create-only object; nothing is visible until [`Upload::finish`].
    async fn upload(&self, key: &str, headers: &Headers) -> Result<Box<dyn Upload>, StoreError>;

    /// All objects whose key starts with `prefix`, ordered by key.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError>;

    /// Deletes an object; one that is not there is not an error.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Removes what abandoned uploads left and is older than `min_age`; returns how many.
    async fn sweep_uploads(&self, min_age: Duration) -> Result<usize, StoreError>;
}

/// A large object being written. Dropping it abandons it: nothing becomes visible.
#[async_trait]
pub trait Upload: Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError>;

    /// Makes the object visible, if what was stored has this size and digest and no object of that key exists.
    ///
    /// [`StoreError::AlreadyExists`] if one does; [`StoreError::Corrupt`] if the stored bytes differ.
    async fn finish(self: Box<Self>, expected: Expected) -> Result<ObjectMeta, StoreError>;

    /// Gives up and removes what was stored.
    async fn abort(self: Box<Self>) -> Result<(), StoreError>;
}

/// What an upload must amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of all bytes.
    pub sha256: Sha256,
}

impl Expected {
    /// How `found` differs, for [`StoreError::Corrupt`].
    pub fn difference(&self, found: &Self) -> String {
        if self.size != found.size {
            return format!("expected {} bytes, found {}", self.size, found.size);
        }
        format!("expected SHA-256 {}, found {}", self.sha256, found.sha256)
    }
}

/// When a write may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// Only if there is no such object.
    Create,
    /// Only if the object still has this generation.
    Generation(Generation),
    /// Always.
    None,
}

/// Names one state of one object; opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Generation(pub String);

/// What a store says about an object when it serves it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// `Content-Type`.
    pub content_type: String,
    /// `Cache-Control`.
    pub cache_control: String,
}

impl Headers {
    /// Headers of an object that never changes.
    pub fn immutable(content_type: &str) -> Self {
        Self { content_type: content_type.into(), cache_control: "public, max-age=31536000, immutable".into() }
    }

    /// Headers of an object that must be fetched anew each time.
    pub fn no_cache(content_type: &str) -> Self {
        Self { content_type: content_type.into(), cache_control: "no-cache".into() }
    }
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its state.
    pub generation: Generation,
    /// When it was written.
    pub updated: DateTime<Utc>,
}

/// A small object with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What is known of it; the content is of this generation.
    pub meta: ObjectMeta,
    /// All its bytes.
    pub bytes: Bytes,
}

/// Chunks of an object.
pub type ByteStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// Says what went wrong at the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("object not found: {key}")]
    NotFound {
        /// The object's key.
        key: String,
    },
    /// There is such an object already.
    #[error("object exists already: {key}")]
    AlreadyExists {
        /// The object's key.
        key: String,
    },
    /// The object has another generation by now.
    #[error("object changed meanwhile: {key}")]
    Changed {
        /// The object's key.
        key: String,
    },
    /// The object is larger than the caller takes.
    #[error("object {key} is {size_bytes} bytes, expected at most {max_bytes}")]
    TooLarge {
        /// The object's key.
        key: String,
        /// Its size.
        size_bytes: u64,
        /// The caller's limit.
        max_bytes: u64,
    },
    /// What was stored is not what was sent.
    #[error("object {key} was not stored as sent: {reason}")]
    Corrupt {
        /// The object's key.
        key: String,
        /// How it differs.
        reason: String,
    },
    /// A later call may succeed.
    #[error("{operation} {key}: {source}")]
    Transient {
        /// What was tried.
        operation: &'static str,
        /// The object's key or prefix.
        key: String,
        /// The adapter's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No later call will succeed without a person's help.
    #[error("{operation} {key}: {source}")]
    Permanent {
        /// What was tried.
        operation: &'static str,
        /// The object's key or prefix.
        key: String,
        /// The adapter's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// True where the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. } | Self::Corrupt { .. })
    }
}

/// Refuses keys that are not plain relative paths.
pub fn check_key(key: &str) -> Result<(), StoreError> {
    let legal = !key.is_empty()
        && key.len() <= MAX_KEY_BYTES
        && !key.chars().any(|c| c.is_control() || c == '\\')
        && key.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    if legal {
        return Ok(());
    }
    Err(StoreError::Permanent {
        operation: "name",
        key: key.chars().take(80).collect(),
        source: "expected a relative path without empty, . or .. segments".into(),
    })
}
