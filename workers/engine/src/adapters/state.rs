//! The state folder of volume snapshots on one machine: locks, records, claims. All of it survives a crash at any point.
//!
//! ```text
//! locks/<target>.json              the claim's lock: which version holds it, since when
//! locks/<target>.work              never removed; flock()ed by the one process that is at work on the target
//! volumes/<target>/<version>.json  where the volume snapshot lies, and when it was taken once it is whole
//! volumes/<target>/<version>       the volume snapshot itself (copy; btrfs unless told otherwise)
//! volumes/<target>/<version>.partial  a copy that is not whole
//! claims/<claim>                   a link to the chain folder in the volume snapshot
//! quiesced-<target>.json           a node that is stopped and has to be started again
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use polkashots_shared::clock::Clock;
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::btrfs;
use super::error::LocalError;
use crate::volume_snapshots::{Acquire, Held, HeldKind, Ready};

/// The state folder.
#[derive(Debug, Clone)]
pub(super) struct StateFolder {
    root: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
}

/// Who holds a claim.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lock {
    target: TargetId,
    version: Version,
    since: DateTime<Utc>,
}

/// Where one volume snapshot lies.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// The snapshot's target.
    pub(super) target: TargetId,
    /// The snapshot's version.
    pub(super) version: Version,
    /// The folder that a release removes.
    pub(super) path: PathBuf,
    /// The folder that the claim leads to: `path`, or below it.
    pub(super) chain_dir: PathBuf,
    /// When it was taken; none until it is whole.
    pub(super) taken_at: Option<DateTime<Utc>>,
}

/// Held by the one process and task that is at work on a target; ends with the process at the latest.
#[derive(Debug)]
pub(super) struct AtWork {
    _flocked: File,
}

impl StateFolder {
    /// Makes the folders that are missing in `root`.
    pub(super) fn open(root: &Path, clock: Arc<dyn Clock>) -> Result<Self, LocalError> {
        for folder in ["locks", "volumes", "claims"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(LocalError::io(&folder))?;
        }
        let root = root.canonicalize().map_err(LocalError::io(root))?;
        Ok(Self { root, clock })
    }

    /// Where the target's volume snapshot of that version lies, unless its record says otherwise.
    pub(super) fn volume_path(&self, target: &TargetId, version: Version) -> PathBuf {
        self.volumes_of(target).join(version.to_string())
    }

    /// Where a copy grows.
    pub(super) fn partial_path(&self, target: &TargetId, version: Version) -> PathBuf {
        self.volumes_of(target).join(format!("{version}.partial"))
    }

    /// The marker of a node that was stopped for the target.
    pub(super) fn marker_path(&self, target: &TargetId) -> PathBuf {
        self.root.join(format!("quiesced-{target}.json"))
    }

    /// The folder itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn volumes_of(&self, target: &TargetId) -> PathBuf {
        self.root.join("volumes").join(target.as_str())
    }

    fn record_path(&self, target: &TargetId, version: Version) -> PathBuf {
        self.volumes_of(target).join(format!("{version}.json"))
    }

    fn lock_path(&self, target: &TargetId) -> PathBuf {
        self.root.join("locks").join(format!("{target}.json"))
    }

    fn claim_path(&self, target: &TargetId) -> PathBuf {
        self.root.join("claims").join(names::claim_name(target))
    }

    /// Becomes the only one at work on the target, or says that somebody else is.
    pub(super) fn go_to_work(&self, target: &TargetId) -> Result<AtWork, LocalError> {
        let path = self.root.join("locks").join(format!("{target}.work"));
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(LocalError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(AtWork { _flocked: file }),
            Err(fs::TryLockError::WouldBlock) => Err(LocalError::Busy { target: target.clone() }),
            Err(fs::TryLockError::Error(source)) => Err(LocalError::Io { path, source }),
        }
    }

    /// The version that holds the target's claim.
    pub(super) fn holder(&self, target: &TargetId) -> Result<Option<Version>, LocalError> {
        Ok(read_json::<Lock>(&self.lock_path(target))?.map(|lock| lock.version))
    }

    /// Fails unless `version` holds the claim.
    pub(super) fn require_held(&self, target: &TargetId, version: Version) -> Result<(), LocalError> {
        match self.holder(target)? {
            Some(held_by) if held_by == version => Ok(()),
            held_by => Err(LocalError::NotHeld { target: target.clone(), version, held_by }),
        }
    }

    /// See the port.
    pub(super) fn acquire(&self, target: &TargetId, version: Version) -> Result<Acquire, LocalError> {
        let answer = |held_by| if held_by == version { Acquire::Acquired } else { Acquire::Busy { held_by } };
        if let Some(held_by) = self.holder(target)? {
            return Ok(answer(held_by));
        }
        let _at_work = self.go_to_work(target)?;
        if let Some(held_by) = self.holder(target)? {
            return Ok(answer(held_by));
        }
        let lock = Lock { target: target.clone(), version, since: self.clock.now() };
        write_json(&self.lock_path(target), &lock)?;
        Ok(Acquire::Acquired)
    }

    /// The volume snapshot of that version, if it is whole; its claim then leads to it.
    pub(super) fn ready(&self, target: &TargetId, version: Version) -> Result<Option<Ready>, LocalError> {
        let Some(record) = read_json::<Record>(&self.record_path(target, version))? else { return Ok(None) };
        let Some(taken_at) = record.taken_at else { return Ok(None) };
        if !record.chain_dir.is_dir() {
            return Ok(None);
        }
        self.link_claim(target, &record.chain_dir)?;
        let name = names::volume_snapshot_name(target, version);
        Ok(Some(Ready { name, claim: names::claim_name(target), taken_at }))
    }

    /// Makes a record durable.
    pub(super) fn write_record(&self, record: &Record) -> Result<(), LocalError> {
        let folder = self.volumes_of(&record.target);
        fs::create_dir_all(&folder).map_err(LocalError::io(&folder))?;
        sync_dir(&self.root.join("volumes"))?;
        write_json(&self.record_path(&record.target, record.version), record)
    }

    fn link_claim(&self, target: &TargetId, chain_dir: &Path) -> Result<(), LocalError> {
        let claim = self.claim_path(target);
        if fs::read_link(&claim).is_ok_and(|found| found == chain_dir) {
            return Ok(());
        }
        let fresh = self.root.join("locks").join(format!("{target}.claim"));
        missing_is_fine(fs::remove_file(&fresh)).map_err(LocalError::io(&fresh))?;
        std::os::unix::fs::symlink(chain_dir, &fresh).map_err(LocalError::io(&fresh))?;
        fs::rename(&fresh, &claim).map_err(LocalError::io(&claim))?;
        sync_dir(&self.root.join("claims"))
    }

    /// Removes what earlier lives left of that version; the record goes last, so that nothing is lost sight of.
    pub(super) fn remove_volume(&self, target: &TargetId, version: Version) -> Result<(), LocalError> {
        let record_path = self.record_path(target, version);
        let record = read_json::<Record>(&record_path)?;
        if let Some(record) = record {
            write_json(&record_path, &Record { taken_at: None, ..record.clone() })?;
            remove_tree(&record.path)?;
        }
        remove_tree(&self.volume_path(target, version))?;
        remove_tree(&self.partial_path(target, version))?;
        for path in [record_path.with_extension("tmp"), record_path] {
            missing_is_fine(fs::remove_file(&path)).map_err(LocalError::io(&path))?;
        }
        Ok(())
    }

    /// See the port.
    pub(super) fn release(&self, target: &TargetId, version: Version) -> Result<(), LocalError> {
        let _at_work = self.go_to_work(target)?;
        self.remove_volume(target, version)?;
        let volumes = self.volumes_of(target);
        match fs::remove_dir(&volumes) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            removed => missing_is_fine(removed).map_err(LocalError::io(&volumes))?,
        }
        if self.holder(target)? != Some(version) {
            return Ok(());
        }
        for path in [self.claim_path(target), self.lock_path(target)] {
            missing_is_fine(fs::remove_file(&path)).map_err(LocalError::io(&path))?;
        }
        sync_dir(&self.root.join("claims"))?;
        sync_dir(&self.root.join("locks"))
    }

    /// See the port.
    pub(super) fn held(&self) -> Result<Vec<Held>, LocalError> {
        let mut held = self.held_claims()?;
        for target in list(&self.root.join("volumes"))?.iter().filter_map(|name| name.parse::<TargetId>().ok()) {
            let names = list(&self.volumes_of(&target))?;
            for version in names.iter().filter_map(|name| name.split('.').next()?.parse::<Version>().ok()) {
                let record = read_json::<Record>(&self.record_path(&target, version))?;
                let since = record.and_then(|record| record.taken_at).unwrap_or_else(|| version.time());
                held.push(Held { target: target.clone(), version, since, kind: HeldKind::VolumeSnapshot });
            }
        }
        held.sort_by(|a, b| (&a.target, a.version, a.kind).cmp(&(&b.target, b.version, b.kind)));
        held.dedup_by(|a, b| (&a.target, a.version, a.kind) == (&b.target, b.version, b.kind));
        Ok(held)
    }

    fn held_claims(&self) -> Result<Vec<Held>, LocalError> {
        let folder = self.root.join("locks");
        let locks = list(&folder)?.into_iter().filter(|name| name.ends_with(".json"));
        let locks = locks.map(|name| read_json::<Lock>(&folder.join(name)));
        let held = locks.filter_map(Result::transpose).map(|lock| {
            let Lock { target, version, since } = lock?;
            Ok(Held { target, version, since, kind: HeldKind::Claim })
        });
        held.collect()
    }
}

/// Reads a file that this module wrote; `None` if there is none.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LocalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LocalError::Io { path: path.to_owned(), source }),
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|source| LocalError::Record { path: path.to_owned(), source })
}

/// Replaces a file, whole and durable. Callers hold [`AtWork`], so that the temporary name is theirs alone.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), LocalError> {
    let bytes = serde_json::to_vec_pretty(value).expect("strings, paths and times always serialise");
    let fresh = path.with_extension("tmp");
    let written = File::create(&fresh).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    });
    written.map_err(LocalError::io(path))?;
    sync_dir(path.parent().unwrap_or(Path::new("/")))
}

/// Makes names in a folder durable.
pub(super) fn sync_dir(path: &Path) -> Result<(), LocalError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(LocalError::io(path))
}

/// Removes a folder or a btrfs subvolume.
fn remove_tree(path: &Path) -> Result<(), LocalError> {
    if btrfs::is_subvolume_root(path) {
        return btrfs::delete_subvolume(path);
    }
    missing_is_fine(fs::remove_dir_all(path)).map_err(LocalError::io(path))
}

/// Takes a file that is not there for one that was removed.
pub(super) fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn list(folder: &Path) -> Result<Vec<String>, LocalError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(LocalError::io(folder))?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<_>>().map_err(LocalError::io(folder))
}
