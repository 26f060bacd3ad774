//! The walk that decides what may leave the machine: `db/` or `paritydb/` of a chain folder and nothing else.
//!
//! Every name is opened relative to the descriptor of the directory that holds it, and never through a symbolic link, so
//! that what lies beside the database (`keystore/`, `network/`) is neither opened nor listed.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use polkashots_shared::frames::MAX_ENTRIES;
use polkashots_shared::ids::DatabaseKind;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};

use crate::error::ArchiveError;

/// Names that are never shipped, at any depth: locks, and RocksDB's text log with host names in it.
const EXCLUDED: [&str; 3] = ["LOCK", "lock", "LOG"];
/// Rotated text logs of RocksDB.
const EXCLUDED_PREFIX: &str = "LOG.old.";
/// Names that would make a node migrate where they lie beside `full/`; inside `full/` they are part of the database.
const EXCLUDED_BESIDE_FULL: [&str; 2] = ["metadata", "db_version"];
/// Directories of a node that no database has; one inside it means that something was mounted or copied to the wrong place.
const FOREIGN_DIRECTORIES: [&str; 2] = ["keystore", "network"];
/// Deeper trees are refused; a chain database has four levels.
const MAX_DEPTH: usize = 32;

/// One directory or regular file that is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, starting with `db` or `paritydb`, without a trailing slash.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file, as it was when it was walked.
    File(FileState),
}

/// The state of a file that must not change while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    /// Its size in bytes.
    pub size: u64,
    /// True where it occupies less than its size.
    pub sparse: bool,
    device: u64,
    inode: u64,
    modified: (i64, i64),
}

impl FileState {
    fn of(stat: &Stat) -> Self {
        const BLOCK_BYTES: u64 = 512;
        let size = stat.st_size as u64;
        let allocated = (stat.st_blocks as u64).saturating_mul(BLOCK_BYTES);
        #[expect(clippy::useless_conversion, reason = "the width of these fields differs between platforms")]
        let modified = (i64::from(stat.st_mtime), stat.st_mtime_nsec as i64);
        Self { size, sparse: allocated < size, device: stat.st_dev, inode: stat.st_ino, modified }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(size: u64) -> Self {
        Self { size, sparse: false, device: 0, inode: 0, modified: (0, 0) }
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.size, self.device, self.inode, self.modified) == (other.size, other.device, other.inode, other.modified)
    }
}

/// A chain folder and what of it is shipped.
#[derive(Debug)]
pub struct Tree {
    chain_dir: PathBuf,
    root: OwnedFd,
    entries: Vec<Entry>,
}

impl Tree {
    /// Walks `<chain_dir>/db` or `<chain_dir>/paritydb`.
    ///
    /// Fails at the first thing that is neither a regular file nor a directory, or whose name cannot be published.
    pub fn walk(chain_dir: &Path, kind: DatabaseKind) -> Result<Self, ArchiveError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, chain_dir, flags, Mode::empty())
            .map_err(|error| ArchiveError::io("open folder", chain_dir.to_owned(), error.into()))?;
        let mut walk = Walk { chain_dir, entries: Vec::new() };
        walk.directory(root.as_fd(), kind.folder(), kind.folder(), 1)?;
        let mut entries = walk.entries;
        entries.sort_unstable_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        Ok(Self { chain_dir: chain_dir.to_owned(), root, entries })
    }

    /// What is shipped, sorted bytewise by path, so that a directory comes before what it holds.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An opener of the files of this tree.
    pub fn opener(&self) -> Opener<'_> {
        Opener { tree: self, directory: None }
    }

    /// Where a path of the tree lies, for messages.
    pub fn full_path(&self, path: &str) -> PathBuf {
        self.chain_dir.join(path)
    }
}

struct Walk<'a> {
    chain_dir: &'a Path,
    entries: Vec<Entry>,
}

impl Walk<'_> {
    fn directory(&mut self, parent: BorrowedFd<'_>, name: &str, path: &str, depth: usize) -> Result<(), ArchiveError> {
        let in_chain_dir = self.chain_dir.join(path);
        if depth > MAX_DEPTH {
            return Err(ArchiveError::TooDeep { path: in_chain_dir, max_depth: MAX_DEPTH });
        }
        let io_error = |action| {
            let path = in_chain_dir.clone();
            move |error: rustix::io::Errno| ArchiveError::io(action, path, error.into())
        };
        let directory = open_directory(parent, name).map_err(io_error("open folder"))?;
        self.push(Entry { path: path.to_owned(), kind: EntryKind::Directory })?;
        for listed in Dir::read_from(&directory).map_err(io_error("list folder"))? {
            let listed = listed.map_err(io_error("list folder"))?;
            if matches!(listed.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            self.listed(directory.as_fd(), listed.file_name(), path, depth)?;
        }
        Ok(())
    }

    fn listed(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        parent: &str,
        depth: usize,
    ) -> Result<(), ArchiveError> {
        let name = self.publishable(name, parent)?;
        let path = format!("{parent}/{name}");
        let in_chain_dir = self.chain_dir.join(&path);
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| ArchiveError::io("look at", in_chain_dir.clone(), error.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if FOREIGN_DIRECTORIES.contains(&name) => {
                Err(ArchiveError::Foreign { path: in_chain_dir })
            }
            FileType::Directory => self.directory(directory, name, &path, depth + 1),
            FileType::RegularFile if is_excluded(name, depth) => Ok(()),
            FileType::RegularFile => self.push(Entry { path, kind: EntryKind::File(FileState::of(&stat)) }),
            other => Err(ArchiveError::NotAllowed { path: in_chain_dir, found: describe(other) }),
        }
    }

    /// Refuses names that would not survive a tar archive, a JSON document and a file list.
    fn publishable<'n>(&self, name: &'n CStr, parent: &str) -> Result<&'n str, ArchiveError> {
        let bad = |reason| {
            let name = name.to_string_lossy().escape_debug().to_string();
            ArchiveError::Name { path: self.chain_dir.join(parent).join(name), reason }
        };
        let name = name.to_str().map_err(|_| bad("is not UTF-8"))?;
        if name.chars().any(char::is_control) {
            return Err(bad("has a control character"));
        }
        if name.contains('\\') {
            return Err(bad("has a backslash"));
        }
        Ok(name)
    }

    fn push(&mut self, entry: Entry) -> Result<(), ArchiveError> {
        if self.entries.len() >= MAX_ENTRIES {
            return Err(ArchiveError::TooManyEntries { path: self.chain_dir.to_owned() });
        }
        self.entries.push(entry);
        Ok(())
    }
}

/// `depth` is that of the directory: 1 for `db/` and `paritydb/` themselves, beside whose `full/` some names are not shipped.
fn is_excluded(name: &str, depth: usize) -> bool {
    EXCLUDED.contains(&name)
        || name.starts_with(EXCLUDED_PREFIX)
        || (depth == 1 && EXCLUDED_BESIDE_FULL.contains(&name))
}

fn describe(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "named pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        _ => "file of unknown type",
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Opens files of a tree and sees that they are still those that were walked.
#[derive(Debug)]
pub struct Opener<'a> {
    tree: &'a Tree,
    /// The directory of the file opened last, as neighbours follow one another.
    directory: Option<(String, OwnedFd)>,
}

impl Opener<'_> {
    /// Opens the file at `path`, which must still be in `state`.
    pub fn open(&mut self, path: &str, state: &FileState) -> Result<File, ArchiveError> {
        let opened = self.open_in_directory(path);
        let file = opened.map_err(|error| ArchiveError::io("open", self.tree.full_path(path), error))?;
        self.check(path, state, &file)?;
        Ok(file)
    }

    /// Sees that an opened file is in `state`: after it was read, that it did not change meanwhile.
    pub fn check(&self, path: &str, state: &FileState, file: &File) -> Result<(), ArchiveError> {
        let in_chain_dir = || self.tree.full_path(path);
        let stat = fstat(file).map_err(|error| ArchiveError::io("look at", in_chain_dir(), error.into()))?;
        let now = FileState::of(&stat);
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && now.is_same(state) {
            return Ok(());
        }
        Err(ArchiveError::Changed { path: in_chain_dir(), expected_bytes: state.size, found_bytes: now.size })
    }

    fn open_in_directory(&mut self, path: &str) -> io::Result<File> {
        // O_NONBLOCK: a named pipe that took the file's place must fail the check that follows, not block here.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(File::from(openat(self.directory_of(parent)?, name, flags, Mode::empty())?))
    }

    fn directory_of(&mut self, parent: &str) -> io::Result<BorrowedFd<'_>> {
        let reuse = self.directory.take().filter(|(path, _)| path == parent);
        let directory = match reuse {
            Some((_, directory)) => directory,
            None => self.descend(parent)?,
        };
        Ok(self.directory.insert((parent.to_owned(), directory)).1.as_fd())
    }

    fn descend(&self, parent: &str) -> io::Result<OwnedFd> {
        let mut directory = self.tree.root.try_clone()?;
        for name in parent.split('/') {
            directory = open_directory(directory.as_fd(), name)?;
        }
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_and_text_logs_stay_and_write_ahead_logs_go() {
        for stays in ["LOCK", "lock", "LOG", "LOG.old.1732250000000000"] {
            assert!(is_excluded(stays, 1) && is_excluded(stays, 2), "{stays} would be shipped");
        }
        for goes in ["000123.log", "log0", "log12", "CURRENT", "MANIFEST-000004", "LOGBOOK", "LOG.older"] {
            assert!(!is_excluded(goes, 1) && !is_excluded(goes, 2), "{goes} would not be shipped");
        }
    }

    #[test]
    fn migration_markers_are_shipped_inside_full_only() {
        for marker in ["metadata", "db_version"] {
            assert!(is_excluded(marker, 1), "{marker} beside full/ would be shipped");
            assert!(!is_excluded(marker, 2), "{marker} inside full/ would not be shipped");
        }
    }
}
