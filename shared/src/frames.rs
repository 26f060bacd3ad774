//! The frames index: where each zstd frame of a `.tar.zst` lies, and where each file lies in its tar stream.
//!
//! Stored zstd-compressed as `<version>.frames.json.zst`; its SHA-256 is in the signed manifest. The frames are also
//! listed, without digests, in the artifact's own seek table (the zstd seekable format).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Sha256, TargetId, Version};

/// The schema that this program writes and reads.
pub const SCHEMA: u32 = 1;
/// The largest frames index that is read, in compressed bytes.
pub const MAX_COMPRESSED_BYTES: u64 = 64 * 1024 * 1024;
/// The largest frames index that is read, in bytes of JSON.
pub const MAX_JSON_BYTES: u64 = 512 * 1024 * 1024;
/// Most files and directories in one snapshot.
pub const MAX_ENTRIES: usize = 4_000_000;
/// Most uncompressed bytes in one frame.
pub const MAX_FRAME_BYTES: u32 = 64 * 1024 * 1024;

/// Where each frame and each file of one `.tar.zst` lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FramesIndex {
    /// 1. A reader refuses a larger number.
    pub schema: u32,
    /// The snapshot's target.
    pub target: TargetId,
    /// The snapshot's version.
    pub version: Version,
    /// The artifact's name: `20261122-040000.tar.zst`.
    pub artifact: String,
    /// Bytes of the tar stream.
    pub uncompressed_size: u64,
    /// The frames, in order, without gaps: the first starts at offset 0 of artifact and tar stream.
    pub frames: Vec<Frame>,
    /// The directories, sorted, parents first.
    pub directories: Vec<String>,
    /// The regular files, in the order of the tar stream.
    pub files: Vec<FileEntry>,
}

/// One zstd frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// Where it starts in the artifact.
    pub offset: u64,
    /// Its compressed size in bytes.
    pub size: u32,
    /// The bytes of tar stream that it holds.
    pub uncompressed_size: u32,
    /// The SHA-256 of the compressed frame.
    pub sha256: Sha256,
    /// The SHA-256 of the bytes of tar stream that it holds.
    pub content_sha256: Sha256,
}

/// One regular file in the tar stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Its path, starting with `db/` or `paritydb/`.
    pub path: String,
    /// Where its first byte lies in the tar stream.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
}
