//! What can go wrong with volume snapshots on one machine, and whether trying again helps.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;
use polkashots_shared::ports::chain_database::ChainDatabaseError;

use crate::VolumeSnapshotError;

/// Says what went wrong on this machine.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    #[error("{}: {source}{}", path.display(), way_out(source))]
    Io { path: PathBuf, source: io::Error },
    #[error("no source is configured for target {target}: set its path")]
    NoSource { target: TargetId },
    #[error(transparent)]
    Database(#[from] ChainDatabaseError),
    #[error(
        "{}: process {pid} ({name}) has the database open; a copy of it would be torn: stop it, configure quiesce \
         commands, or keep the database on btrfs", path.display()
    )]
    LiveNode { path: PathBuf, pid: u32, name: String },
    #[error(
        "not enough disk space: the copy of {} needs {needed_bytes} bytes and {} has {available_bytes} bytes free; \
         free {} bytes more", source_dir.display(), state.display(), needed_bytes.saturating_sub(*available_bytes)
    )]
    NoSpace { source_dir: PathBuf, state: PathBuf, needed_bytes: u64, available_bytes: u64 },
    #[error("{}: changed while it was copied: a node was started on the database", path.display())]
    Changed { path: PathBuf },
    #[error("{}: is {found}, expected only regular files and folders in a database", path.display())]
    NotRegular { path: PathBuf, found: &'static str },
    #[error("another process is at work on target {target}")]
    Busy { target: TargetId },
    #[error("the claim of {target} is not held by {version}{}", .held_by.map(|v| format!(", but by {v}")).unwrap_or_default())]
    NotHeld { target: TargetId, version: Version, held_by: Option<Version> },
    #[error("stopped on request")]
    Cancelled,
    #[error("deadline of {} ms passed", .deadline.as_millis())]
    Deadline { deadline: Duration },
    #[error("{what} command {argv}: {reason}")]
    Command { what: &'static str, argv: String, reason: String },
    #[error("{}: not on a btrfs subvolume: {reason}; make it one (btrfs subvolume create) or set method = \"copy\"", path.display())]
    NotASubvolume { path: PathBuf, reason: String },
    #[error("the btrfs command is missing: install btrfs-progs")]
    NoBtrfs,
    #[error("{}: not on the btrfs filesystem of {}: set snapshots to a folder there", dir.display(), path.display())]
    OtherFilesystem { dir: PathBuf, path: PathBuf },
    #[error("{}: not readable as written by this program: {source}; remove it if no run is in flight", path.display())]
    Record { path: PathBuf, source: serde_json::Error },
}

impl LocalError {
    /// Makes an error of the system at `path`, for `map_err`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Makes an error of a system call at `path`, for `map_err`.
    pub(super) fn sys(path: &Path) -> impl FnOnce(rustix::io::Errno) -> Self + use<> {
        let path = path.to_owned();
        move |errno| Self::Io { path, source: errno.into() }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Io { source, .. } => may_pass(source.kind()),
            Self::Database(ChainDatabaseError::Io { source, .. }) => {
                source.downcast_ref::<io::Error>().is_none_or(|error| may_pass(error.kind()))
            }
            Self::Changed { .. } | Self::Busy { .. } | Self::NotHeld { .. } | Self::Cancelled => true,
            Self::Command { .. } => true,
            _ => false,
        }
    }

    /// The port's error for this one.
    pub(super) fn of(self, operation: &'static str, name: impl ToString) -> VolumeSnapshotError {
        let name = name.to_string();
        match self {
            Self::Deadline { deadline } => VolumeSnapshotError::DeadlineExceeded {
                operation,
                name,
                deadline,
                hint: "the node was started again; raise the deadline, put the state folder on a filesystem with \
                       reflinks, or use btrfs"
                    .into(),
            },
            error if error.is_transient() => {
                VolumeSnapshotError::Transient { operation, name, source: Box::new(error) }
            }
            error => VolumeSnapshotError::Permanent { operation, name, source: Box::new(error) },
        }
    }

    /// The port's error for this one, about one version.
    pub(super) fn of_version(
        self,
        operation: &'static str,
        target: &TargetId,
        version: Version,
    ) -> VolumeSnapshotError {
        self.of(operation, names::volume_snapshot_name(target, version))
    }
}

/// False for an error of the system that stays until a person acts.
fn may_pass(kind: io::ErrorKind) -> bool {
    !matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound | io::ErrorKind::StorageFull)
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ": run as a user who may read the database's files and write the state directory"
        }
        _ => "",
    }
}
