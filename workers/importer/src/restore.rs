//! The restore: resolve, trust, plan, make room, transfer, put in place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use polkashots_shared::frames::MAX_COMPRESSED_BYTES;
use polkashots_shared::ids::DatabaseKind;
use polkashots_shared::manifest::{Artifact, Manifest};
use polkashots_shared::target::Format;

use crate::destination::Place;
use crate::error::RestoreError;
use crate::foreign;
use crate::memory::{self, Newest, UnsignedMarker};
use crate::outcome::{AlreadyThere, Outcome, Preview, Restored};
use crate::plan::{Plan, read_index};
use crate::progress::{INTERVAL, Phase, Progress, Update};
use crate::request::{Destination, Existing, RestoreRequest, Trust};
use crate::resolve::{Resolved, resolve};
use crate::source::{Location, Source};
use crate::staging::{Lock, Permissions, Staging, discard, has_manifest, put_in_place, unfinished};
use crate::transfer::{Job, Mirrors, transfer};
use crate::trust::{PinnedKeys, check_manifest, check_rollback};

/// How long a restore waits for another one at the same place to let go.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// Restores a database; returns when it is in place for good.
///
/// A restore that was stopped at any point, by dropping this or by killing the process, is continued by the same call. A
/// database that is there already is not touched, unless the request says so.
pub async fn restore(request: &RestoreRequest, progress: &dyn Progress) -> Result<Outcome, RestoreError> {
    finish_switches(request)?;
    if let Some(there) = already_there_before_resolving(request)? {
        return Ok(Outcome::AlreadyThere(there));
    }
    if let Some(outcome) = foreign::restore(request, progress).await? {
        return Ok(outcome);
    }
    let candidate = Candidate::find(request, progress).await?;
    let place = &candidate.place;
    if let Some(there) = candidate.already_there(request.existing)? {
        return Ok(Outcome::AlreadyThere(there));
    }
    candidate.check_rollback(&request.trust)?;
    candidate.check_space(request.existing)?;
    let permissions = permissions(request);
    let lock = take_lock(place, permissions).await?;
    place.finish_removal()?;
    // Another restore may have finished while this one waited for the lock.
    if let Some(there) = candidate.already_there(request.existing)? {
        return Ok(Outcome::AlreadyThere(there));
    }
    candidate.check_space(request.existing)?;
    Newest::of(&candidate.resolved.manifest).write(&place.chain_dir, place.kind)?;
    if place.is_occupied()? && request.existing.is_reused() {
        return Ok(Outcome::Restored(candidate.update(request, permissions, lock, progress).await?));
    }
    if place.is_occupied()? {
        progress.update(&Update::start(Phase::Remove));
        place.remove_database()?;
    }
    let restored = candidate.bring(request, permissions, lock, progress).await?;
    Ok(Outcome::Restored(restored))
}

/// Says what [`restore`] would do, and changes nothing.
pub async fn preview(request: &RestoreRequest, progress: &dyn Progress) -> Result<Preview, RestoreError> {
    foreign::check_signed(request).await?;
    let candidate = Candidate::find(request, progress).await?;
    candidate.check_rollback(&request.trust)?;
    let done = candidate.done_before();
    Ok(Preview {
        manifest_location: candidate.resolved.location.to_string(),
        database_dir: candidate.place.database_dir(),
        already_there: candidate.place.is_occupied()?,
        fetch_bytes: candidate.plan.frames_bytes() - candidate.compressed_bytes(&done),
        resumed_bytes: candidate.compressed_bytes(&done),
        disk_needed_bytes: candidate.disk_needed(&done)?,
        disk_free_bytes: candidate.place.free_bytes()?,
        manifest: candidate.resolved.manifest,
    })
}

/// A snapshot that is believed, its plan, and where it would go.
pub(crate) struct Candidate {
    pub source: Arc<Source>,
    pub resolved: Resolved,
    pub archive: Location,
    pub archive_file: String,
    pub plan: Arc<Plan>,
    /// The frames index as it was published.
    pub index: Vec<u8>,
    pub place: Place,
}

impl Candidate {
    async fn find(request: &RestoreRequest, progress: &dyn Progress) -> Result<Self, RestoreError> {
        progress.update(&Update::start(Phase::Resolve));
        let keys = PinnedKeys::read(&request.trust.keys)?;
        let source = Arc::new(Source::new(request.transfer.clone()));
        let resolved = resolve(&source, &keys, &request.source, request.name.as_deref()).await?;
        check_manifest(&resolved.manifest, &request.trust, request.name.as_deref(), request.clock.now())?;
        let chain_dir = request.destination.chain_dir(&resolved.manifest.chain.id);
        let place = Place::new(chain_dir, resolved.manifest.database.kind);
        let unfinished = unfinished_before(&source, &keys, request, &place, &resolved).await;
        let resolved = unfinished.unwrap_or(resolved);
        let artifact = archive_of(&resolved.manifest)?;
        let (plan, index) = read_plan(&source, &resolved, artifact).await?;
        let archive = resolved.location.join(&artifact.url)?;
        let archive_file = artifact.file.clone();
        Ok(Self { source, archive, archive_file, plan: Arc::new(plan), index, place, resolved })
    }

    /// The database that is there, where it is left as it is.
    fn already_there(&self, existing: Existing) -> Result<Option<AlreadyThere>, RestoreError> {
        let marker = memory::read_marker(&self.place.chain_dir, self.place.kind)?;
        let wanted = &self.resolved.manifest;
        let is_same = |manifest: &Manifest| manifest.target == wanted.target && manifest.version == wanted.version;
        match existing {
            Existing::Update if marker.as_ref().is_some_and(is_same) => already_there(&self.place, Existing::Keep),
            existing => already_there(&self.place, existing),
        }
    }

    fn check_rollback(&self, trust: &Trust) -> Result<(), RestoreError> {
        let newest = Newest::read(&self.place.chain_dir, self.place.kind)?;
        Ok(check_rollback(&self.resolved.manifest, trust, newest.as_ref())?)
    }

    /// The transfer of the archive to `staging`.
    pub fn job(&self, request: &RestoreRequest, staging: &Arc<Staging>) -> Result<Job, RestoreError> {
        Ok(Job {
            source: Arc::clone(&self.source),
            mirrors: Arc::new(self.mirrors(request)?),
            file: self.archive_file.clone(),
            staging: Arc::clone(staging),
            transfer: request.transfer.clone(),
        })
    }

    /// The archive's own place and those of the mirrors that were named.
    fn mirrors(&self, request: &RestoreRequest) -> Result<Mirrors, RestoreError> {
        let key = self.resolved.manifest.key_of(&self.archive_file);
        let mut places = vec![self.archive.clone()];
        for mirror in &request.mirrors {
            places.push(Location::parse(mirror)?.as_folder().join(&key)?);
        }
        Ok(Mirrors::new(places))
    }

    /// Which frames an interrupted run has done.
    fn done_before(&self) -> Vec<bool> {
        Staging::look(&self.place.staging_dir(), &self.resolved.bytes, self.plan.frames.len())
    }

    pub fn compressed_bytes(&self, done: &[bool]) -> u64 {
        let frames = self.plan.frames.iter().zip(done);
        frames.filter_map(|(frame, done)| done.then_some(u64::from(frame.size))).sum()
    }

    /// Bytes of disk needed in addition to what an unfinished restore has taken, which is continued or removed.
    ///
    /// A filesystem without holes takes a file's whole size when the file is made, long before its frames are there.
    fn disk_needed(&self, done: &[bool]) -> Result<u64, RestoreError> {
        let frames = self.plan.frames.iter().zip(done);
        let written: u64 = frames.filter_map(|(frame, done)| done.then_some(u64::from(frame.uncompressed_size))).sum();
        let taken = self.place.staging_bytes()?.max(written);
        Ok(self.resolved.manifest.disk_required.saturating_sub(taken))
    }

    fn check_space(&self, existing: Existing) -> Result<(), RestoreError> {
        let needed = self.disk_needed(&self.done_before())?;
        let reclaimed = match existing {
            Existing::Replace => self.place.database_bytes()?,
            // What differs is known once what is there was compared.
            Existing::Update | Existing::Repair if self.place.is_occupied()? => return Ok(()),
            Existing::Keep | Existing::Update | Existing::Repair => 0,
        };
        let free = self.place.free_bytes()?.saturating_add(reclaimed);
        if needed <= free {
            return Ok(());
        }
        Err(RestoreError::Space { path: self.place.chain_dir.clone(), needed, free })
    }

    async fn bring(
        &self,
        request: &RestoreRequest,
        permissions: Permissions,
        lock: Lock,
        progress: &dyn Progress,
    ) -> Result<Restored, RestoreError> {
        let root = self.place.staging_dir();
        let staging = Arc::new(Staging::new(root.clone(), Arc::clone(&self.plan), permissions, Arc::new(lock)));
        let (bytes, origin) = (self.resolved.bytes.clone(), self.resolved.location.to_text());
        let (journal, done) = in_background(&staging, Phase::Prepare, progress, move |staging| {
            staging.prepare(&bytes, origin.as_deref())
        })
        .await?;
        let resumed_bytes = self.compressed_bytes(&done);
        let job = self.job(request, &staging)?;
        let fetched_bytes = transfer(&job, journal, done, progress).await?;
        let (place, manifest) = (self.place.clone(), self.resolved.manifest.clone());
        in_background(&staging, Phase::Finish, progress, move |staging| {
            staging.sync_all()?;
            place.make_way()?;
            memory::remove_marker(&place.chain_dir, place.kind)?;
            staging.publish(&place.database_dir())?;
            memory::write_marker(&place.chain_dir, &manifest)?;
            discard(&place.staging_dir())
        })
        .await?;
        let manifest = self.resolved.manifest.clone();
        tracing::info!(target = %manifest.target, version = %manifest.version, fetched_bytes, "database restored");
        let (database_dir, written_bytes) = (self.place.database_dir(), staging.written_bytes());
        Ok(Restored { database_dir, manifest, fetched_bytes, resumed_bytes, kept_bytes: 0, written_bytes })
    }
}

/// The older snapshot that an interrupted restore was of, where it is still served and still to be believed: it is finished
/// rather than thrown away because a newer one came out meanwhile.
async fn unfinished_before(
    source: &Source,
    keys: &PinnedKeys,
    request: &RestoreRequest,
    place: &Place,
    newest: &Resolved,
) -> Option<Resolved> {
    let (bytes, origin) = unfinished(&place.staging_dir())?;
    let staged = Manifest::from_bytes(&bytes).ok().filter(|staged| staged.target == newest.manifest.target)?;
    if staged.version == newest.manifest.version {
        return None;
    }
    let again = resolve(source, keys, &origin, None).await.ok().filter(|again| again.bytes == bytes)?;
    check_manifest(&again.manifest, &request.trust, request.name.as_deref(), request.clock.now()).ok()?;
    let remembered = Newest::read(&place.chain_dir, place.kind).ok()?;
    check_rollback(&again.manifest, &request.trust, remembered.as_ref()).ok()?;
    tracing::info!(version = %again.manifest.version, newest = %newest.manifest.version, "finishing the interrupted restore");
    Some(again)
}

/// The `tar.zst` of a snapshot, which every snapshot has.
pub(crate) fn archive_of(manifest: &Manifest) -> Result<&Artifact, RestoreError> {
    let archive = manifest.artifact(Format::TarZst).filter(|archive| archive.frames.is_some());
    archive.ok_or_else(|| RestoreError::NoArchive { snapshot: format!("{}/{}", manifest.target, manifest.version) })
}

/// Reads and checks the frames index of `artifact`; gives its bytes, too.
pub(crate) async fn read_plan(
    source: &Source,
    resolved: &Resolved,
    artifact: &Artifact,
) -> Result<(Plan, Vec<u8>), RestoreError> {
    let missing = || RestoreError::NoArchive { snapshot: resolved.manifest.target.to_string() };
    let reference = artifact.frames.as_ref().ok_or_else(missing)?;
    let location = resolved.location.join(&reference.url)?;
    let fetched = source.get(&location, reference.size.min(MAX_COMPRESSED_BYTES)).await?;
    let index = read_index(&fetched.bytes, reference)?;
    Ok((Plan::new(index, &resolved.manifest, artifact)?, fetched.bytes))
}

/// A place that has what was asked for needs no network to say so: the completion markers tell.
fn already_there_before_resolving(request: &RestoreRequest) -> Result<Option<AlreadyThere>, RestoreError> {
    let Some(name) = request.name.as_deref().filter(|_| request.existing == Existing::Keep) else { return Ok(None) };
    let is_meant = |manifest: &Manifest| manifest.target.as_str() == name || manifest.permalink.as_str() == name;
    for chain_dir in chain_dirs(&request.destination) {
        for kind in DatabaseKind::ALL {
            let place = Place::new(chain_dir.clone(), kind);
            if place.is_occupied()? {
                finish_interrupted(&place)?;
            }
            let marker = memory::read_marker(&chain_dir, kind)?.filter(is_meant);
            if marker.is_some() && place.is_occupied()? {
                let database_dir = place.database_dir();
                return Ok(Some(AlreadyThere { database_dir, manifest: marker, unsigned_archive: None }));
            }
        }
    }
    Ok(None)
}

/// The chain folders that are there already.
fn chain_dirs(destination: &Destination) -> Vec<PathBuf> {
    match destination {
        Destination::ChainDir(dir) => vec![dir.clone()],
        Destination::BasePath(base) => {
            let entries = std::fs::read_dir(base.join("chains")).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        }
    }
}

/// The database in that place, where it is left as it is; what was left to do after it was put there is done.
pub(crate) fn already_there(place: &Place, existing: Existing) -> Result<Option<AlreadyThere>, RestoreError> {
    if existing != Existing::Keep || !place.is_occupied()? {
        return Ok(None);
    }
    finish_interrupted(place)?;
    let manifest = memory::read_marker(&place.chain_dir, place.kind)?;
    let unsigned_archive = UnsignedMarker::read(&place.chain_dir, place.kind)?.map(|marker| marker.archive);
    Ok(Some(AlreadyThere { database_dir: place.database_dir(), manifest, unsigned_archive }))
}

/// Does what a restore that was stopped right after it had put its database in place did not do any more.
fn finish_interrupted(place: &Place) -> Result<(), RestoreError> {
    let root = place.staging_dir();
    if !root.is_dir() {
        return Ok(());
    }
    let Some(_lock) = Lock::try_take(&place.lock_file())? else { return Ok(()) };
    if foreign::finish_interrupted(place, &root)? {
        return discard(&root);
    }
    match put_in_place(&root, place.kind.folder()).map(|bytes| Manifest::from_bytes(&bytes)) {
        Some(Ok(manifest)) => memory::write_marker(&place.chain_dir, &manifest)?,
        // It was stopped while it removed the folder, of which nobody can make anything any more.
        None if !has_manifest(&root) => {}
        _ => return Ok(()),
    }
    discard(&root)
}

pub(crate) fn permissions(request: &RestoreRequest) -> Permissions {
    Permissions { owner: request.owner, file_mode: request.file_mode, folder_mode: request.folder_mode }
}

/// Finishes what an update that was stopped at its last step has begun; it needs no network.
fn finish_switches(request: &RestoreRequest) -> Result<(), RestoreError> {
    for chain_dir in chain_dirs(&request.destination) {
        for kind in DatabaseKind::ALL {
            let place = Place::new(chain_dir.clone(), kind);
            if crate::switch::is_begun(&place.staging_dir()) {
                crate::update::finish(&place, permissions(request))?;
            }
        }
    }
    Ok(())
}

/// Makes the folders above the database and takes the lock, with some patience.
pub(crate) async fn take_lock(place: &Place, permissions: Permissions) -> Result<Lock, RestoreError> {
    place.make_folders(permissions)?;
    let path: PathBuf = place.lock_file();
    let patience = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        if let Some(lock) = Lock::try_take(&path)? {
            return Ok(lock);
        }
        if tokio::time::Instant::now() >= patience {
            return Err(RestoreError::Busy { path });
        }
        tokio::time::sleep(LOCK_INTERVAL).await;
    }
}

/// Runs file work on its own thread and reports its steps; the work goes on if this is dropped, and holds the lock until it ends.
pub(crate) async fn in_background<T: Send + 'static>(
    staging: &Arc<Staging>,
    phase: Phase,
    progress: &dyn Progress,
    work: impl FnOnce(&Staging) -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    staging.steps.store(0, std::sync::atomic::Ordering::Relaxed);
    let total = staging.plan().files.len() as u64;
    let report = || {
        let done = staging.steps.load(std::sync::atomic::Ordering::Relaxed);
        progress.update(&Update { phase, done, total, resumed: 0 });
    };
    let on_thread = Arc::clone(staging);
    let mut task = tokio::task::spawn_blocking(move || work(&on_thread));
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            result = &mut task => {
                report();
                return result.map_err(|_| RestoreError::Thread("the thread that works on files"))?;
            }
            _ = tick.tick() => report(),
        }
    }
}

/// Names a path in an error of this layer.
pub(crate) fn refuse(path: &Path, reason: &str) -> RestoreError {
    RestoreError::Destination { path: path.to_owned(), reason: reason.to_owned() }
}
