//! A throw-away copy of a database for a node to open, because a node changes what it opens.
//!
//! The claim's own database must stay as it is: after a crash the archive is made of it again, byte for byte. RocksDB never
//! changes a table file once it is written, so those are hard links; everything else is copied, by reference where the
//! filesystem can.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use polkashots_shared::ids::DatabaseKind;
use polkashots_shared::ports::chain_database::DatabaseLocation;
use tempfile::TempDir;

/// What the copy's folder starts with, beside the database in the claim.
const PREFIX: &str = ".polkashots-export-";
/// Locks of a node that is not there any more.
const LOCKS: [&str; 2] = ["LOCK", "lock"];

/// Says why there is no copy.
#[derive(Debug, thiserror::Error)]
#[error("copy {} for the node: {source}{}", path.display(), hint(source))]
pub struct CopyError {
    path: PathBuf,
    source: io::Error,
}

impl CopyError {
    /// True where the same copy may succeed later.
    pub fn is_transient(&self) -> bool {
        let permanent =
            [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied];
        !permanent.contains(&self.source.kind())
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => {
            ": blocks.zst of a ParityDB needs a filesystem with reflinks (XFS, btrfs) or room for a second copy: enlarge \
             the claim, or leave the format out"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            ": the claim must be mounted writable for blocks.zst"
        }
        _ => "",
    }
}

/// Copies the database into a base path of its own, in which the chain's folder is `chain_id`; gone when dropped.
pub fn copy(location: &DatabaseLocation, chain_id: &str) -> Result<TempDir, CopyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CopyError { path, source }
    };
    remove_leftovers(&location.chain_dir);
    let base = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&location.chain_dir);
    let base = base.map_err(failed(&location.chain_dir))?;
    let full = base.path().join("chains").join(chain_id).join(location.kind.folder()).join("full");
    fs::create_dir_all(&full).map_err(failed(&full))?;
    copy_folder(&location.full_dir(), &full, location.kind)?;
    Ok(base)
}

/// What a killed run left is removed; that it cannot be is told by the copy that follows, if it matters.
fn remove_leftovers(chain_dir: &Path) {
    for entry in fs::read_dir(chain_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn copy_folder(from: &Path, to: &Path, kind: DatabaseKind) -> Result<(), CopyError> {
    let failed = |source| CopyError { path: from.to_owned(), source };
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let file_type = entry.file_type().map_err(failed)?;
        if file_type.is_dir() {
            fs::create_dir(&target).map_err(|error| CopyError { path: source.clone(), source: error })?;
            copy_folder(&source, &target, kind)?;
        } else if file_type.is_file() && !LOCKS.iter().any(|lock| entry.file_name() == *lock) {
            copy_file(&source, &target, kind).map_err(|error| CopyError { path: source, source: error })?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, kind: DatabaseKind) -> io::Result<()> {
    let never_changes = kind == DatabaseKind::RocksDb && from.extension().is_some_and(|extension| extension == "sst");
    if never_changes && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).map(drop)
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn tables_are_linked_the_rest_is_copied_and_nothing_stays() -> Result<()> {
        let claim = tempfile::tempdir()?;
        let full = claim.path().join("db/full");
        fs::create_dir_all(full.join("parachains"))?;
        fs::create_dir(claim.path().join(".polkashots-export-dead"))?;
        for (file, content) in [("1.sst", "table"), ("2.log", "log"), ("LOCK", ""), ("parachains/3.sst", "nested")] {
            fs::write(full.join(file), content)?;
        }
        let location = DatabaseLocation { chain_dir: claim.path().to_owned(), kind: DatabaseKind::RocksDb };
        let base = copy(&location, "polkadot")?;
        let copied = base.path().join("chains/polkadot/db/full");
        assert_eq!(fs::metadata(copied.join("1.sst"))?.ino(), fs::metadata(full.join("1.sst"))?.ino());
        assert_ne!(fs::metadata(copied.join("2.log"))?.ino(), fs::metadata(full.join("2.log"))?.ino());
        assert_eq!(fs::read_to_string(copied.join("parachains/3.sst"))?, "nested");
        assert!(!copied.join("LOCK").exists());
        drop(base);
        let left: Vec<_> = fs::read_dir(claim.path())?.collect::<Result<_, _>>()?;
        assert_eq!(left.len(), 1, "{left:?}");
        Ok(())
    }
}
