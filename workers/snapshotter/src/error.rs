//! Why a database could not be archived.

use std::io;
use std::path::PathBuf;

use polkashots_shared::frames::{MAX_COMPRESSED_BYTES, MAX_ENTRIES, MAX_JSON_BYTES};
use polkashots_shared::ports::object_store::StoreError;
use polkashots_shared::tree::MAX_FILES;

/// Says why a database could not be archived; nothing of the archive is visible then.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The system refused.
    #[error("{action} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in the database folder is neither a regular file nor a directory.
    #[error("{}: is a {found}, expected only regular files and directories: remove it from the database", path.display())]
    NotAllowed {
        /// Where it lies.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A folder that belongs to a node and to no database.
    #[error("{}: no database has such a folder and it may hold keys: move it out of the database", path.display())]
    Foreign {
        /// Where it lies.
        path: PathBuf,
    },
    /// A name cannot be published.
    #[error("{}: the name {reason}: no chain database has such a file, remove it", path.display())]
    Name {
        /// Where it lies, with the name escaped.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Folders are nested too deep.
    #[error("{}: nested deeper than {max_depth} folders: this is not a chain database", path.display())]
    TooDeep {
        /// Where the walk stopped.
        path: PathBuf,
        /// The limit.
        max_depth: usize,
    },
    /// There are more files than a frames index may list.
    #[error("{}: more than {MAX_ENTRIES} files and folders: this is not a chain database", path.display())]
    TooManyEntries {
        /// The chain folder.
        path: PathBuf,
    },
    /// A file is not what it was when the run began.
    #[error(
        "{}: changed while it was archived: expected {expected_bytes} bytes as walked, found {found_bytes}: archive a \
         volume snapshot or a copy, not the folder of a running node",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its size when it was walked.
        expected_bytes: u64,
        /// Its size now.
        found_bytes: u64,
    },
    /// A setting of the target leaves its bounds.
    #[error("compression.{setting} is {found}, expected {expected}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        found: String,
        /// Its bounds.
        expected: &'static str,
    },
    /// The compressor refused.
    #[error("compress frame {frame}: {source}")]
    Compress {
        /// The frame's number, from 0.
        frame: usize,
        /// What the compressor said.
        source: io::Error,
    },
    /// The frames index is larger than readers take.
    #[error(
        "frames index is too large: {json_bytes} bytes of JSON (at most {MAX_JSON_BYTES}), {compressed_bytes} compressed \
         (at most {MAX_COMPRESSED_BYTES}): raise compression.frame_size_bytes"
    )]
    IndexTooLarge {
        /// Bytes of JSON.
        json_bytes: u64,
        /// Bytes after compression.
        compressed_bytes: u64,
    },
    /// The archive has more frames than a seek table can list.
    #[error("archive has {frames} frames, expected fewer than {max_frames}: raise compression.frame_size_bytes")]
    TooManyFrames {
        /// How many.
        frames: usize,
        /// The seekable format's limit.
        max_frames: usize,
    },
    /// The tree has more files than its list of digests may name.
    #[error("database has {files} files, a tree has at most {MAX_FILES}: leave \"tree\" out of the target's formats")]
    TooManyForTree {
        /// How many.
        files: usize,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stage ended without a word, because it panicked.
    #[error("a stage of the archiver ended unexpectedly: this is a bug in polkashots")]
    Stopped,
}

impl ArchiveError {
    pub(crate) fn io(action: &'static str, path: PathBuf, source: io::Error) -> Self {
        Self::Io { action, path, source }
    }

    /// True where the same run may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() != io::ErrorKind::PermissionDenied,
            Self::Store(error) => error.is_transient(),
            Self::Changed { .. } | Self::Stopped => true,
            _ => false,
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ": run as a user who may read the database",
        io::ErrorKind::NotFound => ": it vanished or was never there; archive a volume snapshot or a copy",
        _ => "",
    }
}
