//! Where a database goes, what is there already, and how much room there is.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use polkashots_shared::ids::DatabaseKind;
use rustix::fs::FlockOperation;

use crate::durable;
use crate::error::RestoreError;
use crate::memory::{self, FOLDER};
use crate::restore::refuse;
use crate::staging::{Permissions, make_folder, remove_tree};

const STAT_BLOCK_BYTES: u64 = 512;
/// The locks that a node holds: RocksDB's and ParityDB's.
const NODE_LOCKS: [&str; 2] = ["full/LOCK", "full/lock"];

/// One database folder of one chain folder.
#[derive(Debug, Clone)]
pub struct Place {
    /// The chain's folder: `chains/<id>`.
    pub chain_dir: PathBuf,
    /// The database's kind, which names its folder.
    pub kind: DatabaseKind,
}

impl Place {
    /// The folder of `kind` in `chain_dir`.
    pub fn new(chain_dir: PathBuf, kind: DatabaseKind) -> Self {
        Self { chain_dir, kind }
    }

    /// The folder that the node opens.
    pub fn database_dir(&self) -> PathBuf {
        self.chain_dir.join(self.kind.folder())
    }

    /// Where the database grows until it is whole.
    pub fn staging_dir(&self) -> PathBuf {
        self.ours("partial")
    }

    /// The file whose lock a restore holds.
    pub fn lock_file(&self) -> PathBuf {
        self.ours("lock")
    }

    fn ours(&self, ending: &str) -> PathBuf {
        self.chain_dir.join(FOLDER).join(format!("{}.{ending}", self.kind.folder()))
    }

    /// True where something is in the database's folder; an empty folder counts as none.
    pub fn is_occupied(&self) -> Result<bool, RestoreError> {
        let path = self.database_dir();
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(RestoreError::io("look at", &path, error)),
            Ok(found) if found.is_symlink() && !path.exists() => {
                return Err(refuse(
                    &path,
                    "is a symbolic link that leads nowhere: remove it, or make what it leads to",
                ));
            }
            Ok(_) => {}
        }
        let mut entries = std::fs::read_dir(&path).map_err(|error| RestoreError::io("list", &path, error))?;
        Ok(entries.next().is_some())
    }

    /// Makes the chain's folder, all above it, and ours inside it; what is made gets the owner and modes asked for.
    pub fn make_folders(&self, permissions: Permissions) -> Result<(), RestoreError> {
        let ours = self.chain_dir.join(FOLDER);
        let missing: Vec<&Path> = ours
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && path.symlink_metadata().is_err())
            .collect();
        for folder in missing.iter().rev() {
            match make_folder(folder, permissions) {
                // Another restore made it meanwhile.
                Err(RestoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
            durable::sync_folder_of(folder).map_err(|error| RestoreError::io("sync", folder, error))?;
        }
        match ours.symlink_metadata() {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(refuse(&ours, "is not a folder: remove it")),
            Err(error) => Err(RestoreError::io("look at", &ours, error)),
        }
    }

    /// Bytes free for what would be written here.
    pub fn free_bytes(&self) -> Result<u64, RestoreError> {
        let existing =
            self.chain_dir.ancestors().find(|path| path.exists()).filter(|path| !path.as_os_str().is_empty());
        let path = existing.unwrap_or(Path::new("."));
        let found = rustix::fs::statvfs(path).map_err(|error| RestoreError::io("look at", path, error.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Bytes of disk that the database there takes.
    pub fn database_bytes(&self) -> Result<u64, RestoreError> {
        taken_by(&self.database_dir())
    }

    /// Bytes of disk that an unfinished restore takes.
    pub fn staging_bytes(&self) -> Result<u64, RestoreError> {
        taken_by(&self.staging_dir())
    }

    /// Removes the database that is there, once it is sure that no node has it open.
    ///
    /// It is moved out of the node's sight first, so that a removal that is stopped never leaves half a database there.
    pub fn remove_database(&self) -> Result<(), RestoreError> {
        let path = self.database_dir();
        let found = path.symlink_metadata().map_err(|error| RestoreError::io("look at", &path, error))?;
        if !found.is_dir() {
            return Err(refuse(&path, "is not a folder, so it is not replaced: remove it"));
        }
        self.check_mount(found.dev())?;
        for lock in NODE_LOCKS.map(|name| path.join(name)) {
            check_unlocked(&lock)?;
        }
        memory::remove_marker(&self.chain_dir, self.kind)?;
        let away = self.ours("old");
        std::fs::rename(&path, &away).map_err(|error| RestoreError::io("move away", &path, error))?;
        durable::sync_folder(&self.chain_dir).map_err(|error| RestoreError::io("sync", &self.chain_dir, error))?;
        remove_tree(&away)
    }

    /// Takes the locks that a node takes, so that none starts on the database while the result lives.
    pub fn hold_node_locks(&self) -> Result<NodeLocks, RestoreError> {
        let path = self.database_dir();
        let found = path.symlink_metadata().map_err(|error| RestoreError::io("look at", &path, error))?;
        if !found.is_dir() {
            return Err(refuse(&path, "is not a folder of its own, so it is not updated: use --force, or remove it"));
        }
        self.check_mount(found.dev())?;
        let own = match self.kind {
            DatabaseKind::RocksDb => NODE_LOCKS[0],
            DatabaseKind::ParityDb => NODE_LOCKS[1],
        };
        let mut held = Vec::new();
        for name in NODE_LOCKS {
            let lock = path.join(name);
            check_unlocked(&lock)?;
            // A folder that has no `full/` is no database, and nothing opens it.
            let opened = std::fs::OpenOptions::new().write(true).create(name == own).truncate(false).open(&lock);
            let Ok(file) = opened else { continue };
            lock_as_node(&file).map_err(|()| RestoreError::NodeRunning { path: lock })?;
            held.push(file);
        }
        Ok(NodeLocks(held))
    }

    /// Removes what a stopped removal left.
    pub fn finish_removal(&self) -> Result<(), RestoreError> {
        remove_tree(&self.ours("old"))
    }

    /// Removes the empty folder that may be where the database goes.
    pub fn make_way(&self) -> Result<(), RestoreError> {
        let path = self.database_dir();
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(RestoreError::io("look at", &path, error)),
            Ok(found) if found.is_symlink() => {
                return Err(refuse(&path, "is a symbolic link to an empty folder: remove it"));
            }
            Ok(found) => self.check_mount(found.dev())?,
        }
        std::fs::remove_dir(&path).map_err(|error| RestoreError::io("replace", &path, error))
    }

    fn check_mount(&self, device: u64) -> Result<(), RestoreError> {
        let parent = self.chain_dir.metadata().map_err(|error| RestoreError::io("look at", &self.chain_dir, error))?;
        if parent.dev() == device {
            return Ok(());
        }
        let reason = "is a mount point, into which a database cannot be moved in one step: mount the volume at the chain's \
                      folder or at the base path";
        Err(refuse(&self.database_dir(), reason))
    }
}

/// The locks of a node, held until dropped.
#[derive(Debug)]
pub struct NodeLocks(#[expect(dead_code, reason = "a lock lives as long as its file is open")] Vec<File>);

/// Refuses where a node holds the lock: RocksDB takes a POSIX record lock, ParityDB a BSD one.
fn check_unlocked(lock: &Path) -> Result<(), RestoreError> {
    let Ok(file) = std::fs::OpenOptions::new().write(true).open(lock) else { return Ok(()) };
    lock_as_node(&file).map_err(|()| RestoreError::NodeRunning { path: lock.to_owned() })
}

fn lock_as_node(file: &File) -> Result<(), ()> {
    rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive).map_err(drop)?;
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).map_err(drop)
}

/// Bytes of disk that a folder takes; none where it is not there.
fn taken_by(path: &Path) -> Result<u64, RestoreError> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => disk_usage(path),
        _ => Ok(0),
    }
}

/// What vanishes meanwhile, because another restore works there, takes nothing.
fn disk_usage(folder: &Path) -> Result<u64, RestoreError> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let io_error = |error| RestoreError::io("list", &folder, error);
        let Some(entries) = unless_gone(std::fs::read_dir(&folder)).map_err(io_error)? else { continue };
        for entry in entries {
            let entry = entry.map_err(io_error)?;
            let Some(found) = unless_gone(entry.metadata()).map_err(io_error)? else { continue };
            bytes += found.blocks() * STAT_BLOCK_BYTES;
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(bytes)
}

fn unless_gone<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}
