//! A large object as a multipart upload that creates the object when it is completed, if none is there.
//!
//! S3 keeps the parts of an upload that nobody completes, for ever and unseen, and the client cannot list them. So each
//! upload leaves a marker under [`MARKERS_PREFIX`] before its first part; the sweep aborts the uploads of old markers. An
//! upload that dies between its beginning and its marker has no parts and costs nothing.
//!
//! The service checks every part against the SHA-256 that its request is signed with.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::{MultipartId, ObjectStoreExt, PutMultipartOptions, PutPayload};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::error::{classify, classify_bucket, classify_write};
use super::{S3Store, attributes, path};
use crate::adapters::mark::new_mark;
use crate::adapters::parts::{PartBuffer, Sending};
use crate::ports::object_store::{Expected, Headers, ObjectMeta, ObjectStore, Precondition, StoreError, Upload};

/// Where markers of unfinished uploads lie; no listing shows them.
pub const MARKERS_PREFIX: &str = ".uploads/";
/// The most parts of an object, S3's limit.
const MAX_PARTS: usize = 10_000;
/// The largest marker that is read, in bytes.
const MAX_MARKER_BYTES: u64 = 4096;

/// What the sweep needs to abort an upload.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    key: String,
    upload_id: MultipartId,
}

/// An object being sent in parts.
pub struct MultipartUpload {
    store: S3Store,
    key: String,
    upload_id: MultipartId,
    mark: String,
    buffer: PartBuffer,
    begun: usize,
    sending: Sending<(usize, PartId)>,
}

impl MultipartUpload {
    /// Begins an upload of `key` and leaves its marker.
    pub async fn begin(store: S3Store, key: &str, headers: &Headers) -> Result<Self, StoreError> {
        let mark = new_mark(key)?;
        let options = PutMultipartOptions { attributes: attributes(headers, &mark), ..PutMultipartOptions::default() };
        let begun = store.client.create_multipart_opts(&path(key)?, options).await;
        let upload_id = begun.map_err(|error| classify_bucket("upload", key, &store.settings.bucket, error))?;
        let upload = Self {
            buffer: PartBuffer::new(store.settings.part_size_bytes),
            sending: Sending::new(key, store.settings.parallel_parts),
            store,
            key: key.to_owned(),
            upload_id,
            mark,
            begun: 0,
        };
        upload.leave_marker().await?;
        Ok(upload)
    }

    fn marker_key(&self) -> String {
        format!("{MARKERS_PREFIX}{}", self.mark)
    }

    async fn leave_marker(&self) -> Result<(), StoreError> {
        let marker = Marker { key: self.key.clone(), upload_id: self.upload_id.clone() };
        let json = serde_json::to_vec(&marker).expect("strings always serialise");
        let key = self.marker_key();
        let put = self.store.client.put(&path(&key)?, json.into()).await;
        put.map(|_| ()).map_err(|error| classify("mark upload", &key, error))
    }

    async fn remove_marker(&self) {
        let key = self.marker_key();
        if let Err(error) = self.store.delete(&key).await {
            warn!(key, %error, "marker of a finished upload not deleted, the sweep removes it");
        }
    }

    async fn send_part(&mut self, part: Bytes) -> Result<(), StoreError> {
        if self.begun == MAX_PARTS {
            return Err(self.too_large());
        }
        let number = self.begun;
        self.begun += 1;
        let part = PutPayload::from_bytes(part);
        let (client, key, id) = (self.store.client.clone(), self.key.clone(), self.upload_id.clone());
        let sent = async move {
            let sent = client.put_part(&path(&key)?, &id, number, part).await;
            sent.map(|part| (number, part)).map_err(|error| classify("upload part of", &key, error))
        };
        self.sending.send(sent).await
    }

    fn too_large(&self) -> StoreError {
        let part = self.store.settings.part_size_bytes;
        let reason = format!("more than {MAX_PARTS} parts of {part} bytes; set larger parts");
        StoreError::Permanent { operation: "upload", key: self.key.clone(), source: reason.into() }
    }

    /// Sends what is left; the parts, in order.
    async fn send_rest(&mut self, expected: Expected) -> Result<Vec<PartId>, StoreError> {
        if let Some(last) = self.buffer.finish(&self.key, expected)? {
            self.send_part(last).await?;
        }
        let mut sent = self.sending.join_all().await?;
        sent.sort_by_key(|(number, _)| *number);
        Ok(sent.into_iter().map(|(_, part)| part).collect())
    }

    /// Creates the object, if there is none.
    async fn complete(&self, parts: Vec<PartId>) -> Result<ObjectMeta, StoreError> {
        let completed = self.store.creating.complete_multipart(&path(&self.key)?, &self.upload_id, parts).await;
        if let Err(error) = completed {
            let bucket = &self.store.settings.bucket;
            let error = classify_write(&self.key, bucket, &Precondition::Create, error);
            return self.store.or_own(&self.key, &self.mark, error).await;
        }
        let gone = || StoreError::Transient {
            operation: "look up",
            key: self.key.clone(),
            source: "the object was deleted right after its upload".into(),
        };
        let created = self.store.head(&self.key).await?.ok_or_else(gone)?;
        if created.size == self.buffer.size() {
            return Ok(created);
        }
        self.store.delete(&self.key).await?;
        let reason = format!("sent {} bytes, stored {}", self.buffer.size(), created.size);
        Err(StoreError::Corrupt { key: self.key.clone(), reason })
    }

    /// Removes the parts; what cannot be removed is left to the sweep, with its marker.
    async fn discard(&self) {
        match abort(&self.store, &self.key, &self.upload_id).await {
            Ok(()) => self.remove_marker().await,
            Err(error) => warn!(key = self.key, %error, "upload not aborted, the sweep does it"),
        }
    }
}

#[async_trait]
impl Upload for MultipartUpload {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        while let Some(part) = self.buffer.fill(&mut bytes) {
            self.send_part(part).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>, expected: Expected) -> Result<ObjectMeta, StoreError> {
        let finished = match self.send_rest(expected).await {
            Ok(parts) => self.complete(parts).await,
            Err(error) => Err(error),
        };
        match &finished {
            Ok(_) => self.remove_marker().await,
            Err(_) => {
                self.sending.stop().await;
                self.discard().await;
            }
        }
        finished
    }

    async fn abort(mut self: Box<Self>) -> Result<(), StoreError> {
        self.sending.stop().await;
        self.discard().await;
        Ok(())
    }
}

/// Aborts the uploads whose markers are older than `min_age`; returns how many.
pub async fn sweep(store: &S3Store, min_age: Duration) -> Result<usize, StoreError> {
    let mut removed = 0;
    for marker in store.list_all(MARKERS_PREFIX).await? {
        let age = store.clock.now().signed_duration_since(marker.updated).to_std().unwrap_or_default();
        if age < min_age {
            continue;
        }
        let object = match store.get(&marker.key, MAX_MARKER_BYTES).await {
            Ok(object) => object,
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        match serde_json::from_slice::<Marker>(&object.bytes) {
            Ok(Marker { key, upload_id }) => abort(store, &key, &upload_id).await?,
            Err(error) => warn!(key = marker.key, %error, "not a marker of an upload, deleted"),
        }
        store.delete(&marker.key).await?;
        removed += 1;
    }
    Ok(removed)
}

/// Aborts an upload; one that was completed or aborted before is not an error.
async fn abort(store: &S3Store, key: &str, upload_id: &MultipartId) -> Result<(), StoreError> {
    match store.client.abort_multipart(&path(key)?, upload_id).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(classify("abort upload of", key, error)),
    }
}
