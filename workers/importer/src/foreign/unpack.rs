//! From the bytes of somebody else's archive to a database in place: decompress, check, write, make durable, rename.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polkashots_shared::ids::DatabaseKind;

use super::decode::decoded;
use super::entries::{Entries, EntryError};
use super::feed::Fodder;
use super::layout::{Layout, Placed};
use crate::destination::Place;
use crate::durable;
use crate::error::RestoreError;
use crate::plan::Paths;
use crate::staging::{Lock, Permissions, discard, make_folder, open_for_writing, runs_of_data};

/// How much is written at once, in bytes; a multiple of the unit in which holes are kept.
const BUFFER_BYTES: usize = 1024 * 1024;
/// What a file may take on disk beyond its size, in bytes.
const DISK_BLOCK_BYTES: u64 = 4096;
/// How much is given to the decompression at once, in bytes.
const INPUT_BYTES: usize = 256 * 1024;

/// What an archive is unpacked to, and how.
#[derive(Debug)]
pub struct Unpacking {
    /// The archive's address, as it is shown.
    pub archive: String,
    /// The chain's folder that the archive must be of, if that is known.
    pub chain_folder: Option<String>,
    /// Where the database goes; its kind is the archive's.
    pub chain_dir: PathBuf,
    /// Owner and modes of what is made.
    pub permissions: Permissions,
    /// How much of the last step is done.
    pub steps: Steps,
    /// Held until the last thread that works here has ended.
    pub locks: Vec<Lock>,
}

/// The files that were made durable, of how many.
#[derive(Debug, Default)]
pub struct Steps {
    /// Files done.
    pub done: AtomicU64,
    /// Files in all; 0 while the archive still comes in.
    pub total: AtomicU64,
}

/// An archive that was unpacked to a staging folder, durably.
#[derive(Debug)]
pub struct Unpacked {
    /// Where its database goes.
    pub place: Place,
    /// How many files it has.
    pub files: u64,
    /// How many bytes those have, holes included.
    pub content_bytes: u64,
    /// Bytes written to disk.
    pub written_bytes: u64,
}

impl Unpacking {
    /// Unpacks what comes as `input`; what an earlier run has left of the same kind of database is thrown away first.
    pub fn run(&self, input: Fodder) -> Result<Unpacked, RestoreError> {
        let read = |source| self.refuse(EntryError::Read { entry: String::new(), source });
        let input = std::io::BufReader::with_capacity(INPUT_BYTES, input);
        let decoded = decoded(input).map_err(read)?;
        let mut entries = Entries::new(std::io::BufReader::with_capacity(INPUT_BYTES, decoded));
        let mut layout = Layout::new(self.chain_folder.clone());
        let mut tree = None;
        while let Some(entry) = entries.next().map_err(|error| self.refuse(error))? {
            let placed = layout.place(&entry).map_err(|error| self.refuse(error))?;
            let Some(kind) = layout.kind() else { continue };
            let tree = match &mut tree {
                Some(tree) => tree,
                None => tree.insert(self.tree(kind)?),
            };
            tree.make(&placed, |buffer| entries.read_content(buffer).map_err(|error| self.refuse(error)))?;
        }
        let (kind, paths) = layout.finish().map_err(|error| self.refuse(error))?;
        let Some(tree) = tree else { return Err(self.refuse(EntryError::Stream("has no database".into()))) };
        self.sync(&tree.root, &paths)?;
        Ok(Unpacked {
            place: self.place(kind),
            files: paths.files().count() as u64,
            content_bytes: tree.content_bytes,
            written_bytes: tree.written_bytes,
        })
    }

    /// The place of a database of that kind.
    pub fn place(&self, kind: DatabaseKind) -> Place {
        Place::new(self.chain_dir.clone(), kind)
    }

    fn tree(&self, kind: DatabaseKind) -> Result<Tree, RestoreError> {
        let place = self.place(kind);
        let root = place.staging_dir();
        discard(&root)?;
        let free_bytes = place.free_bytes()?;
        make_folder(&root, Permissions::default())?;
        let buffer = vec![0; BUFFER_BYTES];
        Ok(Tree {
            root,
            permissions: self.permissions,
            free_bytes,
            buffer,
            needed_bytes: 0,
            content_bytes: 0,
            written_bytes: 0,
        })
    }

    fn sync(&self, root: &Path, paths: &Paths) -> Result<(), RestoreError> {
        self.steps.total.store(paths.files().count() as u64, Ordering::Relaxed);
        for file in paths.files() {
            let at = root.join(file);
            let synced = open_for_writing(&at).and_then(|opened| opened.sync_all());
            synced.map_err(|error| RestoreError::io("sync", &at, error))?;
            self.steps.done.fetch_add(1, Ordering::Relaxed);
        }
        for folder in paths.folders().map(|folder| root.join(folder)).chain([root.to_owned()]) {
            durable::sync_folder(&folder).map_err(|error| RestoreError::io("sync", &folder, error))?;
        }
        Ok(())
    }

    fn refuse(&self, source: EntryError) -> RestoreError {
        RestoreError::Foreign { archive: self.archive.clone(), source }
    }
}

/// The tree that grows in a staging folder.
struct Tree {
    root: PathBuf,
    permissions: Permissions,
    /// Bytes that were free before anything was written.
    free_bytes: u64,
    buffer: Vec<u8>,
    /// What the files so far could take on disk.
    needed_bytes: u64,
    content_bytes: u64,
    written_bytes: u64,
}

impl Tree {
    fn make(
        &mut self,
        placed: &Placed,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, RestoreError>,
    ) -> Result<(), RestoreError> {
        for folder in &placed.folders {
            make_folder(&self.root.join(folder), self.permissions)?;
        }
        let Some((path, size)) = &placed.file else { return Ok(()) };
        self.make_room(*size)?;
        let at = self.root.join(path);
        let file = self.permissions.create(&at, *size).map_err(|error| RestoreError::io("make", &at, error))?;
        let mut offset = 0;
        loop {
            let filled = fill(&mut self.buffer, &mut read)?;
            if filled == 0 {
                return Ok(());
            }
            for run in runs_of_data(&self.buffer[..filled], offset) {
                self.written_bytes += run.len() as u64;
                let place = offset + run.start as u64;
                file.write_all_at(&self.buffer[run], place).map_err(|error| RestoreError::io("write", &at, error))?;
            }
            offset += filled as u64;
        }
    }

    /// Refuses what would not fit, holes taken for data: with no manifest that is the only bound there is.
    fn make_room(&mut self, size: u64) -> Result<(), RestoreError> {
        self.content_bytes = self.content_bytes.saturating_add(size);
        self.needed_bytes = self.needed_bytes.saturating_add(size.next_multiple_of(DISK_BLOCK_BYTES));
        match self.needed_bytes <= self.free_bytes {
            true => Ok(()),
            false => {
                let (needed, free) = (self.needed_bytes, self.free_bytes);
                Err(RestoreError::Space { path: self.root.clone(), needed, free })
            }
        }
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(
    buffer: &mut [u8],
    read: &mut impl FnMut(&mut [u8]) -> Result<usize, RestoreError>,
) -> Result<usize, RestoreError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(&mut buffer[filled..])? {
            0 => break,
            more => filled += more,
        }
    }
    Ok(filled)
}

/// Starts the thread; it ends soon after whoever feeds it has given up.
pub fn start(unpacking: &Arc<Unpacking>, input: Fodder) -> tokio::task::JoinHandle<Result<Unpacked, RestoreError>> {
    let unpacking = Arc::clone(unpacking);
    tokio::task::spawn_blocking(move || unpacking.run(input))
}
