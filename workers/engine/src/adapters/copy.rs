//! Volume snapshots by copying the database folder: reflinks where the filesystem can, holes kept elsewhere.
//!
//! Copies only `db/` or `paritydb/`; `keystore/` and `network/` are never opened. A copy grows in `<version>.partial` and
//! is renamed when it is whole and durable.

use std::fs;
use std::path::Path;

use polkashots_shared::adapters::chain::live_holder;
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::ports::chain_database::DatabaseLocation;
use tracing::{info, warn};

use super::error::LocalError;
use super::local::{LocalVolumes, Source};
use super::quiesce;
use super::state::{Record, StateFolder, sync_dir};
use super::tree::{self, Entry, Limit};

/// Volume snapshots of which each source says how it is taken; the name under which a host that copies asks for it.
pub type CopyVolumes = LocalVolumes;

/// Free space that a copy leaves to everything else on the disk.
const SPARE_BYTES: u64 = 16 * 1024 * 1024;

/// Copies the database of `source`. The caller is at work on the target and has removed what earlier lives left.
pub(super) fn take(
    state: &StateFolder,
    source: &Source,
    target: &TargetId,
    version: Version,
    limit: &Limit,
) -> Result<(), LocalError> {
    let location = source.locate()?;
    let Some(holder) = live_holder(&location) else {
        return copy_or_clean_up(state, &location, target, version, limit);
    };
    let Some(quiesce) = &source.quiesce else {
        return Err(LocalError::LiveNode { path: location.full_dir(), pid: holder.pid, name: holder.name });
    };
    let limit = limit.within(quiesce.deadline);
    let _started_when_dropped = quiesce::stop(state, target, quiesce, &location, &limit)?;
    copy_or_clean_up(state, &location, target, version, &limit)
}

fn copy_or_clean_up(
    state: &StateFolder,
    location: &DatabaseLocation,
    target: &TargetId,
    version: Version,
    limit: &Limit,
) -> Result<(), LocalError> {
    let copied = copy(state, location, target, version, limit);
    if copied.is_err()
        && let Err(error) = state.remove_volume(target, version)
    {
        warn!(%target, %version, %error, "an unfinished copy stays until the next sweep");
    }
    copied
}

fn copy(
    state: &StateFolder,
    location: &DatabaseLocation,
    target: &TargetId,
    version: Version,
    limit: &Limit,
) -> Result<(), LocalError> {
    let taken_at = Version::from_time(state.clock.now()).time();
    let path = state.volume_path(target, version);
    let mut record =
        Record { target: target.clone(), version, path: path.clone(), chain_dir: path.clone(), taken_at: None };
    state.write_record(&record)?;
    let partial = state.partial_path(target, version);
    let size_bytes = fill(state, location, &partial, limit)?;
    fs::rename(&partial, &path).map_err(LocalError::io(&path))?;
    sync_dir(path.parent().unwrap_or(Path::new("/")))?;
    record.taken_at = Some(taken_at);
    state.write_record(&record)?;
    info!(%target, %version, size_bytes, "database copied");
    Ok(())
}

/// Makes `partial` with the database folder in it; returns the bytes that the database takes on disk.
fn fill(state: &StateFolder, location: &DatabaseLocation, partial: &Path, limit: &Limit) -> Result<u64, LocalError> {
    let from = location.database_dir();
    let entries = tree::list(&from)?;
    let to = partial.join(location.kind.folder());
    fs::create_dir_all(&to).map_err(LocalError::io(&to))?;
    require_space(state, &from, &to, &entries)?;
    tree::copy(&from, &to, &entries, limit)?;
    require_unchanged(location, &from, &entries)?;
    sync_dir(partial)?;
    Ok(entries.iter().map(|entry| entry.allocated).sum())
}

fn require_space(state: &StateFolder, from: &Path, to: &Path, entries: &[Entry]) -> Result<(), LocalError> {
    if tree::can_reflink(from, to, entries)? {
        return Ok(());
    }
    let needed_bytes = entries.iter().map(|entry| entry.allocated).sum::<u64>() + SPARE_BYTES;
    let stat = rustix::fs::statvfs(to).map_err(LocalError::sys(to))?;
    let available_bytes = stat.f_bavail * stat.f_frsize;
    if needed_bytes <= available_bytes {
        return Ok(());
    }
    let (source_dir, state) = (from.to_owned(), state.root().to_owned());
    Err(LocalError::NoSpace { source_dir, state, needed_bytes, available_bytes })
}

/// Finds a node that was started meanwhile, by its lock or by what it wrote.
fn require_unchanged(location: &DatabaseLocation, from: &Path, before: &[Entry]) -> Result<(), LocalError> {
    let after = tree::list(from)?;
    let differs = before.iter().zip(&after).find(|(before, after)| before != after);
    let changed = match differs {
        Some((before, _)) => Some(from.join(&before.path)),
        None if before.len() != after.len() || live_holder(location).is_some() => Some(from.to_owned()),
        None => None,
    };
    changed.map_or(Ok(()), |path| Err(LocalError::Changed { path }))
}
