//! A large object sent in parts: each part is one request, sent again whole when it breaks; then the parts are composed.
//!
//! The client's own resumable upload loses a buffer when a request breaks in the middle and leaves a truncated object
//! behind, so it is not used. Parts live under [`PARTS_PREFIX`], where no listing shows them; up to 32 are composed into
//! one at a time, level by level. The last composition creates the object, and only if it does not exist and Cloud
//! Storage finds the CRC32C that was computed here over all bytes.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use google_cloud_storage::model::compose_object_request::SourceObject;
use google_cloud_storage::model::{Object, ObjectChecksums};
use sha2::Digest;
use tokio::task::JoinSet;
use tracing::warn;

use super::error::classify;
use super::{GcsStore, meta};
use crate::ids::Sha256;
use crate::ports::object_store::{Expected, Headers, ObjectMeta, StoreError, Upload};

/// Where parts of unfinished objects lie.
pub const PARTS_PREFIX: &str = ".uploads/";
/// The most objects that one request composes.
const MAX_COMPOSED: usize = 32;

/// An object being sent in parts.
pub struct PartUpload {
    store: GcsStore,
    key: String,
    headers: Headers,
    /// `.uploads/<nonce>/`.
    prefix: String,
    buffer: BytesMut,
    size: u64,
    crc32c: u32,
    sha256: sha2::Sha256,
    parts: Vec<String>,
    sending: JoinSet<Result<(), StoreError>>,
}

impl PartUpload {
    /// An upload of `key`; nothing is sent before the first part is full.
    pub fn new(store: GcsStore, key: &str, headers: &Headers) -> Self {
        let nonce = format!("{:x}{:08x}", chrono::Utc::now().timestamp_micros(), std::process::id());
        let distinct = Sha256::of(format!("{key}{nonce}").as_bytes()).to_string();
        Self {
            buffer: BytesMut::with_capacity(store.settings.part_size_bytes),
            store,
            key: key.to_owned(),
            headers: headers.clone(),
            prefix: format!("{PARTS_PREFIX}{nonce}-{}/", &distinct[..16]),
            size: 0,
            crc32c: 0,
            sha256: sha2::Sha256::new(),
            parts: Vec::new(),
            sending: JoinSet::new(),
        }
    }

    async fn send_part(&mut self) -> Result<(), StoreError> {
        while self.sending.len() >= self.store.settings.parallel_parts {
            self.join_one().await?;
        }
        let part = self.buffer.split().freeze();
        let name = format!("{}0-{:08}", self.prefix, self.parts.len());
        self.parts.push(name.clone());
        let store = self.store.clone();
        self.sending.spawn(async move {
            let headers = Headers { content_type: "application/octet-stream".into(), cache_control: "no-store".into() };
            store.write_whole(&name, part, None, &headers).await.map(|_| ())
        });
        Ok(())
    }

    async fn join_one(&mut self) -> Result<(), StoreError> {
        match self.sending.join_next().await {
            None => Ok(()),
            Some(Ok(sent)) => sent,
            Some(Err(error)) => {
                Err(StoreError::Transient { operation: "upload", key: self.key.clone(), source: error.into() })
            }
        }
    }

    async fn join_all(&mut self) -> Result<(), StoreError> {
        while !self.sending.is_empty() {
            self.join_one().await?;
        }
        Ok(())
    }

    fn check(&self, expected: Expected) -> Result<(), StoreError> {
        let found = Expected { size: self.size, sha256: Sha256(self.sha256.clone().finalize().into()) };
        if found == expected {
            return Ok(());
        }
        Err(StoreError::Corrupt {
            key: self.key.clone(),
            reason: format!(
                "expected {} bytes of SHA-256 {}, was given {} bytes of {}",
                expected.size, expected.sha256, found.size, found.sha256
            ),
        })
    }

    /// Composes level by level until the parts fit into one request; then creates the object from them.
    async fn compose(&self) -> Result<Object, StoreError> {
        let mut level = 1;
        let mut parts = self.parts.clone();
        while parts.len() > MAX_COMPOSED {
            let mut composed = Vec::with_capacity(parts.len().div_ceil(MAX_COMPOSED));
            for (number, group) in parts.chunks(MAX_COMPOSED).enumerate() {
                let name = format!("{}{level}-{number:08}", self.prefix);
                self.compose_into(&name, group, None).await?;
                composed.push(name);
            }
            parts = composed;
            level += 1;
        }
        self.compose_into(&self.key, &parts, Some(self.crc32c)).await
    }

    async fn compose_into(&self, name: &str, parts: &[String], create: Option<u32>) -> Result<Object, StoreError> {
        let destination = Object::new().set_name(name).set_bucket(&self.store.bucket);
        let sources = parts.iter().map(|part| SourceObject::new().set_name(part));
        let request = self.store.control.compose_object().set_source_objects(sources);
        let request = match create {
            None => request.set_destination(destination),
            Some(crc32c) => request
                .set_destination(
                    destination
                        .set_content_type(&self.headers.content_type)
                        .set_cache_control(&self.headers.cache_control),
                )
                .set_if_generation_match(0)
                .set_object_checksums(ObjectChecksums::new().set_crc32c(crc32c)),
        };
        let composed = request.send().await.map_err(|error| classify("compose", name, error, create.map(|_| 0)))?;
        self.check_composed(name, &composed, create)?;
        Ok(composed)
    }

    fn check_composed(&self, name: &str, composed: &Object, expected: Option<u32>) -> Result<(), StoreError> {
        let found = composed.checksums.as_ref().and_then(|checksums| checksums.crc32c);
        match (expected, found) {
            (Some(expected), Some(found)) if expected != found => Err(StoreError::Corrupt {
                key: name.to_owned(),
                reason: format!("sent CRC32C {expected:08x}, composed {found:08x}"),
            }),
            _ => Ok(()),
        }
    }

    /// Removes the parts; what cannot be removed is left to the sweep.
    async fn clean(&self) {
        let left = match self.store.list_all(&self.prefix).await {
            Ok(left) => left,
            Err(error) => return warn!(key = self.key, %error, "parts not listed, the sweep removes them"),
        };
        for part in left {
            let request = self.store.control.delete_object().set_bucket(&self.store.bucket).set_object(&part.key);
            if let Err(error) = request.send().await {
                warn!(key = part.key, %error, "part not deleted, the sweep removes it");
            }
        }
    }
}

#[async_trait]
impl Upload for PartUpload {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        self.size += bytes.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, &bytes);
        self.sha256.update(&bytes);
        while !bytes.is_empty() {
            let room = self.store.settings.part_size_bytes - self.buffer.len();
            let taken = bytes.split_to(room.min(bytes.len()));
            self.buffer.extend_from_slice(&taken);
            if self.buffer.len() == self.store.settings.part_size_bytes {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>, expected: Expected) -> Result<ObjectMeta, StoreError> {
        if !self.buffer.is_empty() || self.parts.is_empty() {
            self.send_part().await?;
        }
        let finished = match self.join_all().await.and_then(|()| self.check(expected)) {
            Ok(()) => self.compose().await,
            Err(error) => Err(error),
        };
        self.clean().await;
        finished.map(|object| meta(&object))
    }

    async fn abort(mut self: Box<Self>) -> Result<(), StoreError> {
        self.sending.shutdown().await;
        self.clean().await;
        Ok(())
    }
}
