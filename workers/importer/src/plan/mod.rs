//! The plan of a restore: which bytes of which frame go where, from the signed frames index, everything checked.
//!
//! Positions come from the frames index, whose SHA-256 is in the signed manifest; the tar headers between the files are
//! skipped, never interpreted. So there is one description of the tree, and nothing in the archive can contradict it:
//! links, devices and repeated entries cannot even be expressed.

mod paths;
mod read;
mod stream;

use std::ops::Range;

use polkashots_shared::frames::{Frame, FramesIndex, MAX_ENTRIES, MAX_FRAME_BYTES};
use polkashots_shared::manifest::{Artifact, Manifest};

pub use paths::{Paths, check_form};
pub use read::read_index;
pub use stream::TarStream;

/// The unit of a tar stream, in bytes; each file has at least one of it before its content.
const TAR_BLOCK: u64 = 512;
/// Most frames; at the smallest frame size that is written, 256 KiB, this is half a terabyte, at the default 8 TB.
const MAX_FRAMES: usize = 2_000_000;
/// Skippable header and footer of the seek table.
const SEEK_TABLE_FIXED_BYTES: u64 = 8 + 9;
/// Bytes per frame in a seek table without and with checksums.
const SEEK_TABLE_ENTRY_BYTES: [u64; 2] = [8, 12];

/// A checked frames index.
#[derive(Debug)]
pub struct Plan {
    /// The frames, in order, without gaps.
    pub frames: Vec<Frame>,
    /// Where each frame's content starts in the tar stream.
    content_starts: Vec<u64>,
    /// Every folder, parents first; the first is the top folder.
    pub folders: Vec<String>,
    /// The directories that have a header of their own, in the order of the tar stream.
    directories: Vec<String>,
    /// The files, in the order of the tar stream.
    pub files: Vec<PlannedFile>,
    /// Bytes of the artifact, with its seek table.
    pub artifact_size: u64,
    /// Most bytes that may be written.
    pub disk_limit: u64,
}

/// A file to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its path, starting with the top folder.
    pub path: String,
    /// Where its first byte lies in the tar stream.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// Part of one frame that belongs to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Which of [`Plan::files`].
    pub file: usize,
    /// Where in the file.
    pub file_offset: u64,
    /// Which bytes of the frame's content.
    pub content: Range<usize>,
}

/// Says why a frames index is refused.
#[derive(Debug, thiserror::Error)]
#[error("frames index {name}: {reason}")]
pub struct PlanError {
    /// The index's file name.
    pub name: String,
    /// What was expected and found.
    pub reason: String,
}

impl Plan {
    /// Checks `index` against the manifest and against itself.
    pub fn new(index: FramesIndex, manifest: &Manifest, artifact: &Artifact) -> Result<Self, PlanError> {
        let name = artifact.frames.as_ref().map_or(artifact.file.clone(), |frames| frames.file.clone());
        let refuse = |reason| PlanError { name: name.clone(), reason };
        check_identity(&index, manifest, artifact).map_err(refuse)?;
        let content_starts = check_frames(&index, artifact).map_err(refuse)?;
        check_files(&index, manifest).map_err(refuse)?;
        let folders = paths::check(&index, manifest.database.kind.folder()).map_err(refuse)?;
        let planned = |file: polkashots_shared::frames::FileEntry| PlannedFile {
            path: file.path,
            offset: file.offset,
            size: file.size,
        };
        Ok(Self {
            frames: index.frames,
            content_starts,
            folders,
            directories: index.directories,
            files: index.files.into_iter().map(planned).collect(),
            artifact_size: artifact.size,
            disk_limit: manifest.disk_required,
        })
    }

    /// What of frame `frame` goes to which file.
    pub fn pieces(&self, frame: usize) -> impl Iterator<Item = Piece> + '_ {
        let start = self.content_starts[frame];
        let end = start + u64::from(self.frames[frame].uncompressed_size);
        let first = self.files.partition_point(|file| file.offset + file.size <= start);
        let overlapping = self.files[first..].iter().enumerate().take_while(move |(_, file)| file.offset < end);
        overlapping.filter(|(_, file)| file.size > 0).map(move |(index, file)| {
            let from = file.offset.max(start);
            let to = (file.offset + file.size).min(end);
            let content = (from - start) as usize..(to - start) as usize;
            Piece { file: first + index, file_offset: from - file.offset, content }
        })
    }

    /// The frames that hold content of file `number`, or none.
    pub fn frames_of(&self, number: usize) -> Range<usize> {
        let file = &self.files[number];
        let first = self.content_starts.partition_point(|start| *start <= file.offset) - 1;
        let end = self.content_starts.partition_point(|start| *start < file.offset + file.size);
        first..end.max(first)
    }

    /// Bytes of all frames, without the seek table.
    pub fn frames_bytes(&self) -> u64 {
        self.frames.last().map_or(0, |frame| frame.offset + u64::from(frame.size))
    }

    /// The most uncompressed bytes that one frame has.
    pub fn largest_frame(&self) -> usize {
        self.frames.iter().map(|frame| frame.uncompressed_size as usize).max().unwrap_or(0)
    }
}

fn check_identity(index: &FramesIndex, manifest: &Manifest, artifact: &Artifact) -> Result<(), String> {
    if index.schema > polkashots_shared::frames::SCHEMA {
        let (found, known) = (index.schema, polkashots_shared::frames::SCHEMA);
        return Err(format!("has schema {found}, this program reads up to {known}: update polkashots"));
    }
    let found = (&index.target, index.version, index.artifact.as_str(), index.uncompressed_size);
    let expected = (&manifest.target, manifest.version, artifact.file.as_str(), artifact.uncompressed_size);
    if found != expected {
        return Err(format!(
            "describes {}/{} of {} bytes, the manifest {}/{} of {} bytes",
            found.0, found.2, found.3, expected.0, expected.2, expected.3
        ));
    }
    Ok(())
}

/// Checks that the frames follow one another without a gap and fill artifact and tar stream; gives where each starts in the stream.
fn check_frames(index: &FramesIndex, artifact: &Artifact) -> Result<Vec<u64>, String> {
    let count = index.frames.len();
    if count == 0 || count > MAX_FRAMES {
        return Err(format!("has {count} frames, expected 1 to {MAX_FRAMES}"));
    }
    let (mut offset, mut content) = (0, 0);
    let mut starts = Vec::with_capacity(count);
    for (number, frame) in index.frames.iter().enumerate() {
        if frame.offset != offset {
            return Err(format!("frame {number} starts at {}, the one before it ends at {offset}", frame.offset));
        }
        check_frame_size(number, frame)?;
        starts.push(content);
        offset += u64::from(frame.size);
        content += u64::from(frame.uncompressed_size);
    }
    if content != index.uncompressed_size {
        return Err(format!("frames hold {content} bytes, expected {}", index.uncompressed_size));
    }
    let table = |entry: u64| offset + SEEK_TABLE_FIXED_BYTES + entry * count as u64;
    if !SEEK_TABLE_ENTRY_BYTES.map(table).contains(&artifact.size) {
        return Err(format!(
            "frames take {offset} bytes, which with a seek table is not the artifact's size of {}",
            artifact.size
        ));
    }
    Ok(starts)
}

fn check_frame_size(number: usize, frame: &Frame) -> Result<(), String> {
    if !(1..=MAX_FRAME_BYTES).contains(&frame.uncompressed_size) {
        let found = frame.uncompressed_size;
        return Err(format!("frame {number} unpacks to {found} bytes, expected 1 to {MAX_FRAME_BYTES}"));
    }
    let most = zstd::zstd_safe::compress_bound(frame.uncompressed_size as usize);
    if frame.size == 0 || frame.size as usize > most {
        return Err(format!("frame {number} has {} bytes, expected 1 to {most}", frame.size));
    }
    Ok(())
}

/// Checks that the files lie in the stream one after the other, each behind a header.
fn check_files(index: &FramesIndex, manifest: &Manifest) -> Result<(), String> {
    let entries = index.files.len() + index.directories.len();
    if entries > MAX_ENTRIES {
        return Err(format!("has {entries} entries, expected at most {MAX_ENTRIES}"));
    }
    if index.files.len() as u64 != manifest.files {
        return Err(format!("has {} files, the manifest says {}", index.files.len(), manifest.files));
    }
    let mut previous_end = 0_u64;
    for file in &index.files {
        let place = || format!("file {:?} at {} of {} bytes", file.path, file.offset, file.size);
        let end = file.offset.checked_add(file.size).filter(|end| *end <= index.uncompressed_size);
        let end = end.ok_or_else(|| format!("{} leaves the stream of {} bytes", place(), index.uncompressed_size))?;
        if file.offset % TAR_BLOCK != 0 {
            return Err(format!("{} does not start at a multiple of {TAR_BLOCK}", place()));
        }
        if file.offset < previous_end.next_multiple_of(TAR_BLOCK) + TAR_BLOCK {
            return Err(format!("{} overlaps what is before it, which ends at {previous_end}", place()));
        }
        previous_end = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
