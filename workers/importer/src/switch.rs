//! The last step of an update: the old database and what was fetched become the new one, without a copy of either.
//!
//! Until here the old database is where the node opens it, and the staging folder holds every frame that differs. Then the
//! old tree is moved into the staging folder, out of the node's sight, and from there on everything is local: a file of
//! which nothing changed is moved, one of which something changed is mended in place and then moved, and a new one is there
//! already. What is left of the old tree is deleted. Each step can be repeated, so a switch that was stopped is finished by
//! whoever comes next, without the network.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::compare::inside;
use crate::durable;
use crate::error::RestoreError;
use crate::plan::{Piece, Plan};
use crate::staging::{Staging, remove_tree, runs_of_data};

/// The old tree, inside the staging folder.
const OLD: &str = "old";
/// A file that is mended as a copy, because it has other names too.
const COPY: &str = "copy";
/// How much is copied at once, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;

/// True where a switch was begun in that staging folder.
pub fn is_begun(staging: &Path) -> bool {
    staging.join(OLD).symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// Moves the old database into the staging folder, durably: the switch is begun.
pub fn begin(staging: &Path, database_dir: &Path) -> Result<(), RestoreError> {
    let old = staging.join(OLD);
    std::fs::rename(database_dir, &old).map_err(|error| RestoreError::io("move away", database_dir, error))?;
    durable::sync_folder(staging).map_err(|error| RestoreError::io("sync", staging, error))?;
    durable::sync_folder_of(database_dir).map_err(|error| RestoreError::io("sync", database_dir, error))
}

/// Completes the tree in `staging`; `fetched` are the frames that are in it, all others are in the old tree.
pub fn complete(staging: &Staging, fetched: &[bool]) -> Result<(), RestoreError> {
    let switch = Switch { staging, plan: staging.plan(), old: staging.root().join(OLD), fetched };
    for number in 0..switch.plan.files.len() {
        switch.file(number)?;
        staging.steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(())
}

/// Removes what is left of the old tree.
pub fn end(staging: &Path) -> Result<(), RestoreError> {
    remove_tree(&staging.join(OLD))
}

struct Switch<'a> {
    staging: &'a Staging,
    plan: &'a Plan,
    old: PathBuf,
    fetched: &'a [bool],
}

impl Switch<'_> {
    fn file(&self, number: usize) -> Result<(), RestoreError> {
        let file = &self.plan.files[number];
        let frames = self.plan.frames_of(number);
        if file.size == 0 || self.fetched[frames.clone()].iter().all(|fetched| *fetched) {
            return Ok(());
        }
        let (old, new) = (inside(&self.old, &file.path), self.staging.root().join(&file.path));
        let failed = |error| RestoreError::io("mend", &old, error);
        let found = match old.symlink_metadata() {
            // An earlier life has moved it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(failed)?,
        };
        let is_whole = found.len() == file.size && !self.fetched[frames].iter().any(|fetched| *fetched);
        let source = match is_whole {
            true => old.clone(),
            false => self.mended(number, &old, &new, found.nlink()).map_err(failed)?,
        };
        std::fs::rename(&source, &new).map_err(|error| RestoreError::io("move", &source, error))
    }

    /// Mends a file durably; gives where it is then.
    fn mended(&self, number: usize, old: &Path, new: &Path, names: u64) -> io::Result<PathBuf> {
        let at = match names {
            1 => old.to_owned(),
            // Whoever has the other name must not see it change.
            _ => {
                let copy = self.staging.root().join(COPY);
                std::fs::copy(old, &copy)?;
                copy
            }
        };
        let open = |path: &Path, write| {
            OpenOptions::new().read(true).write(write).custom_flags(durable::no_follow()).open(path)
        };
        let (target, fetched) = (open(&at, true)?, open(new, false)?);
        target.set_len(self.plan.files[number].size)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        for frame in self.plan.frames_of(number).filter(|frame| self.fetched[*frame]) {
            for piece in self.plan.pieces(frame).filter(|piece| piece.file == number) {
                copy_piece(&fetched, &target, &piece, &mut buffer)?;
            }
        }
        target.sync_all()?;
        Ok(at)
    }
}

/// Copies a piece to the same place of another file, holes as holes.
fn copy_piece(from: &File, to: &File, piece: &Piece, buffer: &mut [u8]) -> io::Result<()> {
    let (mut at, end) = (piece.file_offset, piece.file_offset + piece.content.len() as u64);
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let is_hole = rustix::fs::fallocate(to, flags, at, end - at).is_ok();
    while at < end {
        let chunk = &mut buffer[..(end - at).min(CHUNK_BYTES as u64) as usize];
        from.read_exact_at(chunk, at)?;
        match is_hole {
            true => {
                for run in runs_of_data(chunk, at) {
                    to.write_all_at(&chunk[run.clone()], at + run.start as u64)?;
                }
            }
            false => to.write_all_at(chunk, at)?,
        }
        at += chunk.len() as u64;
    }
    Ok(())
}
