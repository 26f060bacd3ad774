//! Writes in one request, and how a write knows its own object again.

use std::error::Error as _;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_storage::error::WriteError;
use google_cloud_storage::{Error, model};
use tracing::warn;

use super::GcsStore;
use super::error::{classify, is_not_found};
use crate::adapters::mark::{MARK_FIELD, new_mark};
use crate::ports::object_store::{Headers, ObjectStore, StoreError};

/// Deletions under way at once.
const PARALLEL_DELETES: usize = 32;

impl GcsStore {
    /// Sends one object in one request; a request that breaks is sent again whole.
    pub(super) async fn write_whole(
        &self,
        key: &str,
        bytes: Bytes,
        if_generation: Option<i64>,
        headers: &Headers,
    ) -> Result<model::Object, StoreError> {
        let mark = new_mark(key)?;
        let checksum = crc32c::crc32c(&bytes);
        let mut request = self
            .data
            .write_object(&self.bucket, key, bytes)
            .set_content_type(&headers.content_type)
            .set_cache_control(&headers.cache_control)
            .set_metadata([(MARK_FIELD, &mark)])
            .with_known_crc32c(checksum)
            .with_resumable_upload_threshold(usize::MAX)
            .with_idempotency(true);
        if let Some(generation) = if_generation {
            request = request.set_if_generation_match(generation);
        }
        match request.send_buffered().await {
            Ok(stored) => Ok(stored),
            Err(error) => match mismatched(&error) {
                Some(stored) => Err(self.remove_corrupt(key, stored, checksum).await),
                None => self.or_own(key, &mark, classify("write", key, error, if_generation)).await,
            },
        }
    }

    /// The object in the way if this very write made it, otherwise the error.
    pub(super) async fn or_own(&self, key: &str, mark: &str, error: StoreError) -> Result<model::Object, StoreError> {
        if !matches!(error, StoreError::AlreadyExists { .. } | StoreError::Changed { .. }) {
            return Err(error);
        }
        let found = self.find(key).await?;
        found.filter(|object| object.metadata.get(MARK_FIELD).is_some_and(|found| found == mark)).ok_or(error)
    }

    pub(super) async fn find(&self, key: &str) -> Result<Option<model::Object>, StoreError> {
        match self.control.get_object().set_bucket(&self.bucket).set_object(key).send().await {
            Ok(object) => Ok(Some(object)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(classify("look up", key, error, None)),
        }
    }

    /// Deletes an object of which the service reports another checksum than that of what was sent.
    pub(super) async fn remove_corrupt(&self, key: &str, stored: &model::Object, sent: u32) -> StoreError {
        let found = stored.checksums.as_ref().and_then(|checksums| checksums.crc32c).unwrap_or_default();
        let request = self.control.delete_object().set_bucket(&self.bucket).set_object(key);
        let request = request.set_if_generation_match(stored.generation).with_idempotency(true);
        match request.send().await {
            Err(error) if !is_not_found(&error) => warn!(key, %error, "an object that was not stored as sent remains"),
            _ => {}
        }
        let reason = format!("sent CRC32C {sent:08x}, stored {found:08x}");
        StoreError::Corrupt { key: key.to_owned(), reason }
    }

    pub(super) async fn delete_all(&self, keys: Vec<String>) -> Result<(), StoreError> {
        let deletes = futures::stream::iter(keys).map(|key| {
            let store = self.clone();
            async move { store.delete(&key).await }
        });
        deletes.buffer_unordered(PARALLEL_DELETES).try_collect().await
    }
}

/// The object that was stored with another checksum, if that is what the client found.
fn mismatched(error: &Error) -> Option<&model::Object> {
    match error.source()?.downcast_ref::<WriteError>()? {
        WriteError::ChecksumMismatch { object, .. } => Some(object),
        _ => None,
    }
}
