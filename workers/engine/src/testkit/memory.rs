//! Volume snapshots that are kept in memory; the claim leads to a folder that never changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use polkashots_shared::clock::Clock;
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;

use crate::{Acquire, Held, HeldKind, Ready, VolumeSnapshotError, VolumeSnapshots};

/// A [`VolumeSnapshots`] in memory; clones share what is held.
///
/// Where it is given chain folders, a ready claim is a link to its target's folder in `claims_dir`.
#[derive(Debug, Clone)]
pub struct MemoryVolumeSnapshots {
    clock: Arc<dyn Clock>,
    content: Arc<Content>,
    held: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct Content {
    claims_dir: Option<PathBuf>,
    chain_dirs: BTreeMap<TargetId, PathBuf>,
}

#[derive(Debug, Default)]
struct State {
    claims: BTreeMap<TargetId, (Version, DateTime<Utc>)>,
    snapshots: BTreeMap<(TargetId, Version), DateTime<Utc>>,
    taken: usize,
}

impl MemoryVolumeSnapshots {
    /// Nothing held, and claims that lead nowhere.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, content: Arc::default(), held: Arc::default() }
    }

    /// Nothing held; a ready claim in `claims_dir`, which must exist, leads to its target's chain folder.
    pub fn with_content(
        clock: Arc<dyn Clock>,
        claims_dir: impl Into<PathBuf>,
        chain_dirs: BTreeMap<TargetId, PathBuf>,
    ) -> Self {
        let content = Content { claims_dir: Some(claims_dir.into()), chain_dirs };
        Self { clock, content: Arc::new(content), held: Arc::default() }
    }

    /// How many volume snapshots were ever taken.
    pub fn taken(&self) -> usize {
        self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self, target: &TargetId) -> std::io::Result<()> {
        let (Some(claims), Some(chain_dir)) = (&self.content.claims_dir, self.content.chain_dirs.get(target)) else {
            return Ok(());
        };
        unlink(claims, target)?;
        std::os::unix::fs::symlink(chain_dir, claims.join(names::claim_name(target)))
    }
}

fn unlink(claims: &Path, target: &TargetId) -> std::io::Result<()> {
    match std::fs::remove_file(claims.join(names::claim_name(target))) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn permanent(target: &TargetId) -> impl FnOnce(std::io::Error) -> VolumeSnapshotError + use<> {
    let name = target.to_string();
    move |error| VolumeSnapshotError::Permanent { operation: "link claim of", name, source: Box::new(error) }
}

#[async_trait]
impl VolumeSnapshots for MemoryVolumeSnapshots {
    async fn acquire(&self, target: &TargetId, version: Version) -> Result<Acquire, VolumeSnapshotError> {
        let now = self.clock.now();
        match self.lock().claims.entry(target.clone()).or_insert((version, now)).0 {
            held_by if held_by == version => Ok(Acquire::Acquired),
            held_by => Ok(Acquire::Busy { held_by }),
        }
    }

    async fn ensure_snapshot(&self, target: &TargetId, version: Version) -> Result<Ready, VolumeSnapshotError> {
        let now = Version::from_time(self.clock.now()).time();
        let name = names::volume_snapshot_name(target, version);
        let mut state = self.lock();
        if state.claims.get(target).map(|(held_by, _)| *held_by) != Some(version) {
            let source = format!("the claim of {target} is not held by {version}").into();
            return Err(VolumeSnapshotError::Transient { operation: "take volume snapshot", name, source });
        }
        let before = state.snapshots.len();
        let taken_at = *state.snapshots.entry((target.clone(), version)).or_insert(now);
        state.taken += state.snapshots.len() - before;
        self.link(target).map_err(permanent(target))?;
        Ok(Ready { name, claim: names::claim_name(target), taken_at })
    }

    async fn release(&self, target: &TargetId, version: Version) -> Result<(), VolumeSnapshotError> {
        let mut state = self.lock();
        state.snapshots.remove(&(target.clone(), version));
        if state.claims.get(target).is_some_and(|(held_by, _)| *held_by == version) {
            if let Some(claims) = &self.content.claims_dir {
                unlink(claims, target).map_err(permanent(target))?;
            }
            state.claims.remove(target);
        }
        Ok(())
    }

    async fn held(&self) -> Result<Vec<Held>, VolumeSnapshotError> {
        let state = self.lock();
        let claims = state.claims.iter().map(|(target, (version, since))| (target, *version, *since, HeldKind::Claim));
        let snapshots = state.snapshots.iter();
        let snapshots =
            snapshots.map(|((target, version), since)| (target, *version, *since, HeldKind::VolumeSnapshot));
        let held = claims.chain(snapshots);
        let mut held: Vec<Held> =
            held.map(|(target, version, since, kind)| Held { target: target.clone(), version, since, kind }).collect();
        held.sort_by(|a, b| (&a.target, a.version, a.kind).cmp(&(&b.target, b.version, b.kind)));
        Ok(held)
    }
}
