//! Copies a database folder: regular files and folders only, links never followed, holes kept, blocks shared where possible.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::error::LocalError;
use super::state::sync_dir;

/// Bytes copied between two looks at the clock and the stop flag.
const CHUNK_BYTES: u64 = 8 * 1024 * 1024;

/// Ends long work: on request, when its flag is set, or by time.
#[derive(Debug, Clone, Default)]
pub(super) struct Limit {
    stopped: Arc<AtomicBool>,
    deadline: Option<(Instant, Duration)>,
}

impl Limit {
    /// Ends the work when the returned guard is dropped.
    pub(super) fn until_dropped() -> (Self, impl Drop + Send) {
        struct StopOnDrop(Arc<AtomicBool>);
        impl Drop for StopOnDrop {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let limit = Self::default();
        let guard = StopOnDrop(limit.stopped.clone());
        (limit, guard)
    }

    /// The same, but no longer than `deadline` from now.
    pub(super) fn within(&self, deadline: Duration) -> Self {
        Self { stopped: self.stopped.clone(), deadline: Some((Instant::now() + deadline, deadline)) }
    }

    /// Fails once the work has to end.
    pub(super) fn check(&self) -> Result<(), LocalError> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(LocalError::Cancelled);
        }
        match self.deadline {
            Some((end, deadline)) if Instant::now() >= end => Err(LocalError::Deadline { deadline }),
            _ => Ok(()),
        }
    }
}

/// One file or folder, as it was when it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path below the folder.
    pub(super) path: PathBuf,
    /// True for a folder.
    pub(super) is_dir: bool,
    /// Size in bytes; 0 for a folder.
    pub(super) size: u64,
    /// Bytes that it takes on disk.
    pub(super) allocated: u64,
    identity: (u64, i64, i64),
}

/// Lists everything below `root`, folders before what is in them; fails at anything but a file or a folder.
pub(super) fn list(root: &Path) -> Result<Vec<Entry>, LocalError> {
    let mut entries = Vec::new();
    list_into(root, Path::new(""), &mut entries)?;
    Ok(entries)
}

fn list_into(root: &Path, folder: &Path, entries: &mut Vec<Entry>) -> Result<(), LocalError> {
    let full = root.join(folder);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(&full, flags, Mode::empty()).map_err(refused(&full))?;
    let mut found = Vec::new();
    for entry in Dir::read_from(&dir).map_err(LocalError::sys(&full))? {
        let entry = entry.map_err(LocalError::sys(&full))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let path = folder.join(OsStr::from_bytes(name.to_bytes()));
        let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(vanished(&root.join(&path)))?;
        found.push(entry_of(root, path, &stat)?);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    for entry in found {
        let below = entry.is_dir.then(|| entry.path.clone());
        entries.push(entry);
        if let Some(below) = below {
            list_into(root, &below, entries)?;
        }
    }
    Ok(())
}

fn entry_of(root: &Path, path: PathBuf, stat: &Stat) -> Result<Entry, LocalError> {
    let is_dir = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => false,
        FileType::Directory => true,
        FileType::Symlink => return Err(LocalError::NotRegular { path: root.join(path), found: "a symbolic link" }),
        _ => return Err(LocalError::NotRegular { path: root.join(path), found: "a device, pipe or socket" }),
    };
    let (size, allocated) = if is_dir { (0, 4096) } else { (stat.st_size as u64, stat.st_blocks as u64 * 512) };
    let identity = if is_dir { (stat.st_ino, 0, 0) } else { (stat.st_ino, stat.st_mtime, stat.st_mtime_nsec as i64) };
    Ok(Entry { path, is_dir, size, allocated, identity })
}

fn refused(path: &Path) -> impl FnOnce(Errno) -> LocalError + use<> {
    let path = path.to_owned();
    move |errno| match errno {
        Errno::LOOP | Errno::NOTDIR if path.is_symlink() => LocalError::NotRegular { path, found: "a symbolic link" },
        errno => LocalError::Io { path, source: errno.into() },
    }
}

/// What was listed and is gone was changed by somebody.
fn vanished(path: &Path) -> impl FnOnce(Errno) -> LocalError + use<> {
    let path = path.to_owned();
    move |errno| match errno {
        Errno::NOENT => LocalError::Changed { path },
        errno => LocalError::Io { path, source: errno.into() },
    }
}

/// Copies the listed entries from `from` to the empty folder `to`, durably.
pub(super) fn copy(from: &Path, to: &Path, entries: &[Entry], limit: &Limit) -> Result<(), LocalError> {
    for entry in entries {
        limit.check()?;
        let target = to.join(&entry.path);
        if entry.is_dir {
            fs::create_dir(&target).map_err(LocalError::io(&target))?;
        } else {
            copy_file(&from.join(&entry.path), &target, entry.size, limit)?;
        }
    }
    for folder in entries.iter().filter(|entry| entry.is_dir) {
        sync_dir(&to.join(&folder.path))?;
    }
    sync_dir(to)
}

fn copy_file(from: &Path, to: &Path, size: u64, limit: &Limit) -> Result<(), LocalError> {
    let source = open_source(from)?;
    let target = File::create_new(to).map_err(LocalError::io(to))?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
        copy_data(&source, &target, from, to, size, limit)?;
    }
    target.sync_all().map_err(LocalError::io(to))
}

/// True where files of `from`'s filesystem can share their blocks with files in `to`.
pub(super) fn can_reflink(from: &Path, to: &Path, entries: &[Entry]) -> Result<bool, LocalError> {
    let Some(entry) = entries.iter().find(|entry| !entry.is_dir && entry.size > 0) else { return Ok(false) };
    let source = open_source(&from.join(&entry.path))?;
    let probe = tempfile::tempfile_in(to).map_err(LocalError::io(to))?;
    Ok(rustix::fs::ioctl_ficlone(&probe, &source).is_ok())
}

fn open_source(path: &Path) -> Result<File, LocalError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(vanished(path))?;
    let stat = rustix::fs::fstat(&file).map_err(LocalError::sys(path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(LocalError::Changed { path: path.to_owned() });
    }
    Ok(file.into())
}

/// Copies what is not a hole, and gives the target its full length.
fn copy_data(source: &File, target: &File, from: &Path, to: &Path, size: u64, limit: &Limit) -> Result<(), LocalError> {
    target.set_len(size).map_err(LocalError::io(to))?;
    let mut offset = 0;
    while offset < size {
        let start = match rustix::fs::seek(source, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => offset,
            Err(errno) => return Err(LocalError::sys(from)(errno)),
        };
        let end = rustix::fs::seek(source, SeekFrom::Hole(start)).unwrap_or(size).min(size);
        copy_range(source, target, from, to, start..end, limit)?;
        offset = end.max(start + 1);
    }
    Ok(())
}

fn copy_range(
    source: &File,
    target: &File,
    from: &Path,
    to: &Path,
    range: std::ops::Range<u64>,
    limit: &Limit,
) -> Result<(), LocalError> {
    let (mut read_at, mut write_at) = (range.start, range.start);
    while read_at < range.end {
        limit.check()?;
        let wanted = (range.end - read_at).min(CHUNK_BYTES) as usize;
        let copied = rustix::fs::copy_file_range(source, Some(&mut read_at), target, Some(&mut write_at), wanted);
        match copied {
            Ok(0) => return Err(LocalError::Changed { path: from.to_owned() }),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                read_at = read_and_write(source, target, from, to, read_at, wanted.min(1 << 20))?;
                write_at = read_at;
            }
            Err(errno) => return Err(LocalError::sys(to)(errno)),
        }
    }
    Ok(())
}

fn read_and_write(
    source: &File,
    target: &File,
    from: &Path,
    to: &Path,
    offset: u64,
    wanted: usize,
) -> Result<u64, LocalError> {
    let mut buffer = vec![0; wanted];
    let read = source.read_at(&mut buffer, offset).map_err(LocalError::io(from))?;
    if read == 0 {
        return Err(LocalError::Changed { path: from.to_owned() });
    }
    target.write_all_at(&buffer[..read], offset).map_err(LocalError::io(to))?;
    Ok(offset + read as u64)
}
