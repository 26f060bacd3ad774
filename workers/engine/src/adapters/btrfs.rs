//! Volume snapshots by `btrfs subvolume snapshot -r`: atomic, so of live nodes too, and at no cost in space.
//!
//! The subvolume may be the base path, the chain folder, or anything above; the snapshot holds all of it, and the claim
//! leads to the chain folder in it, of which the snapshotter opens the database folder only.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;
use polkashots_shared::ports::chain_database::DatabaseLocation;
use tracing::info;

use super::error::LocalError;
use super::local::{LocalVolumes, Source};
use super::state::{Record, StateFolder};

/// Volume snapshots of which each source says how it is taken; the name under which a host with btrfs asks for it.
pub type BtrfsVolumes = LocalVolumes;

/// `BTRFS_SUPER_MAGIC` of linux/magic.h.
const BTRFS_MAGIC: i64 = 0x9123_683e;
/// `BTRFS_FIRST_FREE_OBJECTID`: the inode number of every subvolume's root.
const SUBVOLUME_ROOT_INODE: u64 = 256;

/// Snapshots the subvolume of `source`. The caller is at work on the target and has removed what earlier lives left.
pub(super) fn take(
    state: &StateFolder,
    source: &Source,
    target: &TargetId,
    version: Version,
) -> Result<(), LocalError> {
    let location = source.locate()?;
    let (subvolume, below) = subvolume_of(&location)?;
    let path = match &source.snapshots {
        Some(folder) => {
            fs::create_dir_all(folder).map_err(LocalError::io(folder))?;
            folder.join(names::volume_snapshot_name(target, version))
        }
        None => state.volume_path(target, version),
    };
    let chain_dir = path.join(below);
    let mut record = Record { target: target.clone(), version, path: path.clone(), chain_dir, taken_at: None };
    state.write_record(&record)?;
    if is_subvolume_root(&path) {
        delete_subvolume(&path)?;
    }
    let taken_at = Version::from_time(state.clock.now()).time();
    snapshot(&subvolume, &path)?;
    record.taken_at = Some(taken_at);
    state.write_record(&record)?;
    info!(%target, %version, subvolume = %subvolume.display(), "subvolume snapshotted");
    Ok(())
}

/// The subvolume that holds the whole chain folder, and the chain folder's place below it.
fn subvolume_of(location: &DatabaseLocation) -> Result<(PathBuf, PathBuf), LocalError> {
    let refused = |path: &Path, reason: &str| LocalError::NotASubvolume { path: path.into(), reason: reason.into() };
    let full = location.full_dir();
    let full = full.canonicalize().map_err(LocalError::io(&full))?;
    let chain_dir = location.chain_dir.canonicalize().map_err(LocalError::io(&location.chain_dir))?;
    if !full.starts_with(&chain_dir) {
        return Err(refused(
            &full,
            "a link leads to the database out of its chain folder, which a snapshot does not hold",
        ));
    }
    let mut inside = full.ancestors().take_while(|path| path.starts_with(&chain_dir) && **path != chain_dir);
    if let Some(nested) = inside.find(|path| is_subvolume_root(path)) {
        return Err(refused(nested, "a subvolume of its own inside the chain folder is not part of a snapshot"));
    }
    let root = chain_dir.ancestors().find(|path| is_subvolume_root(path));
    let root = root.ok_or_else(|| refused(&chain_dir, "no folder above it is a subvolume"))?;
    if let Some(nested) = nested_subvolume(&location.database_dir())? {
        return Err(refused(&nested, "a subvolume of its own inside the database is not part of a snapshot"));
    }
    let below = chain_dir.strip_prefix(root).unwrap_or(Path::new("")).to_owned();
    Ok((root.to_owned(), below))
}

fn nested_subvolume(folder: &Path) -> Result<Option<PathBuf>, LocalError> {
    for entry in fs::read_dir(folder).map_err(LocalError::io(folder))? {
        let entry = entry.map_err(LocalError::io(folder))?;
        if !entry.file_type().map_err(LocalError::io(folder))?.is_dir() {
            continue;
        }
        let path = entry.path();
        let nested = if is_subvolume_root(&path) { Some(path) } else { nested_subvolume(&path)? };
        if nested.is_some() {
            return Ok(nested);
        }
    }
    Ok(None)
}

/// True for the root folder of a btrfs subvolume or snapshot.
pub(super) fn is_subvolume_root(path: &Path) -> bool {
    let is_root = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.ino() == SUBVOLUME_ROOT_INODE);
    is_root && rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == BTRFS_MAGIC)
}

/// Removes a snapshot that this program made.
pub(super) fn delete_subvolume(path: &Path) -> Result<(), LocalError> {
    btrfs("delete", &["subvolume".as_ref(), "delete".as_ref(), path.as_ref()]).map_err(CommandFailed::into_error)
}

fn snapshot(subvolume: &Path, path: &Path) -> Result<(), LocalError> {
    let arguments = ["subvolume".as_ref(), "snapshot".as_ref(), "-r".as_ref(), subvolume.as_ref(), path.as_ref()];
    match btrfs("snapshot", &arguments) {
        Err(CommandFailed::Exit { reason, .. }) if reason.contains("cross-device") => {
            let dir = path.parent().unwrap_or(path).to_owned();
            Err(LocalError::OtherFilesystem { dir, path: subvolume.to_owned() })
        }
        done => done.map_err(CommandFailed::into_error),
    }
}

enum CommandFailed {
    Missing,
    Exit { what: &'static str, argv: String, reason: String },
}

impl CommandFailed {
    fn into_error(self) -> LocalError {
        match self {
            Self::Missing => LocalError::NoBtrfs,
            Self::Exit { what, argv, reason } => LocalError::Command { what, argv, reason },
        }
    }
}

fn btrfs(what: &'static str, arguments: &[&std::ffi::OsStr]) -> Result<(), CommandFailed> {
    let shown = arguments.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let argv = format!("btrfs {shown}");
    let output = match Command::new("btrfs").args(arguments).env("LC_ALL", "C").output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(CommandFailed::Missing),
        Err(error) => return Err(CommandFailed::Exit { what, argv, reason: error.to_string() }),
    };
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(CommandFailed::Exit { what, argv, reason })
}
