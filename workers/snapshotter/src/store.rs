//! Create-only writes that may be made again: an object that is there already counts as written if it is the same.

use bytes::Bytes;
use futures::StreamExt;
use polkashots_shared::ids::Sha256;
use polkashots_shared::ports::object_store::{Expected, Headers, ObjectStore, Precondition, StoreError, Upload};
use sha2::Digest;

/// Finishes an upload, or finds that an earlier run finished the same one.
pub async fn finish_once(
    store: &dyn ObjectStore,
    upload: Box<dyn Upload>,
    key: &str,
    expected: Expected,
) -> Result<(), StoreError> {
    match upload.finish(expected).await {
        Err(StoreError::AlreadyExists { .. }) => require_same(store, key, expected).await,
        finished => finished.map(drop),
    }
}

/// Writes a small object, or finds that an earlier run wrote the same one.
pub async fn put_once(store: &dyn ObjectStore, key: &str, bytes: Bytes, headers: &Headers) -> Result<(), StoreError> {
    let expected = Expected { size: bytes.len() as u64, sha256: Sha256::of(&bytes) };
    match store.put(key, bytes, Precondition::Create, headers).await {
        Err(StoreError::AlreadyExists { .. }) => require_same(store, key, expected).await,
        written => written.map(drop),
    }
}

/// Sees that an object holds what this run made.
pub async fn require_same(store: &dyn ObjectStore, key: &str, expected: Expected) -> Result<(), StoreError> {
    let size = store.head(key).await?.map_or(0, |meta| meta.size);
    if size == expected.size && digest(store, key, size).await? == expected.sha256 {
        return Ok(());
    }
    let reason = format!(
        "holds {size} bytes of other content than this run made ({} bytes, SHA-256 {}): objects are never replaced; \
         delete it if no manifest names it, and ask for a new snapshot",
        expected.size, expected.sha256
    );
    Err(StoreError::Permanent { operation: "create", key: key.to_owned(), source: reason.into() })
}

async fn digest(store: &dyn ObjectStore, key: &str, size: u64) -> Result<Sha256, StoreError> {
    let mut hasher = sha2::Sha256::new();
    let mut chunks = store.read(key, 0..size).await?;
    while let Some(chunk) = chunks.next().await {
        hasher.update(chunk?);
    }
    Ok(Sha256(hasher.finalize().into()))
}
