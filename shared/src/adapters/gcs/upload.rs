//! A large object sent in parts: each part is one request, sent again whole when it breaks; then the parts are composed.
//!
//! The client's own resumable upload loses a buffer when a request breaks in the middle and leaves a truncated object
//! behind, so it is not used. Parts live under [`PARTS_PREFIX`], where no listing shows them; up to 32 are composed into
//! one at a time, level by level. The last composition creates the object, and only if it does not exist and Cloud
//! Storage finds the CRC32C that was computed here over all bytes.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_storage::model::compose_object_request::SourceObject;
use google_cloud_storage::model::{Object, ObjectChecksums};
use tracing::warn;

use super::error::{classify, is_checksum_refusal};
use super::{GcsStore, meta};
use crate::adapters::mark::{MARK_FIELD, new_mark};
use crate::adapters::parts::{PartBuffer, Sending};
use crate::ports::object_store::{Expected, Headers, ObjectMeta, StoreError, Upload};

pub use crate::names::PARTS_PREFIX;

/// The most objects that one request composes.
const MAX_COMPOSED: usize = 32;
/// Compositions under way at once.
const PARALLEL_COMPOSES: usize = 8;

/// An object being sent in parts.
pub struct PartUpload {
    store: GcsStore,
    key: String,
    headers: Headers,
    /// The mark of this upload's object.
    mark: String,
    /// `.uploads/<mark>/`.
    prefix: String,
    buffer: PartBuffer,
    crc32c: u32,
    parts: Vec<String>,
    sending: Sending<()>,
}

impl PartUpload {
    /// An upload of `key`; nothing is sent before the first part is full.
    pub fn new(store: GcsStore, key: &str, headers: &Headers) -> Result<Self, StoreError> {
        let mark = new_mark(key)?;
        Ok(Self {
            buffer: PartBuffer::new(store.settings.part_size_bytes),
            sending: Sending::new(key, store.settings.parallel_parts),
            store,
            key: key.to_owned(),
            headers: headers.clone(),
            prefix: format!("{PARTS_PREFIX}{mark}/"),
            mark,
            crc32c: 0,
            parts: Vec::new(),
        })
    }

    async fn send_part(&mut self, part: Bytes) -> Result<(), StoreError> {
        let name = format!("{}0-{:08}", self.prefix, self.parts.len());
        self.parts.push(name.clone());
        let store = self.store.clone();
        let sent = async move {
            let headers = Headers { content_type: "application/octet-stream".into(), cache_control: "no-store".into() };
            store.write_whole(&name, part, None, &headers).await.map(|_| ())
        };
        self.sending.send(sent).await
    }

    async fn send_rest(&mut self, expected: Expected) -> Result<(), StoreError> {
        if let Some(last) = self.buffer.finish(&self.key, expected)? {
            self.send_part(last).await?;
        }
        self.sending.join_all().await.map(drop)
    }

    /// Composes level by level until the parts fit into one request; then creates the object from them.
    async fn compose(&self) -> Result<Object, StoreError> {
        let mut level = 1;
        let mut parts = self.parts.clone();
        while parts.len() > MAX_COMPOSED {
            let groups: Vec<Vec<String>> = parts.chunks(MAX_COMPOSED).map(<[String]>::to_vec).collect();
            let composed = futures::stream::iter(groups).enumerate().map(|(number, group)| {
                compose_part(self.store.clone(), format!("{}{level}-{number:08}", self.prefix), group)
            });
            parts = composed.buffered(PARALLEL_COMPOSES).try_collect().await?;
            level += 1;
        }
        self.create_from(&parts).await
    }

    async fn create_from(&self, parts: &[String]) -> Result<Object, StoreError> {
        let destination = Object::new()
            .set_name(&self.key)
            .set_bucket(&self.store.bucket)
            .set_content_type(&self.headers.content_type)
            .set_cache_control(&self.headers.cache_control)
            .set_metadata([(MARK_FIELD, &self.mark)]);
        let request = self.store.control.compose_object().set_source_objects(sources(parts));
        let request = request
            .set_destination(destination)
            .set_if_generation_match(0)
            .set_object_checksums(ObjectChecksums::new().set_crc32c(self.crc32c))
            .with_idempotency(true);
        let created = match request.send().await {
            Ok(created) => created,
            Err(error) if is_checksum_refusal(&error) => {
                let reason = format!("parts do not amount to CRC32C {:08x}: {error}", self.crc32c);
                return Err(StoreError::Corrupt { key: self.key.clone(), reason });
            }
            Err(error) => {
                let error = classify("compose", &self.key, error, Some(0));
                self.store.or_own(&self.key, &self.mark, error).await?
            }
        };
        match created.checksums.as_ref().and_then(|checksums| checksums.crc32c) {
            Some(found) if found != self.crc32c => {
                Err(self.store.remove_corrupt(&self.key, &created, self.crc32c).await)
            }
            _ => Ok(created),
        }
    }

    /// Removes the parts; what cannot be removed is left to the sweep.
    async fn clean(&self) {
        let left = match self.store.list_all(&self.prefix).await {
            Ok(left) => left.into_iter().map(|part| part.key).collect(),
            Err(error) => return warn!(key = self.key, %error, "parts not listed, the sweep removes them"),
        };
        if let Err(error) = self.store.delete_all(left).await {
            warn!(key = self.key, %error, "parts not deleted, the sweep removes them");
        }
    }
}

async fn compose_part(store: GcsStore, name: String, parts: Vec<String>) -> Result<String, StoreError> {
    let destination = Object::new().set_name(&name).set_bucket(&store.bucket);
    let request = store.control.compose_object().set_source_objects(sources(&parts));
    let request = request.set_destination(destination).with_idempotency(true);
    let composed = request.send().await.map_err(|error| classify("compose", &name, error, None))?;
    Ok(composed.name)
}

fn sources(parts: &[String]) -> impl Iterator<Item = SourceObject> {
    parts.iter().map(|part| SourceObject::new().set_name(part))
}

#[async_trait]
impl Upload for PartUpload {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        self.crc32c = crc32c::crc32c_append(self.crc32c, &bytes);
        while let Some(part) = self.buffer.fill(&mut bytes) {
            self.send_part(part).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>, expected: Expected) -> Result<ObjectMeta, StoreError> {
        let finished = match self.send_rest(expected).await {
            Ok(()) => self.compose().await,
            Err(error) => Err(error),
        };
        self.clean().await;
        finished.map(|object| meta(&object))
    }

    async fn abort(mut self: Box<Self>) -> Result<(), StoreError> {
        self.sending.stop().await;
        self.clean().await;
        Ok(())
    }
}
