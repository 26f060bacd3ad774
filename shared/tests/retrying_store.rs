//! The retrying store against a store that fails before or after its effect.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use polkashots_shared::ids::Sha256;
use polkashots_shared::ports::object_store::{
    ByteStream, Expected, Generation, Headers, Object, ObjectMeta, ObjectStore, Precondition, StoreError, Upload,
};
use polkashots_shared::retry::{Policy, RetryingStore};

const KEY: &str = "dot/20261122-040000.manifest.json";

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_succeeds() -> Result<()> {
    for precondition in [Precondition::Create, Precondition::None] {
        let cell = Cell::failing([Fault::After]);
        let meta = put(&cell, "ours", precondition).await?;
        assert_eq!((meta.size, cell.content().as_deref()), (4, Some("ours")));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_swap_whose_answer_was_lost_succeeds() -> Result<()> {
    let cell = Cell::failing([Fault::After]);
    cell.set("before");
    put(&cell, "ours", Precondition::Generation(Generation("1".into()))).await?;
    assert_eq!(cell.content().as_deref(), Some("ours"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_write_that_did_not_arrive_is_made_again() -> Result<()> {
    let cell = Cell::failing([Fault::Before, Fault::Before]);
    put(&cell, "ours", Precondition::Create).await?;
    assert_eq!(cell.content().as_deref(), Some("ours"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn anothers_object_is_not_taken_for_ones_own() {
    for faults in [vec![], vec![Fault::Before]] {
        let cell = Cell::failing(faults);
        cell.set("theirs");
        let refused = put(&cell, "ours", Precondition::Create).await;
        assert!(matches!(refused, Err(StoreError::AlreadyExists { .. })), "{refused:?}");
        assert_eq!(cell.content().as_deref(), Some("theirs"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_there_before_is_reported_even_where_it_is_the_same() {
    let cell = Cell::failing([]);
    cell.set("ours");
    let refused = put(&cell, "ours", Precondition::Create).await;
    assert!(matches!(refused, Err(StoreError::AlreadyExists { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stale_swap_is_refused_after_a_retry_too() {
    let cell = Cell::failing([Fault::Before]);
    cell.set("theirs");
    let refused = put(&cell, "ours", Precondition::Generation(Generation("0".into()))).await;
    assert!(matches!(refused, Err(StoreError::Changed { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_end_is_unknown_is_looked_up() -> Result<()> {
    let cell = Cell::failing([Fault::After]);
    assert_eq!(upload(&cell, "ours").await?.size, 4);

    let cell = Cell::failing([Fault::Before]);
    let failed = upload(&cell, "ours").await;
    assert!(matches!(failed, Err(StoreError::Transient { .. })), "{failed:?}");

    let cell = Cell::failing([Fault::Before]);
    cell.set("them");
    let refused = upload(&cell, "ours").await;
    assert!(matches!(refused, Err(StoreError::AlreadyExists { .. })), "{refused:?}");
    Ok(())
}

async fn put(cell: &Cell, content: &'static str, precondition: Precondition) -> Result<ObjectMeta, StoreError> {
    let store = RetryingStore::new(Arc::new(cell.clone()), Policy::default());
    store.put(KEY, Bytes::from_static(content.as_bytes()), precondition, &Headers::default()).await
}

async fn upload(cell: &Cell, content: &'static str) -> Result<ObjectMeta, StoreError> {
    let inner: Arc<dyn ObjectStore> = Arc::new(cell.clone());
    let store = RetryingStore::new(inner, Policy::default());
    let mut upload = store.upload(KEY, &Headers::default()).await?;
    upload.write(Bytes::from_static(content.as_bytes())).await?;
    upload.finish(Expected { size: content.len() as u64, sha256: Sha256::of(content.as_bytes()) }).await
}

/// When a write breaks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Before,
    After,
}

/// A store of one object whose next writes break as told.
#[derive(Debug, Clone, Default)]
struct Cell(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    object: Option<(u64, Bytes)>,
    faults: Vec<Fault>,
}

impl Cell {
    fn failing(faults: impl IntoIterator<Item = Fault>) -> Self {
        let mut faults: Vec<_> = faults.into_iter().collect();
        faults.reverse();
        Self(Arc::new(Mutex::new(State { object: None, faults })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, content: &'static str) {
        self.lock().object = Some((1, Bytes::from_static(content.as_bytes())));
    }

    fn content(&self) -> Option<String> {
        self.lock().object.as_ref().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
    }

    fn write(&self, bytes: Bytes, precondition: Precondition) -> Result<ObjectMeta, StoreError> {
        let mut state = self.lock();
        let fault = state.faults.pop();
        if fault == Some(Fault::Before) {
            return Err(broken());
        }
        let found = state.object.as_ref().map(|(generation, _)| *generation);
        match precondition {
            Precondition::Create if found.is_some() => return Err(StoreError::AlreadyExists { key: KEY.into() }),
            Precondition::Generation(wanted) if found.map(|number| number.to_string()) != Some(wanted.0.clone()) => {
                return Err(StoreError::Changed { key: KEY.into() });
            }
            _ => {}
        }
        let generation = found.unwrap_or(0) + 1;
        state.object = Some((generation, bytes.clone()));
        if fault == Some(Fault::After) { Err(broken()) } else { Ok(meta(generation, &bytes)) }
    }
}

fn broken() -> StoreError {
    StoreError::Transient { operation: "put", key: KEY.into(), source: "connection reset".into() }
}

fn meta(generation: u64, bytes: &Bytes) -> ObjectMeta {
    let generation = Generation(generation.to_string());
    ObjectMeta { key: KEY.into(), size: bytes.len() as u64, generation, updated: DateTime::<Utc>::UNIX_EPOCH }
}

#[async_trait]
impl ObjectStore for Cell {
    async fn head(&self, _key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        Ok(self.lock().object.as_ref().map(|(generation, bytes)| meta(*generation, bytes)))
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Object, StoreError> {
        let found = self.lock().object.clone();
        let (generation, bytes) = found.ok_or(StoreError::NotFound { key: key.into() })?;
        let size_bytes = bytes.len() as u64;
        if size_bytes > max_bytes {
            return Err(StoreError::TooLarge { key: key.into(), size_bytes, max_bytes });
        }
        Ok(Object { meta: meta(generation, &bytes), bytes })
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError> {
        let object = self.get(key, u64::MAX).await?;
        let part = object.bytes.slice(range.start as usize..range.end as usize);
        Ok(stream::iter([Ok(part)]).boxed())
    }

    async fn put(
        &self,
        _key: &str,
        bytes: Bytes,
        precondition: Precondition,
        _headers: &Headers,
    ) -> Result<ObjectMeta, StoreError> {
        self.write(bytes, precondition)
    }

    async fn upload(&self, _key: &str, _headers: &Headers) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(CellUpload { cell: self.clone(), bytes: Vec::new() }))
    }

    async fn list(&self, _prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        Ok(self.head(KEY).await?.into_iter().collect())
    }

    async fn delete(&self, _key: &str) -> Result<(), StoreError> {
        self.lock().object = None;
        Ok(())
    }

    async fn sweep_uploads(&self, _min_age: Duration) -> Result<usize, StoreError> {
        Ok(0)
    }
}

struct CellUpload {
    cell: Cell,
    bytes: Vec<u8>,
}

#[async_trait]
impl Upload for CellUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>, _expected: Expected) -> Result<ObjectMeta, StoreError> {
        self.cell.write(self.bytes.into(), Precondition::Create)
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
