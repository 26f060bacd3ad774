//! The object store with every repeatable call retried.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use sha2::Digest;
use tracing::warn;

use super::{Policy, retry};
use crate::ids::Sha256;
use crate::ports::object_store::{
    ByteStream, Expected, Headers, Object, ObjectMeta, ObjectStore, Precondition, StoreError, Upload,
};
use crate::worker::error_chain;

/// Retries the transient errors of the store that it decorates.
///
/// A write whose outcome is unknown is made again; where the second try then finds its own first one
/// (`AlreadyExists`, `Changed`), the stored content decides: the same content means that the write succeeded.
/// The chunks of an upload and of a stream are not retried here: they cannot be repeated.
#[derive(Debug)]
pub struct RetryingStore<S: ?Sized = dyn ObjectStore> {
    inner: Arc<S>,
    policy: Policy,
}

impl<S: ObjectStore + ?Sized + 'static> RetryingStore<S> {
    /// Decorates `inner`.
    pub fn new(inner: Arc<S>, policy: Policy) -> Self {
        Self { inner, policy }
    }

    async fn retry<T, F>(&self, operation: &str, key: &str, call: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        retry(&self.policy, &format!("{operation} {key}"), StoreError::is_transient, call).await
    }

    /// What is known of the object, if its content is `bytes`.
    async fn same_content(&self, key: &str, bytes: &Bytes) -> Result<Option<ObjectMeta>, StoreError> {
        match self.get(key, bytes.len() as u64).await {
            Ok(object) => Ok((object.bytes == *bytes).then_some(object.meta)),
            Err(StoreError::TooLarge { .. } | StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl<S: ObjectStore + ?Sized + 'static> ObjectStore for RetryingStore<S> {
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        self.retry("head", key, || self.inner.head(key)).await
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Object, StoreError> {
        self.retry("get", key, || self.inner.get(key, max_bytes)).await
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError> {
        self.retry("read", key, || self.inner.read(key, range.clone())).await
    }

    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        precondition: Precondition,
        headers: &Headers,
    ) -> Result<ObjectMeta, StoreError> {
        let outcome_unknown = AtomicBool::new(false);
        let put = || async {
            let stored = self.inner.put(key, bytes.clone(), precondition.clone(), headers).await;
            outcome_unknown.fetch_or(stored.as_ref().is_err_and(StoreError::is_transient), SeqCst);
            stored
        };
        let error = match self.retry("put", key, put).await {
            Ok(meta) => return Ok(meta),
            Err(error) => error,
        };
        let perhaps_own = matches!(error, StoreError::AlreadyExists { .. } | StoreError::Changed { .. });
        if !perhaps_own || !outcome_unknown.into_inner() {
            return Err(error);
        }
        self.same_content(key, &bytes).await?.ok_or(error)
    }

    async fn upload(&self, key: &str, headers: &Headers) -> Result<Box<dyn Upload>, StoreError> {
        let inner = self.retry("start upload", key, || self.inner.upload(key, headers)).await?;
        let store = Self { inner: Arc::clone(&self.inner), policy: self.policy.clone() };
        Ok(Box::new(CheckedUpload { inner, store, key: key.to_owned() }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.retry("list", prefix, || self.inner.list(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.retry("delete", key, || self.inner.delete(key)).await
    }

    async fn sweep_uploads(&self, min_age: Duration) -> Result<usize, StoreError> {
        self.retry("sweep uploads", "", || self.inner.sweep_uploads(min_age)).await
    }
}

/// An upload whose end, where it is unknown, is looked up.
struct CheckedUpload<S: ?Sized> {
    inner: Box<dyn Upload>,
    store: RetryingStore<S>,
    key: String,
}

#[async_trait]
impl<S: ObjectStore + ?Sized + 'static> Upload for CheckedUpload<S> {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>, expected: Expected) -> Result<ObjectMeta, StoreError> {
        let Self { inner, store, key } = *self;
        let error = match inner.finish(expected).await {
            Err(error @ StoreError::Transient { .. }) => error,
            known => return known,
        };
        warn!(key, error = error_chain(&error), "end of upload unknown, looking at what is stored");
        let Some(meta) = store.head(&key).await? else { return Err(error) };
        if meta.size == expected.size && sha256_of(&store, &key, meta.size).await? == expected.sha256 {
            return Ok(meta);
        }
        Err(StoreError::AlreadyExists { key })
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.inner.abort().await
    }
}

async fn sha256_of(store: &dyn ObjectStore, key: &str, size: u64) -> Result<Sha256, StoreError> {
    let mut chunks = store.read(key, 0..size).await?;
    let mut hash = sha2::Sha256::new();
    while let Some(chunk) = chunks.next().await {
        hash.update(chunk?);
    }
    Ok(Sha256(hash.finalize().into()))
}
