//! Updates a database that is there: what the snapshot has too is kept, the rest is fetched, and then the two are switched.
//!
//! The old database stays whole and where it is while it is compared and while what differs is fetched into the staging
//! folder. Only then comes the switch, which is local and short.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use polkashots_shared::manifest::Manifest;

use crate::compare::Comparison;
use crate::destination::Place;
use crate::error::RestoreError;
use crate::memory;
use crate::outcome::Restored;
use crate::plan::{Plan, read_index};
use crate::progress::{INTERVAL, Phase, Progress, Update};
use crate::request::RestoreRequest;
use crate::restore::{Candidate, archive_of, in_background, refuse};
use crate::staging::{Lock, Permissions, Staging, discard, kept};
use crate::switch;
use crate::transfer::transfer;

impl Candidate {
    /// Makes the database that is there that of the snapshot.
    pub async fn update(
        &self,
        request: &RestoreRequest,
        permissions: Permissions,
        lock: Lock,
        progress: &dyn Progress,
    ) -> Result<Restored, RestoreError> {
        let locks = self.place.hold_node_locks()?;
        let root = self.place.staging_dir();
        let staging = Arc::new(Staging::new(root, Arc::clone(&self.plan), permissions, Arc::new(lock)));
        let (bytes, origin, index) =
            (self.resolved.bytes.clone(), self.resolved.location.to_text(), self.index.clone());
        let (journal, fetched) = in_background(&staging, Phase::Prepare, progress, move |staging| {
            let prepared = staging.prepare(&bytes, origin.as_deref())?;
            staging.keep_index(&index)?;
            Ok(prepared)
        })
        .await?;
        let there = self.compare(request, &fetched, progress).await?;
        let resumed_bytes = self.compressed_bytes(&fetched);
        let kept_bytes = self.compressed_bytes(&there);
        let done: Vec<bool> = fetched.iter().zip(&there).map(|(fetched, there)| *fetched || *there).collect();
        self.check_space_for(&done)?;
        let job = self.job(request, &staging)?;
        let fetched_bytes = transfer(&job, journal, done, progress).await?;
        let (place, manifest) = (self.place.clone(), self.resolved.manifest.clone());
        let fetched: Vec<bool> = there.iter().map(|there| !there).collect();
        in_background(&staging, Phase::Switch, progress, move |staging| {
            memory::remove_marker(&place.chain_dir, place.kind)?;
            switch::begin(staging.root(), &place.database_dir())?;
            put_together(staging, &fetched, &place, &manifest)?;
            drop(locks);
            Ok(())
        })
        .await?;
        let manifest = self.resolved.manifest.clone();
        tracing::info!(target = %manifest.target, version = %manifest.version, fetched_bytes, kept_bytes, "database updated");
        let (database_dir, written_bytes) = (self.place.database_dir(), staging.written_bytes());
        Ok(Restored { database_dir, manifest, fetched_bytes, resumed_bytes, kept_bytes, written_bytes })
    }

    /// Which frames the database that is there has, `fetched` ones left out.
    async fn compare(
        &self,
        request: &RestoreRequest,
        fetched: &[bool],
        progress: &dyn Progress,
    ) -> Result<Vec<bool>, RestoreError> {
        let done = Arc::new(AtomicU64::new(0));
        let stop = StopOnDrop::default();
        let (plan, top, threads) = (Arc::clone(&self.plan), self.place.database_dir(), request.transfer.threads);
        let (skip, count, stopped) = (fetched.to_vec(), Arc::clone(&done), Arc::clone(&stop.0));
        let mut task = tokio::task::spawn_blocking(move || {
            Comparison::new(&plan, top, &count, &stopped).frames_there(&skip, threads)
        });
        let total = self.plan.frames.iter().map(|frame| u64::from(frame.uncompressed_size)).sum();
        let report = || {
            let done = done.load(Ordering::Relaxed);
            progress.update(&Update { phase: Phase::Compare, done, total, resumed: 0 });
        };
        let mut tick = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                result = &mut task => {
                    report();
                    return result.map_err(|_| RestoreError::Thread("the thread that compares"));
                }
                _ = tick.tick() => report(),
            }
        }
    }

    /// Refuses where there is no room for the frames that are not `done`.
    fn check_space_for(&self, done: &[bool]) -> Result<(), RestoreError> {
        let missing = self.plan.frames.iter().zip(done).filter(|(_, done)| !**done);
        let unpacked: u64 = missing.map(|(frame, _)| u64::from(frame.uncompressed_size)).sum();
        let needed = unpacked.min(self.plan.disk_limit);
        let free = self.place.free_bytes()?;
        match needed <= free {
            true => Ok(()),
            false => Err(RestoreError::Space { path: self.place.chain_dir.clone(), needed, free }),
        }
    }
}

/// Ends the comparison when nobody waits for it any more.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Finishes a switch that was begun in an earlier life.
pub fn finish(place: &Place, permissions: Permissions) -> Result<(), RestoreError> {
    let Some(lock) = Lock::try_take(&place.lock_file())? else {
        return Err(RestoreError::Busy { path: place.lock_file() });
    };
    let root = place.staging_dir();
    let (index, manifest_bytes) = kept(&root)?;
    let unusable = || refuse(&root, "holds an update that cannot be finished: restore anew with --force");
    let manifest = Manifest::from_bytes(&manifest_bytes).map_err(|_| unusable())?;
    let artifact = archive_of(&manifest)?;
    let reference = artifact.frames.as_ref().ok_or_else(unusable)?;
    let plan = Arc::new(Plan::new(read_index(&index, reference)?, &manifest, artifact)?);
    let fetched = Staging::look(&root, &manifest_bytes, plan.frames.len());
    let staging = Staging::new(root, Arc::clone(&plan), permissions, Arc::new(lock));
    tracing::info!(target = %manifest.target, version = %manifest.version, "finishing the interrupted update");
    put_together(&staging, &fetched, place, &manifest)
}

/// The switch after its first step; every step can be repeated.
fn put_together(staging: &Staging, fetched: &[bool], place: &Place, manifest: &Manifest) -> Result<(), RestoreError> {
    let top = staging.root().join(place.kind.folder());
    if top.symlink_metadata().is_ok() {
        if place.is_occupied()? {
            let reason = "appeared while an update was not finished: remove it and run the same command again";
            return Err(refuse(&place.database_dir(), reason));
        }
        switch::complete(staging, fetched)?;
        staging.apply_permissions()?;
        staging.sync_all()?;
        place.make_way()?;
        staging.publish(&place.database_dir())?;
    }
    memory::write_marker(&place.chain_dir, manifest)?;
    // While anything of the old tree is left, the manifest must be there too.
    switch::end(staging.root())?;
    discard(staging.root())
}
