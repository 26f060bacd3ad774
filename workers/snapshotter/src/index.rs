//! The frames index of an archive, as it is stored: JSON in one zstd stream.

use std::io::{self, Write};

use polkashots_shared::frames::{self, FileEntry, Frame, FramesIndex};
use polkashots_shared::ids::{TargetId, Version};

use crate::error::ArchiveError;
use crate::layout::Layout;

const LEVEL: i32 = 3;

/// The frames index of one archive.
pub fn frames_index(
    (target, version): (&TargetId, Version),
    artifact: &str,
    layout: &Layout,
    frames: Vec<Frame>,
) -> FramesIndex {
    let mut directories = Vec::new();
    let mut files = Vec::new();
    for entry in &layout.entries {
        match entry.file {
            None => directories.push(entry.path.clone()),
            Some(state) => {
                files.push(FileEntry { path: entry.path.clone(), offset: entry.content_start(), size: state.size });
            }
        }
    }
    FramesIndex {
        schema: frames::SCHEMA,
        target: target.clone(),
        version,
        artifact: artifact.to_owned(),
        uncompressed_size: layout.size,
        frames,
        directories,
        files,
    }
}

/// The index as stored; refused where it is larger than readers take.
pub fn to_stored_bytes(index: &FramesIndex) -> Result<Vec<u8>, ArchiveError> {
    let compress = |source| ArchiveError::Compress { frame: index.frames.len(), source };
    let encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL).map_err(compress)?;
    let mut counted = Counted { inner: encoder, bytes: 0 };
    serde_json::to_writer(&mut counted, index).map_err(|error| compress(error.into()))?;
    let json_bytes = counted.bytes;
    let compressed = counted.inner.finish().map_err(compress)?;
    let compressed_bytes = compressed.len() as u64;
    if json_bytes > frames::MAX_JSON_BYTES || compressed_bytes > frames::MAX_COMPRESSED_BYTES {
        return Err(ArchiveError::IndexTooLarge { json_bytes, compressed_bytes });
    }
    Ok(compressed)
}

struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
