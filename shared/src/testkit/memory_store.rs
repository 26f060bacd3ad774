//! The object store in memory: as strict as the real ones, and no kinder.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};

use crate::clock::{Clock, SystemClock};
use crate::ids::Sha256;
use crate::ports::object_store::{
    ByteStream, Expected, Generation, Headers, Object, ObjectMeta, ObjectStore, Precondition, StoreError, Upload,
    check_key,
};

/// Bytes in one chunk of a read stream, small so that readers meet chunk borders.
const CHUNK_BYTES: usize = 64 * 1024;

/// An [`ObjectStore`] in memory; clones share the objects.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    uploads: BTreeMap<u64, Pending>,
    counter: u64,
}

#[derive(Debug, Clone)]
struct Stored {
    bytes: Bytes,
    headers: Headers,
    generation: u64,
    updated: DateTime<Utc>,
}

#[derive(Debug)]
struct Pending {
    bytes: BytesMut,
    started: DateTime<Utc>,
}

/// An object as a test sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// All its bytes.
    pub bytes: Bytes,
    /// What it is served with.
    pub headers: Headers,
    /// Its state.
    pub generation: Generation,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl MemoryStore {
    /// An empty store whose objects are dated by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// Every visible object by its key.
    pub fn objects(&self) -> BTreeMap<String, StoredObject> {
        let visible = |(key, stored): (&String, &Stored)| {
            let generation = stored.generation();
            (key.clone(), StoredObject { bytes: stored.bytes.clone(), headers: stored.headers.clone(), generation })
        };
        self.lock().objects.iter().map(visible).collect()
    }

    /// The keys of all visible objects, in order.
    pub fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    /// How many uploads were started and neither finished, aborted nor swept.
    pub fn pending_uploads(&self) -> usize {
        self.lock().uploads.len()
    }

    /// Replaces an object's bytes behind everybody's back, as damage does; false where there is none.
    pub fn tamper(&self, key: &str, bytes: impl Into<Bytes>) -> bool {
        match self.lock().objects.get_mut(key) {
            Some(stored) => {
                stored.bytes = bytes.into();
                true
            }
            None => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: &str) -> Result<Stored, StoreError> {
        check_key(key)?;
        self.lock().objects.get(key).cloned().ok_or_else(|| StoreError::NotFound { key: key.into() })
    }
}

impl Stored {
    fn generation(&self) -> Generation {
        Generation(self.generation.to_string())
    }

    fn meta(&self, key: &str) -> ObjectMeta {
        let size = self.bytes.len() as u64;
        ObjectMeta { key: key.into(), size, generation: self.generation(), updated: self.updated }
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn insert(&mut self, key: &str, bytes: Bytes, headers: Headers, updated: DateTime<Utc>) -> ObjectMeta {
        let stored = Stored { bytes, headers, generation: self.next(), updated };
        let meta = stored.meta(key);
        self.objects.insert(key.into(), stored);
        meta
    }

    fn check(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        let found = self.objects.get(key).map(Stored::generation);
        match precondition {
            Precondition::None => Ok(()),
            Precondition::Create if found.is_some() => Err(StoreError::AlreadyExists { key: key.into() }),
            Precondition::Create => Ok(()),
            Precondition::Generation(wanted) if found.as_ref() == Some(wanted) => Ok(()),
            Precondition::Generation(_) => Err(StoreError::Changed { key: key.into() }),
        }
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        check_key(key)?;
        Ok(self.lock().objects.get(key).map(|stored| stored.meta(key)))
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Object, StoreError> {
        let stored = self.find(key)?;
        let meta = stored.meta(key);
        if meta.size > max_bytes {
            return Err(StoreError::TooLarge { key: key.into(), size_bytes: meta.size, max_bytes });
        }
        Ok(Object { meta, bytes: stored.bytes })
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError> {
        let bytes = self.find(key)?.bytes;
        if range.start > range.end || range.end > bytes.len() as u64 {
            let reason = format!("range {}..{} is beyond the {} bytes there", range.start, range.end, bytes.len());
            return Err(StoreError::Permanent { operation: "read", key: key.into(), source: reason.into() });
        }
        let mut rest = bytes.slice(range.start as usize..range.end as usize);
        let chunks = std::iter::from_fn(move || {
            let take = rest.len().min(CHUNK_BYTES);
            (take > 0).then(|| Ok(rest.split_to(take)))
        });
        Ok(stream::iter(chunks).boxed())
    }

    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        precondition: Precondition,
        headers: &Headers,
    ) -> Result<ObjectMeta, StoreError> {
        check_key(key)?;
        let now = self.clock.now();
        let mut state = self.lock();
        state.check(key, &precondition)?;
        Ok(state.insert(key, bytes, headers.clone(), now))
    }

    async fn upload(&self, key: &str, headers: &Headers) -> Result<Box<dyn Upload>, StoreError> {
        check_key(key)?;
        let started = self.clock.now();
        let mut state = self.lock();
        let id = state.next();
        state.uploads.insert(id, Pending { bytes: BytesMut::new(), started });
        drop(state);
        Ok(Box::new(MemoryUpload { store: self.clone(), id, key: key.into(), headers: headers.clone() }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let state = self.lock();
        let matching = state.objects.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(matching.map(|(key, stored)| stored.meta(key)).collect())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_key(key)?;
        self.lock().objects.remove(key);
        Ok(())
    }

    async fn sweep_uploads(&self, min_age: Duration) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let before = state.uploads.len();
        state.uploads.retain(|_, pending| (now - pending.started).to_std().unwrap_or_default() < min_age);
        Ok(before - state.uploads.len())
    }
}

/// An upload whose bytes stay behind when it is dropped, as a real store's do.
struct MemoryUpload {
    store: MemoryStore,
    id: u64,
    key: String,
    headers: Headers,
}

impl MemoryUpload {
    fn swept(&self) -> StoreError {
        let source = "the upload was swept meanwhile".into();
        StoreError::Transient { operation: "upload", key: self.key.clone(), source }
    }
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let mut state = self.store.lock();
        let pending = state.uploads.get_mut(&self.id).ok_or_else(|| self.swept())?;
        pending.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>, expected: Expected) -> Result<ObjectMeta, StoreError> {
        let now = self.store.clock.now();
        let mut state = self.store.lock();
        let bytes = state.uploads.remove(&self.id).ok_or_else(|| self.swept())?.bytes.freeze();
        let found = Expected { size: bytes.len() as u64, sha256: Sha256::of(&bytes) };
        if found != expected {
            return Err(StoreError::Corrupt { key: self.key.clone(), reason: expected.difference(&found) });
        }
        state.check(&self.key, &Precondition::Create)?;
        Ok(state.insert(&self.key, bytes, self.headers.clone(), now))
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.store.lock().uploads.remove(&self.id);
        Ok(())
    }
}
