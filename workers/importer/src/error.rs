//! Says why a restore or a verification failed.

use std::io;
use std::path::{Path, PathBuf};

use crate::foreign::EntryError;
use crate::plan::PlanError;
use crate::resolve::ResolveError;
use crate::source::SourceError;
use crate::trust::TrustError;

/// Says why a restore or a verification failed, and what a person can do.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// No manifest was found, or none that is to be believed.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The archive or the frames index cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The snapshot is not to be believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The frames index is refused.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The snapshot has no archive that can be restored from.
    #[error("snapshot {snapshot} has no tar.zst archive with a frames index")]
    NoArchive {
        /// Target and version.
        snapshot: String,
    },
    /// A frame is not what the signed index says, again and again.
    #[error(
        "{file}: frame {frame} at {offset} has SHA-256 {found}, expected {expected}, in each of {attempts} attempts: \
         the archive was changed or is damaged; nothing of that frame was written"
    )]
    Digest {
        /// The archive.
        file: String,
        /// Which frame.
        frame: usize,
        /// Where it starts.
        offset: u64,
        /// The digest found.
        found: String,
        /// The digest expected.
        expected: String,
        /// How often it was fetched.
        attempts: u32,
    },
    /// A frame has the right digest, but is not what the index says.
    #[error("{file}: frame {frame} does not unpack to {expected} bytes: {reason}: tell the publisher of the snapshot")]
    Frame {
        /// The archive.
        file: String,
        /// Which frame.
        frame: usize,
        /// The size expected.
        expected: u32,
        /// What happened.
        reason: String,
    },
    /// A file of a verified snapshot is not what its manifest says.
    #[error("{file}: {reason}")]
    Content {
        /// The file.
        file: String,
        /// What was expected and found.
        reason: String,
    },
    /// A restored directory is not what its snapshot's manifest says.
    #[error(
        "{}: {files} files differ from the signed snapshot, or share a frame with one that does ({named}): a node that ran \
         changes its database; where none did, \
         polkashots restore --repair fetches what differs", path.display()
    )]
    Differs {
        /// The database's folder.
        path: PathBuf,
        /// How many files.
        files: usize,
        /// Some of them.
        named: String,
    },
    /// The archive holds more than the manifest declares.
    #[error(
        "the archive has more than the {limit} bytes that the manifest declares: refused, tell the publisher of the snapshot"
    )]
    TooMuch {
        /// The bytes declared.
        limit: u64,
    },
    /// The archive has no signed manifest, and none was not allowed.
    #[error(
        "{archive}: there is no signed manifest beside it ({manifest}), so nothing says who made it or what is in it: name a \
         snapshot that is signed, or accept this one with --allow-unsigned (POLKASHOTS_ALLOW_UNSIGNED=true)"
    )]
    Unsigned {
        /// The archive.
        archive: String,
        /// Where its manifest would be.
        manifest: String,
    },
    /// Something was asked that only a signed manifest can answer.
    #[error("{archive} is not signed, and without a manifest {asked}")]
    NeedsManifest {
        /// The archive.
        archive: String,
        /// What cannot be done, with the way out.
        asked: String,
    },
    /// An unsigned archive is not one that can be restored.
    #[error("{archive}: {source}")]
    Foreign {
        /// The archive.
        archive: String,
        /// What is wrong with it.
        source: EntryError,
    },
    /// There is not enough room.
    #[error("{}: {needed} bytes of disk are needed, {free} are free: free {} bytes and run the same command again", path.display(), needed - free)]
    Space {
        /// The destination.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The disk filled up on the way.
    #[error("{}: the disk is full: free some space and run the same command again, it continues where it stopped", path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
    },
    /// Another restore works there.
    #[error("{}: another restore is at work there: wait for it, or stop it", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// A node has the database open.
    #[error("{}: a node has this database open: stop it first", path.display())]
    NodeRunning {
        /// The database's lock.
        path: PathBuf,
    },
    /// The destination cannot take a database.
    #[error("{}: {reason}", path.display())]
    Destination {
        /// The path.
        path: PathBuf,
        /// What is wrong, with a way out.
        reason: String,
    },
    /// What is remembered beside the database cannot be read.
    #[error("{}: not readable as JSON of this program: {source}: if nobody needs it, remove it", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The system refused something.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A thread ended before its work.
    #[error("{0} ended unexpectedly: run the same command again, it continues where it stopped")]
    Thread(&'static str),
}

/// What kind of failure it was, as exit codes tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// What was asked cannot be done: a wrong name, address, key file or folder.
    Usage,
    /// The snapshot is not to be believed or not well-formed.
    Refused,
    /// The network or the server failed.
    Network,
    /// There is not enough room.
    Space,
    /// A node or another restore is at work there.
    Busy,
    /// The system refused something.
    Io,
}

impl RestoreError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Resolve(error) => kind_of_resolve(error),
            Self::Source(error) => kind_of_source(error),
            Self::Trust(error) => kind_of_trust(error),
            Self::Plan(_) | Self::NoArchive { .. } | Self::Digest { .. } | Self::Frame { .. } => ErrorKind::Refused,
            Self::Content { .. } | Self::Differs { .. } | Self::TooMuch { .. } => ErrorKind::Refused,
            Self::Unsigned { .. } | Self::Foreign { .. } => ErrorKind::Refused,
            Self::NeedsManifest { .. } => ErrorKind::Usage,
            Self::Space { .. } | Self::DiskFull { .. } => ErrorKind::Space,
            Self::Busy { .. } | Self::NodeRunning { .. } => ErrorKind::Busy,
            Self::Destination { .. } => ErrorKind::Usage,
            Self::Memory { .. } | Self::Io { .. } | Self::Thread(_) => ErrorKind::Io,
        }
    }

    /// An error of the system while doing `action` on `path`; a full disk is told apart.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path: path.to_owned() },
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }
}

fn kind_of_resolve(error: &ResolveError) -> ErrorKind {
    match error {
        ResolveError::Source(error) => kind_of_source(error),
        ResolveError::Trust(error) => kind_of_trust(error),
        ResolveError::Manifest { .. } | ResolveError::Index { .. } | ResolveError::SignatureText { .. } => {
            ErrorKind::Refused
        }
        ResolveError::NameNeeded { .. } | ResolveError::UnknownTarget { .. } => ErrorKind::Usage,
    }
}

fn kind_of_source(error: &SourceError) -> ErrorKind {
    match error {
        SourceError::Address { .. } => ErrorKind::Usage,
        SourceError::Io { .. } => ErrorKind::Io,
        error if error.is_network() => ErrorKind::Network,
        _ => ErrorKind::Refused,
    }
}

fn kind_of_trust(error: &TrustError) -> ErrorKind {
    match error {
        TrustError::NoKey | TrustError::Key(_) => ErrorKind::Usage,
        _ => ErrorKind::Refused,
    }
}
