//! The object store in a directory: keys are paths below its root.
//!
//! - An object is written to `.uploads/*.part`, made durable, and renamed to its key, so that it is visible whole or not at
//!   all, whatever crashes. The folder that it appears in is made durable too before a write returns.
//! - A create never replaces: the rename itself refuses. A swap compares and renames under a lock file, so that any number
//!   of processes may write to one directory.
//! - A generation is modification time, size and inode. The time is not left to the kernel, whose clock ticks in
//!   milliseconds while a freed inode may come back at once: each write sets it, later than that of the object it
//!   replaces. It is part of the renamed file, so it survives a crash; after a copy of the directory generations differ,
//!   which refuses a pending swap and does no harm.
//! - Symbolic links and names that are no keys are not objects: they are neither listed nor followed.
//! - A part is locked while it is written, by whichever process; the sweep takes only unlocked ones.
//!
//! Headers are not kept: who serves the directory derives types from suffixes.

use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};

use self::root::{Found, Root};
use crate::ports::object_store::{
    ByteStream, Headers, Object, ObjectMeta, ObjectStore, Precondition, StoreError, Upload, check_key,
};

mod error;
mod list;
mod part;
mod root;
mod upload;

/// Bytes in one chunk of a read stream.
const CHUNK_BYTES: u64 = 256 * 1024;

/// An [`ObjectStore`] in a directory; clones share the root.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: Arc<Root>,
}

impl DirectoryStore {
    /// Opens the store at `root`, an existing directory.
    ///
    /// The directory must stay the same one: another at the same path, as an unmounted disk leaves behind, is an error.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Ok(Self { root: Arc::new(Root::open(root.into())?) })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    async fn blocking<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Root>) -> Result<T, StoreError> + Send + 'static,
    {
        let root = self.root.clone();
        blocking(move || work(&root)).await
    }
}

/// Runs file work off the async threads; a panic in it goes on here.
async fn blocking<T, F>(work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StoreError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(cancelled) => Err(StoreError::Transient {
            operation: "run",
            key: String::new(),
            source: format!("the runtime is shutting down: {cancelled}").into(),
        }),
    }
}

#[async_trait]
impl ObjectStore for DirectoryStore {
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        let key = checked(key)?;
        self.blocking(move |root| Ok(root.find("head", &key)?.map(|found| found.meta(&key)))).await
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Object, StoreError> {
        let key = checked(key)?;
        self.blocking(move |root| get(root, &key, max_bytes)).await
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError> {
        let key = checked(key)?;
        let (name, wanted) = (key.clone(), range.clone());
        let found = self.blocking(move |root| in_range(must_find(root, "read", &name)?, &name, &wanted)).await?;
        Ok(chunks(found, key, range))
    }

    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        precondition: Precondition,
        _headers: &Headers,
    ) -> Result<ObjectMeta, StoreError> {
        let key = checked(key)?;
        self.blocking(move |root| put(root, &key, &bytes, &precondition)).await
    }

    async fn upload(&self, key: &str, _headers: &Headers) -> Result<Box<dyn Upload>, StoreError> {
        let key = checked(key)?;
        self.blocking(move |root| Ok(Box::new(upload::DirectoryUpload::start(root, key)?) as Box<dyn Upload>)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let prefix = prefix.to_owned();
        self.blocking(move |root| list::list(root, &prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let key = checked(key)?;
        self.blocking(move |root| {
            let _lock = root.lock("delete", &key)?;
            root.remove(&key)
        })
        .await
    }

    async fn sweep_uploads(&self, min_age: Duration) -> Result<usize, StoreError> {
        self.blocking(move |root| part::sweep(root, min_age)).await
    }
}

/// The key, if it is legal and not the store's own.
fn checked(key: &str) -> Result<String, StoreError> {
    check_key(key)?;
    if key.split('/').next() == Some(root::UPLOADS) {
        let source = format!("{} is the store's own folder: take another name", root::UPLOADS).into();
        return Err(StoreError::Permanent { operation: "name", key: key.into(), source });
    }
    Ok(key.to_owned())
}

fn must_find(root: &Root, operation: &'static str, key: &str) -> Result<Found, StoreError> {
    root.find(operation, key)?.ok_or_else(|| StoreError::NotFound { key: key.into() })
}

fn get(root: &Root, key: &str, max_bytes: u64) -> Result<Object, StoreError> {
    let found = must_find(root, "get", key)?;
    let meta = found.meta(key);
    if meta.size > max_bytes {
        return Err(StoreError::TooLarge { key: key.into(), size_bytes: meta.size, max_bytes });
    }
    let mut bytes = Vec::with_capacity(meta.size as usize);
    (&found.file).take(meta.size).read_to_end(&mut bytes).map_err(|error| error::failed("get", key, error))?;
    if bytes.len() as u64 != meta.size {
        return Err(error::failed("get", key, std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(Object { meta, bytes: bytes.into() })
}

fn in_range(found: Found, key: &str, range: &Range<u64>) -> Result<Found, StoreError> {
    let size = found.meta(key).size;
    if range.start <= range.end && range.end <= size {
        return Ok(found);
    }
    let reason = format!("range {}..{} is beyond the {size} bytes there", range.start, range.end);
    Err(StoreError::Permanent { operation: "read", key: key.into(), source: reason.into() })
}

/// Reads the range chunk by chunk; after an error the stream ends.
fn chunks(found: Found, key: String, range: Range<u64>) -> ByteStream {
    let file = Arc::new(found.file);
    let start = Some((file, key, range));
    let next = async |state: Option<(Arc<std::fs::File>, String, Range<u64>)>| {
        let (file, key, range) = state.filter(|(_, _, range)| !range.is_empty())?;
        let length = (range.end - range.start).min(CHUNK_BYTES);
        let (source, name, offset) = (file.clone(), key.clone(), range.start);
        let read = blocking(move || {
            let mut bytes = vec![0; length as usize];
            source.read_exact_at(&mut bytes, offset).map_err(|error| error::failed("read", &name, error))?;
            Ok(Bytes::from(bytes))
        });
        match read.await {
            Ok(bytes) => Some((Ok(bytes), Some((file, key, range.start + length..range.end)))),
            Err(error) => Some((Err(error), None)),
        }
    };
    stream::unfold(start, next).boxed()
}

fn put(root: &Arc<Root>, key: &str, bytes: &[u8], precondition: &Precondition) -> Result<ObjectMeta, StoreError> {
    let creates = *precondition == Precondition::Create;
    let _lock = if creates { None } else { Some(root.lock("put", key)?) };
    let old = root.find("put", key)?;
    check(key, old.as_ref(), precondition)?;
    let mut part = part::Part::create(root, "put", key)?;
    part.file().write_all(bytes).map_err(|error| error::failed("put", key, error))?;
    part.seal("put", key, old.map(|old| old.modified()))?;
    part.place("put", key, creates)
}

fn check(key: &str, found: Option<&Found>, precondition: &Precondition) -> Result<(), StoreError> {
    match precondition {
        Precondition::None => Ok(()),
        Precondition::Create if found.is_some() => Err(StoreError::AlreadyExists { key: key.into() }),
        Precondition::Create => Ok(()),
        Precondition::Generation(wanted) if found.is_some_and(|found| found.meta(key).generation == *wanted) => Ok(()),
        Precondition::Generation(_) => Err(StoreError::Changed { key: key.into() }),
    }
}
