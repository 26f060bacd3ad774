//! Objects being written: locked files in `.uploads` that become visible by a rename.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::error::failed;
use super::root::{self, Found, Root};
use crate::ports::object_store::{ObjectMeta, StoreError};

const SUFFIX: &str = ".part";
/// How often a folder that a deletion removed is made again before the write gives up.
const PLACE_ATTEMPTS: u32 = 8;

/// A file that is not visible yet; dropping it removes it.
pub(super) struct Part {
    root: Arc<Root>,
    folder: OwnedFd,
    name: String,
    file: File,
}

impl Part {
    /// Makes an empty part, locked for as long as it is open.
    pub(super) fn create(root: &Arc<Root>, operation: &'static str, key: &str) -> Result<Self, StoreError> {
        let folder = root.uploads(operation)?;
        let (name, file) = create_file(&folder).map_err(|error| failed(operation, key, error.into()))?;
        let part = Self { root: root.clone(), folder, name, file };
        rustix::fs::flock(&part.file, FlockOperation::NonBlockingLockExclusive)
            .and_then(|()| rustix::fs::fchmod(&part.file, Mode::from_raw_mode(0o644)))
            .map_err(|error| failed(operation, key, error.into()))?;
        Ok(part)
    }

    /// The file to append to.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes the content durable and dates it now, or just after `replaced` where the clock has not passed that.
    pub(super) fn seal(&mut self, operation: &'static str, key: &str, replaced: Option<i64>) -> Result<(), StoreError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let sealed = date(&self.file, now, replaced).and_then(|()| rustix::fs::fsync(&self.file));
        sealed.map_err(|error| failed(operation, key, error.into()))
    }

    /// Makes the part the object `key`, durably.
    pub(super) fn place(self, operation: &'static str, key: &str, creates: bool) -> Result<ObjectMeta, StoreError> {
        let report = |error: Errno| failed(operation, key, error.into());
        let name = key.rsplit('/').next().unwrap_or(key);
        let mut attempt = 1;
        loop {
            let parent = self.root.parent(operation, key)?;
            match root::rename((&self.folder, &self.name), (&parent, name), creates) {
                Ok(()) => {
                    rustix::fs::fsync(&parent).map_err(report)?;
                    break;
                }
                // The last deletion in the folder removed it between the two calls.
                Err(Errno::NOENT) if attempt < PLACE_ATTEMPTS => attempt += 1,
                Err(Errno::EXIST) if self.root.find(operation, key)?.is_some() => {
                    return Err(StoreError::AlreadyExists { key: key.into() });
                }
                Err(Errno::EXIST) => return Err(report(Errno::ISDIR)),
                Err(error) => return Err(report(error)),
            }
        }
        let file = self.file.try_clone().map_err(|error| failed(operation, key, error))?;
        let found = Found::of(file).map_err(report)?;
        found.map(|found| found.meta(key)).ok_or_else(|| report(Errno::STALE))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After a rename there is nothing of that name; whatever else goes wrong here is left to the sweep.
        let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
    }
}

fn create_file(folder: &OwnedFd) -> Result<(String, File), Errno> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{:x}-{:x}-{count:x}{SUFFIX}", now.as_nanos(), std::process::id());
        match rustix::fs::openat(folder, &name, flags, Mode::from_raw_mode(0o644)) {
            Ok(file) => return Ok((name, file.into())),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sets the modification time to `now`, or later than `replaced` even on file systems that keep whole seconds.
fn date(file: &File, now: i64, replaced: Option<i64>) -> Result<(), Errno> {
    const COARSEST: i64 = 2_000_000_000;
    let Some(replaced) = replaced else { return set_modified(file, now) };
    set_modified(file, now.max(replaced.saturating_add(1)))?;
    if root::modified(&rustix::fs::fstat(file)?) > replaced {
        return Ok(());
    }
    set_modified(file, replaced.saturating_add(COARSEST))
}

fn set_modified(file: &File, nanos: i64) -> Result<(), Errno> {
    let time = Timespec { tv_sec: nanos.div_euclid(1_000_000_000), tv_nsec: nanos.rem_euclid(1_000_000_000) };
    rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })
}

/// Removes parts that nobody writes to and nobody wrote to for `min_age`.
pub(super) fn sweep(root: &Root, min_age: Duration) -> Result<usize, StoreError> {
    let folder = root.uploads("sweep")?;
    let report = |error: Errno| failed("sweep", root::UPLOADS, error.into());
    let mut swept = 0;
    for name in root::names(&folder).map_err(report)? {
        if name.ends_with(SUFFIX) && sweep_one(&folder, &name, min_age).map_err(report)? {
            swept += 1;
        }
    }
    Ok(swept)
}

fn sweep_one(folder: &OwnedFd, name: &str, min_age: Duration) -> Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(false),
        Err(error) => return Err(error),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(false),
        Err(error) => return Err(error),
    }
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    if age.unwrap_or_default() < min_age {
        return Ok(false);
    }
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
