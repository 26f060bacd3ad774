//! The object store with its calls timed and its failures counted.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::metrics::Metrics;
use crate::index::Index;
use crate::names;
use crate::ports::object_store::{
    ByteStream, Expected, Headers, Object, ObjectMeta, ObjectStore, Precondition, StoreError, Upload,
};

/// Counts what goes through the store that it decorates. Belongs inside the one that retries, so that it sees each try.
pub struct ObservedStore {
    inner: Arc<dyn ObjectStore>,
    metrics: Arc<Metrics>,
}

impl ObservedStore {
    /// Decorates `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    async fn observe<T>(
        &self,
        operation: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let done = self.metrics.time(&format!("store {operation}"), call).await;
        count_failure(&self.metrics, operation, &done);
        done
    }

    /// Whoever reads or writes the index knows how old each target's newest snapshot is.
    fn look_at(&self, key: &str, bytes: &Bytes) {
        if key != names::INDEX_KEY {
            return;
        }
        if let Ok(index) = serde_json::from_slice::<Index>(bytes) {
            self.metrics.listed(&index);
        }
    }
}

fn count_failure<T>(metrics: &Metrics, operation: &str, done: &Result<T, StoreError>) {
    if done.as_ref().is_err_and(StoreError::is_transient) {
        metrics.transient_failure(&format!("store {operation}"));
    }
}

/// What an object is, by the end of its key: `tar.zst`, `manifest.json`, `index.json`.
fn kind_of(key: &str) -> &str {
    names::parse_object_key(key).map_or(key, |(_, _, suffix)| suffix.trim_start_matches(['.', '/']))
}

#[async_trait]
impl ObjectStore for ObservedStore {
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        self.observe("head", self.inner.head(key)).await
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Object, StoreError> {
        let got = self.inner.get(key, max_bytes).await;
        count_failure(&self.metrics, "get", &got);
        let object = got?;
        self.look_at(key, &object.bytes);
        Ok(object)
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError> {
        self.observe("read", self.inner.read(key, range)).await
    }

    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        precondition: Precondition,
        headers: &Headers,
    ) -> Result<ObjectMeta, StoreError> {
        let put = self.observe("put", self.inner.put(key, bytes.clone(), precondition, headers)).await?;
        self.metrics.wrote(&format!("write {}", kind_of(key)), bytes.len() as u64);
        self.look_at(key, &bytes);
        Ok(put)
    }

    async fn upload(&self, key: &str, headers: &Headers) -> Result<Box<dyn Upload>, StoreError> {
        let inner = self.observe("start upload", self.inner.upload(key, headers)).await?;
        let stage = format!("write {}", kind_of(key));
        Ok(Box::new(ObservedUpload { inner, metrics: self.metrics.clone(), stage, started: Instant::now() }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.observe("list", self.inner.list(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.observe("delete", self.inner.delete(key)).await
    }

    async fn sweep_uploads(&self, min_age: Duration) -> Result<usize, StoreError> {
        self.observe("sweep uploads", self.inner.sweep_uploads(min_age)).await
    }
}

/// From its start to its end an upload is a stage: of the snapshotter's run it is most of it.
struct ObservedUpload {
    inner: Box<dyn Upload>,
    metrics: Arc<Metrics>,
    stage: String,
    started: Instant,
}

#[async_trait]
impl Upload for ObservedUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let size_bytes = bytes.len() as u64;
        let written = self.inner.write(bytes).await;
        count_failure(&self.metrics, "upload", &written);
        written?;
        self.metrics.wrote(&self.stage, size_bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>, expected: Expected) -> Result<ObjectMeta, StoreError> {
        let Self { inner, metrics, stage, started } = *self;
        let finished = inner.finish(expected).await;
        count_failure(&metrics, "finish upload", &finished);
        metrics.stage(&stage, started.elapsed(), if finished.is_ok() { "ok" } else { "error" });
        finished
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        let Self { inner, metrics, stage, started } = *self;
        metrics.stage(&stage, started.elapsed(), "error");
        inner.abort().await
    }
}
