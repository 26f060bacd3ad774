//! Somebody else's archive: one stream of tar, lz4 or zstd with no manifest and no signature beside it.
//!
//! It is taken only where a person says so (`--allow-unsigned`), because nothing tells who made it or what is in it. What can
//! be checked is: its paths are those of one database, by the rules of signed archives ([`crate::plan`]); it holds nothing
//! but files and folders; it fits on the disk; it comes to its end. Until then it grows in the staging folder, and one rename
//! puts it in place, so that a node sees all of it or nothing.
//!
//! There is no index of such a stream, so it is read from its beginning to its end: a broken connection is taken up where it
//! broke where the server can say that the file is still the same, but a restore that was killed begins anew. One that was
//! killed after the last byte was written is finished without the network.

mod decode;
mod entries;
mod feed;
mod layout;
mod sparse;
mod unpack;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polkashots_shared::chain::Chain;
use polkashots_shared::ids::DatabaseKind;
use polkashots_shared::manifest::MAX_MANIFEST_BYTES;

pub use self::entries::EntryError;
use self::feed::{Interrupted, Sent, feed};
use self::unpack::{Steps, Unpacked, Unpacking, start};
use crate::destination::Place;
use crate::durable;
use crate::error::RestoreError;
use crate::memory::{self, UnsignedMarker};
use crate::outcome::{AlreadyThere, Outcome, Unsigned};
use crate::progress::{INTERVAL, Phase, Progress, Update};
use crate::request::{Destination, Existing, RestoreRequest};
use crate::resolve::manifest_of_archive;
use crate::restore::{already_there, permissions, take_lock};
use crate::source::{Location, Source, SourceError};
use crate::staging::discard;
use crate::trust::check_chain_id;

/// Restores from an archive that has no manifest; `None` where the request is for a signed snapshot.
pub async fn restore(request: &RestoreRequest, progress: &dyn Progress) -> Result<Option<Outcome>, RestoreError> {
    let Some(archive) = Archive::of(request)? else { return Ok(None) };
    if request.allow_unsigned
        && let Some(there) = archive.already_there()?
    {
        return Ok(Some(Outcome::AlreadyThere(there)));
    }
    progress.update(&Update::start(Phase::Resolve));
    // What an earlier run left to be put in place needs no network any more.
    if !archive.is_staged() && !archive.is_foreign().await? {
        return Ok(None);
    }
    if let Some(there) = archive.already_there()? {
        return Ok(Some(Outcome::AlreadyThere(there)));
    }
    archive.check_allowed()?;
    let outcome = archive.bring(progress).await?;
    if let Outcome::Unsigned(unsigned) = &outcome {
        tracing::warn!(archive = unsigned.archive, sha256 = %unsigned.sha256, "database unpacked from an archive that nobody signed");
    }
    Ok(Some(outcome))
}

/// Refuses to say what a restore would do where no manifest says it.
pub async fn check_signed(request: &RestoreRequest) -> Result<(), RestoreError> {
    match Archive::of(request)? {
        Some(archive) if archive.is_foreign().await? => {
            archive.check_allowed()?;
            Err(archive.needs_manifest("nothing can be said of it before it is read: leave --dry-run out"))
        }
        _ => Ok(()),
    }
}

/// Writes the marker of a database that was put in place right before its restore was stopped; true where there is one.
pub fn finish_interrupted(place: &Place, staging: &Path) -> Result<bool, RestoreError> {
    let is_gone = staging.join(place.kind.folder()).symlink_metadata().is_err();
    let Some(marker) = UnsignedMarker::read_staged(staging)?.filter(|_| is_gone) else { return Ok(false) };
    marker.write(&place.chain_dir, place.kind)?;
    Ok(true)
}

/// An archive by its name, which may turn out to have a manifest.
struct Archive<'a> {
    request: &'a RestoreRequest,
    source: Source,
    location: Location,
    manifest: Location,
}

impl<'a> Archive<'a> {
    fn of(request: &'a RestoreRequest) -> Result<Option<Self>, RestoreError> {
        let location = Location::parse(&request.source)?;
        let Some(manifest) = manifest_of_archive(&location) else { return Ok(None) };
        let source = Source::new(request.transfer.clone());
        let archive = Self { request, source, location, manifest: manifest? };
        archive.chain_folder().map_or(Ok(()), |folder| check_chain_id(&folder))?;
        Ok(Some(archive))
    }

    /// True where there is no manifest beside it, by the word of whoever serves it.
    async fn is_foreign(&self) -> Result<bool, RestoreError> {
        match self.source.get(&self.manifest, MAX_MANIFEST_BYTES).await {
            Err(SourceError::NotFound { .. } | SourceError::Refused { .. }) => Ok(true),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(false),
        }
    }

    /// The chain's folder, by the chain that was named.
    fn chain_folder(&self) -> Option<String> {
        let name = self.request.trust.chain.as_deref()?;
        Some(Chain::built_in(name).map_or_else(|| name.to_owned(), |chain| chain.id))
    }

    /// The chain's folder on this machine, where it can be told before the archive is read.
    fn chain_dir(&self) -> Option<PathBuf> {
        match (&self.request.destination, self.chain_folder()) {
            (Destination::BasePath(_), None) => None,
            (destination, folder) => Some(destination.chain_dir(folder.as_deref().unwrap_or_default())),
        }
    }

    /// True where an earlier run has made this archive's database whole, but not put it in place.
    fn is_staged(&self) -> bool {
        let places = self.chain_dir().map(|dir| DatabaseKind::ALL.map(|kind| Place::new(dir.clone(), kind)));
        self.request.allow_unsigned
            && places.into_iter().flatten().any(|place| staged(&place, &self.location.to_string()).is_some())
    }

    /// A database of either kind that is there, where it is left as it is.
    fn already_there(&self) -> Result<Option<AlreadyThere>, RestoreError> {
        let Some(chain_dir) = self.chain_dir() else { return Ok(None) };
        for kind in DatabaseKind::ALL {
            if let Some(there) = already_there(&Place::new(chain_dir.clone(), kind), self.request.existing)? {
                return Ok(Some(there));
            }
        }
        Ok(None)
    }

    /// Refuses what was not allowed, and what only a manifest could answer.
    fn check_allowed(&self) -> Result<(), RestoreError> {
        let (request, trust) = (self.request, &self.request.trust);
        if !request.allow_unsigned {
            let (archive, manifest) = (self.location.to_string(), self.manifest.to_string());
            return Err(RestoreError::Unsigned { archive, manifest });
        }
        let unanswered = [
            (
                trust.genesis.is_some(),
                "the genesis is not known beforehand: leave --genesis out, and look with polkashots inspect",
            ),
            (trust.min_height.is_some(), "its height is not known beforehand: leave --min-height out"),
            (trust.max_age.is_some(), "its age is not known: leave --max-age out"),
            (
                request.existing.is_reused(),
                "nothing tells which parts differ: use --force in place of --update and --repair",
            ),
        ];
        if let Some((_, asked)) = unanswered.into_iter().find(|(is_asked, _)| *is_asked) {
            return Err(self.needs_manifest(asked));
        }
        Ok(())
    }

    fn needs_manifest(&self, asked: &str) -> RestoreError {
        RestoreError::NeedsManifest { archive: self.location.to_string(), asked: asked.to_owned() }
    }

    /// Unpacks the archive and puts its database in place.
    async fn bring(&self, progress: &dyn Progress) -> Result<Outcome, RestoreError> {
        let unknown =
            || self.needs_manifest("the chain is not known: name it with --chain (CHAIN), or give --chain-dir");
        let chain_dir = self.chain_dir().ok_or_else(unknown)?;
        let mut unpacking = Unpacking {
            archive: self.location.to_string(),
            chain_folder: self.chain_folder(),
            chain_dir,
            permissions: permissions(self.request),
            steps: Steps::default(),
            locks: Vec::new(),
        };
        // Which database it is shows while it is unpacked.
        for kind in DatabaseKind::ALL {
            let place = unpacking.place(kind);
            unpacking.locks.push(take_lock(&place, unpacking.permissions).await?);
            place.finish_removal()?;
        }
        // Another restore may have finished while this one waited for the locks.
        if let Some(there) = self.already_there()? {
            return Ok(Outcome::AlreadyThere(there));
        }
        let unpacking = Arc::new(unpacking);
        if let Some(unsigned) = self.bring_staged(&unpacking)? {
            return Ok(Outcome::Unsigned(unsigned));
        }
        let fetched = AtomicU64::new(0);
        let (unpacked, sent) = self.unpack(&unpacking, &fetched, progress).await?;
        let marker = UnsignedMarker {
            signed: false,
            archive: unpacking.archive.clone(),
            sha256: sent.sha256,
            size_bytes: sent.size_bytes,
            files: unpacked.files,
            content_bytes: unpacked.content_bytes,
            unpacked_at: self.request.clock.now(),
        };
        marker.write_staged(&unpacked.place.staging_dir())?;
        self.publish(&unpacked.place, &marker)?;
        let fetched_bytes = fetched.load(Ordering::Relaxed);
        let written_bytes = unpacked.written_bytes;
        Ok(Outcome::Unsigned(Unsigned { fetched_bytes, written_bytes, ..outcome(&unpacked.place, marker) }))
    }

    /// Puts in place what an earlier run had made whole of the same archive.
    fn bring_staged(&self, unpacking: &Unpacking) -> Result<Option<Unsigned>, RestoreError> {
        for place in DatabaseKind::ALL.map(|kind| unpacking.place(kind)) {
            if let Some(marker) = staged(&place, &unpacking.archive) {
                self.publish(&place, &marker)?;
                return Ok(Some(outcome(&place, marker)));
            }
        }
        Ok(None)
    }

    /// Sends the archive through the thread, from its beginning as often as attempts are left.
    async fn unpack(
        &self,
        unpacking: &Arc<Unpacking>,
        fetched: &AtomicU64,
        progress: &dyn Progress,
    ) -> Result<(Unpacked, Sent), RestoreError> {
        let mut attempts = self.source.attempts();
        loop {
            let (feed, fodder) = feed();
            let thread = start(unpacking, fodder);
            let sent = feed.send(&self.source, &self.location, &self.request.transfer, fetched, progress).await;
            let unpacked = finished(thread, unpacking, progress).await;
            match (sent, unpacked) {
                (Ok(sent), unpacked) => return Ok((unpacked?, sent)),
                (Err(Interrupted::Unwanted), Err(error)) => return Err(error),
                (Err(Interrupted::Unwanted), Ok(_)) => return Err(RestoreError::Thread("the thread that unpacks")),
                (Err(Interrupted::Failed(error)), _) => return Err(error.into()),
                (Err(Interrupted::StartOver(error)), _) => {
                    tracing::warn!(archive = %self.location, %error, "reading the archive from its beginning again");
                    attempts.failed(error).await?;
                }
            }
        }
    }

    /// Puts what was unpacked where the node opens it, in place of what may be there.
    fn publish(&self, place: &Place, marker: &UnsignedMarker) -> Result<(), RestoreError> {
        if place.is_occupied()? && self.request.existing == Existing::Replace {
            place.remove_database()?;
        }
        place.make_way()?;
        memory::remove_marker(&place.chain_dir, place.kind)?;
        let (staging, database_dir) = (place.staging_dir(), place.database_dir());
        std::fs::rename(staging.join(place.kind.folder()), &database_dir)
            .map_err(|error| RestoreError::io("put in place", &database_dir, error))?;
        durable::sync_folder_of(&database_dir).map_err(|error| RestoreError::io("sync", &database_dir, error))?;
        marker.write(&place.chain_dir, place.kind)?;
        discard(&staging)
    }
}

/// Waits for the thread and reports what it does.
async fn finished(
    mut thread: tokio::task::JoinHandle<Result<Unpacked, RestoreError>>,
    unpacking: &Unpacking,
    progress: &dyn Progress,
) -> Result<Unpacked, RestoreError> {
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            result = &mut thread => return result.map_err(|_| RestoreError::Thread("the thread that unpacks"))?,
            _ = tick.tick() => {
                let (done, total) = (&unpacking.steps.done, &unpacking.steps.total);
                let (done, total) = (done.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
                if total > 0 {
                    progress.update(&Update { phase: Phase::Finish, done, total, resumed: 0 });
                }
            }
        }
    }
}

/// The marker of a staging folder that holds the whole database of `archive`.
fn staged(place: &Place, archive: &str) -> Option<UnsignedMarker> {
    let staging = place.staging_dir();
    let is_there = staging.join(place.kind.folder()).is_dir();
    let marker = UnsignedMarker::read_staged(&staging).ok().flatten();
    marker.filter(|marker| is_there && marker.archive == archive)
}

fn outcome(place: &Place, marker: UnsignedMarker) -> Unsigned {
    Unsigned {
        database_dir: place.database_dir(),
        archive: marker.archive,
        sha256: marker.sha256,
        size_bytes: marker.size_bytes,
        files: marker.files,
        content_bytes: marker.content_bytes,
        fetched_bytes: 0,
        written_bytes: 0,
    }
}
