//! The store's directory, walked without following links.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::failed;
use crate::ports::object_store::{Generation, ObjectMeta, StoreError};

/// The store's own folder, below the root.
pub(super) const UPLOADS: &str = ".uploads";
/// The lock file of swaps and deletions, in [`UPLOADS`].
const LOCK: &str = "lock";
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directory at the root of a store.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

/// An object that is there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) file: File,
    stat: Stat,
}

impl Root {
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let path = std::path::absolute(&path).unwrap_or(path);
        let root = Self { path, device_and_inode: (0, 0) };
        let (_, device_and_inode) = root.folder("open")?;
        Ok(Self { device_and_inode, ..root })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the root, if it is still the directory that it was.
    pub(super) fn dir(&self, operation: &'static str) -> Result<OwnedFd, StoreError> {
        let (folder, device_and_inode) = self.folder(operation)?;
        if device_and_inode == self.device_and_inode {
            return Ok(folder);
        }
        let reason = "another directory than at the start: is its disk mounted? Restart once it is the right one";
        Err(self.gone(operation, reason.into()))
    }

    fn folder(&self, operation: &'static str) -> Result<(OwnedFd, (u64, u64)), StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&self.path, flags, Mode::empty())
            .and_then(|folder| rustix::fs::fstat(&folder).map(|stat| (folder, (stat.st_dev, stat.st_ino))));
        opened.map_err(|error| {
            let hint = match error {
                Errno::ACCESS | Errno::PERM => "the user that runs this needs read and write access to it",
                _ => "expected an existing directory: create or mount it, or set another path",
            };
            self.gone(operation, format!("{}: {hint}", io::Error::from(error)))
        })
    }

    fn gone(&self, operation: &'static str, reason: String) -> StoreError {
        StoreError::Permanent { operation, key: format!("store {}", self.path.display()), source: reason.into() }
    }

    /// Opens the object; `None` where there is none, or something else than a file.
    pub(super) fn find(&self, operation: &'static str, key: &str) -> Result<Option<Found>, StoreError> {
        let root = self.dir(operation)?;
        match open_file(root, key) {
            Ok(found) => Ok(found),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(error) => Err(failed(operation, key, error.into())),
        }
    }

    /// Opens the folder that `key` belongs in, making it and its parents durably where they are missing.
    pub(super) fn parent(&self, operation: &'static str, key: &str) -> Result<OwnedFd, StoreError> {
        let mut folder = self.dir(operation)?;
        let mut segments: Vec<&str> = key.split('/').collect();
        segments.pop();
        for segment in segments {
            folder = enter_or_make(&folder, segment).map_err(|error| failed(operation, key, error.into()))?;
        }
        Ok(folder)
    }

    /// Opens the folder of unfinished uploads, making it where it is missing.
    pub(super) fn uploads(&self, operation: &'static str) -> Result<OwnedFd, StoreError> {
        let root = self.dir(operation)?;
        enter_or_make(&root, UPLOADS).map_err(|error| failed(operation, UPLOADS, error.into()))
    }

    /// Waits for the lock that swaps and deletions take; it ends when the file is closed, at the latest by a kill.
    pub(super) fn lock(&self, operation: &'static str, key: &str) -> Result<File, StoreError> {
        let uploads = self.uploads(operation)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let locked = rustix::fs::openat(&uploads, LOCK, flags, Mode::from_raw_mode(0o644)).and_then(|file| {
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
            Ok(File::from(file))
        });
        locked.map_err(|error| failed(operation, key, error.into()))
    }

    /// Removes the object, and the folders that it leaves empty.
    pub(super) fn remove(&self, key: &str) -> Result<(), StoreError> {
        if self.find("delete", key)?.is_none() {
            return Ok(());
        }
        let report = |error: Errno| failed("delete", key, error.into());
        let mut path = key;
        let mut flags = AtFlags::empty();
        loop {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let parent = open_folder(self.dir("delete")?, folder).map_err(report)?;
            match rustix::fs::unlinkat(&parent, name, flags) {
                Ok(()) => rustix::fs::fsync(&parent).map_err(report)?,
                Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) if flags == AtFlags::REMOVEDIR => return Ok(()),
                Err(error) => return Err(report(error)),
            }
            if folder.is_empty() {
                return Ok(());
            }
            (path, flags) = (folder, AtFlags::REMOVEDIR);
        }
    }
}

impl Found {
    /// The open file as an object; `None` where it is something else.
    pub(super) fn of(file: File) -> Result<Option<Self>, Errno> {
        let stat = rustix::fs::fstat(&file)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(regular.then_some(Self { file, stat }))
    }

    /// When it was written, in nanoseconds since 1970.
    pub(super) fn modified(&self) -> i64 {
        modified(&self.stat)
    }

    pub(super) fn meta(&self, key: &str) -> ObjectMeta {
        meta(key, &self.stat)
    }
}

/// What a file's status says of the object.
pub(super) fn meta(key: &str, stat: &Stat) -> ObjectMeta {
    let (modified, size) = (modified(stat), stat.st_size as u64);
    let generation = Generation(format!("{modified:x}-{size:x}-{:x}", stat.st_ino));
    ObjectMeta { key: key.into(), size, generation, updated: DateTime::<Utc>::from_timestamp_nanos(modified) }
}

/// The modification time in nanoseconds since 1970; reaches to the year 2262.
pub(super) fn modified(stat: &Stat) -> i64 {
    stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or_default())
}

fn open_file(root: OwnedFd, key: &str) -> Result<Option<Found>, Errno> {
    let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
    let folder = open_folder(root, folder)?;
    // NONBLOCK: a named pipe in the directory must not hold up whoever asks for it.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Found::of(File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?))
}

fn open_folder(root: OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.into_iter().try_fold(root, |folder, segment| rustix::fs::openat(&folder, segment, FOLDER, Mode::empty()))
}

fn enter_or_make(folder: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(folder, name, FOLDER, Mode::empty()) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    match rustix::fs::mkdirat(folder.as_fd(), name, Mode::from_raw_mode(0o755)) {
        Ok(()) => rustix::fs::fsync(folder)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    rustix::fs::openat(folder, name, FOLDER, Mode::empty())
}

/// The names in a folder, in no order; those that are not UTF-8 are none of the store's.
pub(super) fn names(folder: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// Opens a sub-folder; `None` where it is none.
pub(super) fn sub_folder(folder: &OwnedFd, name: &str) -> Result<Option<OwnedFd>, Errno> {
    match rustix::fs::openat(folder, name, FOLDER, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an entry is, without following it; `None` where it is gone.
pub(super) fn stat(folder: &OwnedFd, name: &str) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Renames within one file system, without replacing where `creates`.
pub(super) fn rename(from: (&OwnedFd, &str), to: (&OwnedFd, &str), creates: bool) -> Result<(), Errno> {
    if !creates {
        return rustix::fs::renameat(from.0, from.1, to.0, to.1);
    }
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, rustix::fs::RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        renamed => return renamed,
    }
    // A hard link refuses to replace on every file system; the old name is the sweep's if the process dies here.
    rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())?;
    rustix::fs::unlinkat(from.0, from.1, AtFlags::empty())
}
