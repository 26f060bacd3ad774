//! The folder in which a database grows until it is whole: `.polkashots/<folder>.partial/`.
//!
//! It holds the tree (`db/…`), the manifest and the journal. Everything is made inside it by names that the plan has
//! checked, and opened without following links.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polkashots_shared::ids::Sha256;
use rustix::fs::FlockOperation;

use crate::durable;
use crate::error::RestoreError;
use crate::journal::Journal;
use crate::plan::Plan;
use crate::request::Owner;

/// The unit in which holes are kept, in bytes.
const BLOCK: usize = 4096;
const ZEROS: [u8; BLOCK] = [0; BLOCK];
const JOURNAL: &str = "journal";
const MANIFEST: &str = "manifest.json";
/// Where the manifest was found, as text; missing where the address may hold a secret.
const ORIGIN: &str = "origin";
/// The frames index as it was published, so that an update can be finished without the network.
const FRAMES: &str = "frames.json.zst";
const MAX_ORIGIN_BYTES: u64 = 8 * 1024;
const MAX_MANIFEST_BYTES: u64 = polkashots_shared::manifest::MAX_MANIFEST_BYTES;

/// Owner and modes of what is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Permissions {
    /// The owner; none leaves it to the process.
    pub owner: Option<Owner>,
    /// The mode of files; none means 0644 less the umask.
    pub file_mode: Option<u32>,
    /// The mode of folders; none means 0755 less the umask.
    pub folder_mode: Option<u32>,
}

/// The lock of one database folder, held until dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the file is open")] File);

impl Lock {
    /// Takes the lock at `path`; `None` while somebody else holds it.
    pub fn try_take(path: &Path) -> Result<Option<Self>, RestoreError> {
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(durable::no_follow())
            .open(path)
            .map_err(|error| RestoreError::io("open", path, error))?;
        match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(opened))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(RestoreError::io("lock", path, error.into())),
        }
    }
}

/// A database that is being restored.
#[derive(Debug)]
pub struct Staging {
    root: PathBuf,
    plan: Arc<Plan>,
    permissions: Permissions,
    written: AtomicU64,
    /// Files or folders done in the phase that is under way, for progress.
    pub steps: AtomicU64,
    _lock: Arc<Lock>,
}

impl Staging {
    /// The staging of `plan` at `root`; nothing is made yet.
    pub fn new(root: PathBuf, plan: Arc<Plan>, permissions: Permissions, lock: Arc<Lock>) -> Self {
        Self { root, plan, permissions, written: AtomicU64::new(0), steps: AtomicU64::new(0), _lock: lock }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The staging folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Bytes written so far by this run.
    pub fn written_bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Continues what an earlier run left, where it is of the same manifest and whole; otherwise starts anew.
    ///
    /// Gives the journal and which frames are on disk already.
    /// `origin` is where the manifest was found, for [`unfinished`].
    pub fn prepare(&self, manifest: &[u8], origin: Option<&str>) -> Result<(Journal, Vec<bool>), RestoreError> {
        if let Some(resumed) = self.resume(manifest)? {
            return Ok(resumed);
        }
        discard(&self.root)?;
        self.lay_out()?;
        if let Some(origin) = origin {
            let at = self.root.join(ORIGIN);
            durable::write_file(&at, origin.as_bytes()).map_err(|error| RestoreError::io("write", &at, error))?;
        }
        let at = self.root.join(MANIFEST);
        durable::write_file(&at, manifest).map_err(|error| RestoreError::io("write", &at, error))?;
        let at = self.root.join(JOURNAL);
        let journal =
            Journal::create(&at, Sha256::of(manifest)).map_err(|error| RestoreError::io("write", &at, error))?;
        Ok((journal, vec![false; self.plan.frames.len()]))
    }

    /// Which frames an earlier run left on disk, without touching anything.
    pub fn look(root: &Path, manifest: &[u8], frames: usize) -> Vec<bool> {
        let same = durable::read_limited(&root.join(MANIFEST), MAX_MANIFEST_BYTES).is_ok_and(|found| found == manifest);
        let journal = root.join(JOURNAL);
        let opened = same.then(|| Journal::peek(&journal, Sha256::of(manifest), frames)).and_then(Result::ok).flatten();
        opened.unwrap_or_else(|| vec![false; frames])
    }

    fn resume(&self, manifest: &[u8]) -> Result<Option<(Journal, Vec<bool>)>, RestoreError> {
        let is_same =
            durable::read_limited(&self.root.join(MANIFEST), MAX_MANIFEST_BYTES).is_ok_and(|found| found == manifest);
        if !is_same || !self.is_laid_out() {
            return Ok(None);
        }
        let at = self.root.join(JOURNAL);
        Journal::open(&at, Sha256::of(manifest), self.plan.frames.len())
            .map_err(|error| RestoreError::io("read", &at, error))
    }

    /// True where every folder and file of the plan is there, as what it should be and with its size.
    fn is_laid_out(&self) -> bool {
        let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
        let is_file =
            |path: &Path, size: u64| path.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() == size);
        is_folder(&self.root)
            && self.plan.folders.iter().all(|folder| is_folder(&self.root.join(folder)))
            && self.plan.files.iter().all(|file| is_file(&self.root.join(&file.path), file.size))
    }

    fn lay_out(&self) -> Result<(), RestoreError> {
        make_folder(&self.root, Permissions::default())?;
        for folder in &self.plan.folders {
            make_folder(&self.root.join(folder), self.permissions)?;
        }
        for file in &self.plan.files {
            let at = self.root.join(&file.path);
            self.permissions.create(&at, file.size).map_err(|error| RestoreError::io("make", &at, error))?;
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        self.sync_folders()
    }

    fn sync_folders(&self) -> Result<(), RestoreError> {
        for folder in self.plan.folders.iter().map(|folder| self.root.join(folder)).chain([self.root.clone()]) {
            durable::sync_folder(&folder).map_err(|error| RestoreError::io("sync", &folder, error))?;
        }
        Ok(())
    }

    /// Writes the verified content of a frame to its files; blocks of zeros stay holes.
    pub fn write_frame(&self, frame: usize, content: &[u8], open: &mut OpenFile) -> Result<(), RestoreError> {
        for piece in self.plan.pieces(frame) {
            let path = || self.root.join(&self.plan.files[piece.file].path);
            let file = open.get(piece.file, path).map_err(|error| RestoreError::io("open", &path(), error))?;
            let bytes = content.get(piece.content.clone()).unwrap_or_default();
            for run in runs_of_data(bytes, piece.file_offset) {
                self.count(run.len() as u64)?;
                let at = piece.file_offset + run.start as u64;
                file.write_all_at(&bytes[run], at).map_err(|error| RestoreError::io("write", &path(), error))?;
            }
        }
        Ok(())
    }

    fn count(&self, bytes: u64) -> Result<(), RestoreError> {
        let limit = self.plan.disk_limit;
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes > limit {
            return Err(RestoreError::TooMuch { limit });
        }
        Ok(())
    }

    /// Makes the data of these frames durable, then records them.
    pub fn checkpoint(&self, journal: &mut Journal, frames: &[usize]) -> Result<(), RestoreError> {
        let mut files: Vec<usize> =
            frames.iter().flat_map(|frame| self.plan.pieces(*frame)).map(|piece| piece.file).collect();
        files.sort_unstable();
        files.dedup();
        for file in files {
            self.sync_file(file, File::sync_data)?;
        }
        let at = self.root.join(JOURNAL);
        journal.append(frames).map_err(|error| RestoreError::io("write", &at, error))
    }

    /// Keeps the frames index, durably.
    pub fn keep_index(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        let at = self.root.join(FRAMES);
        durable::write_file(&at, bytes).map_err(|error| RestoreError::io("write", &at, error))
    }

    /// Gives every file the owner and mode asked for, which those of an old database may not have.
    pub fn apply_permissions(&self) -> Result<(), RestoreError> {
        for file in &self.plan.files {
            let at = self.root.join(&file.path);
            let apply = |opened: File| self.permissions.apply(&opened, self.permissions.file_mode);
            open_for_writing(&at)
                .and_then(apply)
                .map_err(|error| RestoreError::io("set owner and mode of", &at, error))?;
        }
        Ok(())
    }

    /// Makes every file and folder durable.
    pub fn sync_all(&self) -> Result<(), RestoreError> {
        for file in 0..self.plan.files.len() {
            self.sync_file(file, File::sync_all)?;
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        self.sync_folders()
    }

    /// Moves the whole tree to where the node opens it, durably; the folder may be there, but must be empty.
    pub fn publish(&self, database_dir: &Path) -> Result<(), RestoreError> {
        let top = self.root.join(&self.plan.folders[0]);
        std::fs::rename(&top, database_dir).map_err(|error| RestoreError::io("put in place", database_dir, error))?;
        durable::sync_folder_of(database_dir).map_err(|error| RestoreError::io("sync", database_dir, error))?;
        durable::sync_folder(&self.root).map_err(|error| RestoreError::io("sync", &self.root, error))
    }

    fn sync_file(&self, file: usize, sync: fn(&File) -> io::Result<()>) -> Result<(), RestoreError> {
        let path = self.root.join(&self.plan.files[file].path);
        let opened = open_for_writing(&path).map_err(|error| RestoreError::io("open", &path, error))?;
        sync(&opened).map_err(|error| RestoreError::io("sync", &path, error))
    }
}

impl Permissions {
    /// Makes a file of `size` bytes that is one hole.
    pub fn create(&self, path: &Path, size: u64) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
        file.set_len(size)?;
        self.apply(&file, self.file_mode)?;
        Ok(file)
    }

    fn apply(&self, file: &File, mode: Option<u32>) -> io::Result<()> {
        if let Some(mode) = mode {
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        }
        match self.owner {
            Some(Owner { uid, gid }) => fchown(file, uid, gid),
            None => Ok(()),
        }
    }
}

/// The file that was written last, kept open, as neighbouring frames go to the same file.
#[derive(Debug, Default)]
pub struct OpenFile(Option<(usize, File)>);

impl OpenFile {
    fn get(&mut self, number: usize, path: impl Fn() -> PathBuf) -> io::Result<&File> {
        let reuse = self.0.take().filter(|(open, _)| *open == number);
        let file = match reuse {
            Some((_, file)) => file,
            None => open_for_writing(&path())?,
        };
        Ok(&self.0.insert((number, file)).1)
    }
}

/// Opens a file that is there, never through a link.
pub fn open_for_writing(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(durable::no_follow()).open(path)
}

/// Makes one folder.
pub fn make_folder(path: &Path, permissions: Permissions) -> Result<(), RestoreError> {
    let make = || {
        DirBuilder::new().mode(0o755).create(path)?;
        permissions.apply(&File::open(path)?, permissions.folder_mode)
    };
    make().map_err(|error| RestoreError::io("make folder", path, error))
}

/// Removes a staging folder, first of all what would let somebody believe that its tree was put in place.
pub fn discard(root: &Path) -> Result<(), RestoreError> {
    let manifest = root.join(MANIFEST);
    match root.symlink_metadata().map(|_| std::fs::remove_file(&manifest)) {
        Ok(Err(error)) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(RestoreError::io("remove", &manifest, error));
        }
        _ => {}
    }
    remove_tree(root)
}

/// The manifest of an unfinished restore and where it was found, as far as both can be read.
pub fn unfinished(root: &Path) -> Option<(Vec<u8>, String)> {
    let manifest = durable::read_limited(&root.join(MANIFEST), MAX_MANIFEST_BYTES).ok()?;
    let origin = durable::read_limited(&root.join(ORIGIN), MAX_ORIGIN_BYTES).ok()?;
    Some((manifest, String::from_utf8(origin).ok()?))
}

/// What [`Staging::keep_index`] and [`Staging::prepare`] left: the frames index and the manifest.
pub fn kept(root: &Path) -> Result<(Vec<u8>, Vec<u8>), RestoreError> {
    let read = |name: &str, most: u64| {
        let at = root.join(name);
        durable::read_limited(&at, most).map_err(|error| RestoreError::io("read", &at, error))
    };
    Ok((read(FRAMES, polkashots_shared::frames::MAX_COMPRESSED_BYTES)?, read(MANIFEST, MAX_MANIFEST_BYTES)?))
}

/// False where a staging folder was being removed, or not yet made: nothing in it can be continued.
pub fn has_manifest(root: &Path) -> bool {
    root.join(MANIFEST).symlink_metadata().is_ok()
}

/// The manifest of a staging folder whose tree was put in place, after which its restore was stopped.
pub fn put_in_place(root: &Path, top: &str) -> Option<Vec<u8>> {
    let is_gone = root.join(top).symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let is_folder = root.symlink_metadata().is_ok_and(|found| found.is_dir());
    let bytes = (is_folder && is_gone).then(|| durable::read_limited(&root.join(MANIFEST), MAX_MANIFEST_BYTES));
    bytes.and_then(Result::ok)
}

/// Removes a folder with all that is in it, links unfollowed; one that is not there is not an error.
pub fn remove_tree(path: &Path) -> Result<(), RestoreError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RestoreError::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// The parts of `bytes`, which lie at `offset` of a file, that are in blocks with a byte other than zero.
pub fn runs_of_data(bytes: &[u8], offset: u64) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let in_block = ((offset + start as u64) % BLOCK as u64) as usize;
        let end = (start + BLOCK - in_block).min(bytes.len());
        if bytes[start..end] != ZEROS[..end - start] {
            match runs.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => runs.push(start..end),
            }
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_zeros_are_left_out_by_their_place_in_the_file() {
        let runs = |bytes: &[u8], offset| {
            let pair = |run: std::ops::Range<usize>| (run.start, run.end);
            runs_of_data(bytes, offset).into_iter().map(pair).collect::<Vec<_>>()
        };
        let mut bytes = vec![0; 3 * BLOCK];
        assert_eq!(runs(&bytes, 0), []);
        bytes[BLOCK] = 1;
        assert_eq!(runs(&bytes, 0), [(BLOCK, 2 * BLOCK)]);
        assert_eq!(runs(&bytes, 100), [(BLOCK - 100, 2 * BLOCK - 100)]);
        bytes[BLOCK - 101] = 1;
        assert_eq!(runs(&bytes, 100), [(0, 2 * BLOCK - 100)]);
        assert_eq!(runs(&[], 5), []);
        assert_eq!(runs(&[0, 0, 1], 5), [(0, 3)]);
    }

    #[test]
    fn the_lock_has_one_holder() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        let held = Lock::try_take(&path)?;
        assert!(held.is_some());
        assert!(Lock::try_take(&path)?.is_none());
        drop(held);
        assert!(Lock::try_take(&path)?.is_some());
        Ok(())
    }
}
