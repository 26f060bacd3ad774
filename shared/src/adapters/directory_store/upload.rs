//! Large objects: hashed as they are written, in one pass and in bounded memory.

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::Digest;

use super::error::failed;
use super::part::Part;
use super::root::Root;
use crate::ids::Sha256;
use crate::ports::object_store::{Expected, ObjectMeta, StoreError, Upload};

/// An upload into a part. After an error of a write it is over: its part is gone.
pub(super) struct DirectoryUpload {
    key: String,
    written: Option<Written>,
}

struct Written {
    part: Part,
    hasher: sha2::Sha256,
    size: u64,
}

impl DirectoryUpload {
    pub(super) fn start(root: &Arc<Root>, key: String) -> Result<Self, StoreError> {
        let part = Part::create(root, "upload", &key)?;
        Ok(Self { key, written: Some(Written { part, hasher: sha2::Sha256::new(), size: 0 }) })
    }

    /// Takes what was written, so that a call that is dropped half way leaves nothing to go on with.
    fn take(&mut self) -> Result<Written, StoreError> {
        self.written.take().ok_or_else(|| StoreError::Permanent {
            operation: "upload",
            key: self.key.clone(),
            source: "an earlier write failed: start a new upload".into(),
        })
    }
}

impl Written {
    fn append(mut self, key: &str, bytes: &[u8]) -> Result<Self, StoreError> {
        self.part.file().write_all(bytes).map_err(|error| failed("upload", key, error))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(self)
    }

    fn finish(mut self, key: &str, expected: &Expected) -> Result<ObjectMeta, StoreError> {
        let found = Expected { size: self.size, sha256: Sha256(self.hasher.finalize().into()) };
        if found != *expected {
            return Err(StoreError::Corrupt { key: key.into(), reason: expected.difference(&found) });
        }
        self.part.seal("upload", key, None)?;
        self.part.place("upload", key, true)
    }
}

#[async_trait]
impl Upload for DirectoryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let (written, key) = (self.take()?, self.key.clone());
        self.written = Some(super::blocking(move || written.append(&key, &bytes)).await?);
        Ok(())
    }

    async fn finish(mut self: Box<Self>, expected: Expected) -> Result<ObjectMeta, StoreError> {
        let (written, key) = (self.take()?, self.key.clone());
        super::blocking(move || written.finish(&key, &expected)).await
    }

    async fn abort(mut self: Box<Self>) -> Result<(), StoreError> {
        self.written = None;
        Ok(())
    }
}
