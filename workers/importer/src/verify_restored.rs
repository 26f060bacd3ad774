//! Checking a restored directory against the signed manifest of the snapshot that it was restored from.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::compare::{Comparison, inside};
use crate::destination::Place;
use crate::error::RestoreError;
use crate::memory;
use crate::outcome::RestoredReport;
use crate::plan::Plan;
use crate::progress::{INTERVAL, Phase, Progress, Update};
use crate::request::Destination;
use crate::resolve::{Resolved, resolve};
use crate::restore::{archive_of, read_plan};
use crate::source::Source;
use crate::trust::{PinnedKeys, check_manifest};
use crate::verify::VerifyRequest;

/// Files that a node makes when it opens a database, and that say nothing of its content.
const NODES_OWN: [&str; 3] = ["LOCK", "lock", "LOG"];
/// How many paths a refusal names.
const NAMED: usize = 5;

/// Compares the database at `destination` with the snapshot that it was restored from, or with the one that the request
/// names; it is right where every byte of every file is, and nothing else is there. Nothing is written.
pub async fn verify_restored(
    request: &VerifyRequest,
    destination: &Destination,
    progress: &dyn Progress,
) -> Result<RestoredReport, RestoreError> {
    progress.update(&Update::start(Phase::Resolve));
    let keys = PinnedKeys::read(&request.trust.keys)?;
    let source = Source::new(request.transfer.clone());
    let found = resolve(&source, &keys, &request.source, request.name.as_deref()).await?;
    let place = Place::new(destination.chain_dir(&found.manifest.chain.id), found.manifest.database.kind);
    let resolved = as_restored(&source, &keys, &place, found).await?;
    check_manifest(&resolved.manifest, &request.trust, request.name.as_deref(), request.clock.now())?;
    let archive = archive_of(&resolved.manifest)?;
    let plan = Arc::new(read_plan(&source, &resolved, archive).await?.0);
    let database_dir = place.database_dir();
    let top = database_dir.clone();
    let differing = watch(&plan, progress, move |plan, done, stop| differences(plan, &top, done, stop)).await?;
    if !differing.is_empty() {
        let files = differing.len();
        let named = differing.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        return Err(RestoreError::Differs { path: database_dir, files, named });
    }
    Ok(RestoredReport {
        manifest_location: resolved.location.to_string(),
        key_id: resolved.signature.key_id.to_string(),
        trusted_comment: resolved.signature.trusted_comment,
        database_dir,
        files: plan.files.len() as u64,
        frames: plan.frames.len() as u64,
        manifest: resolved.manifest,
    })
}

/// The snapshot that was restored, where that was another version of the same target, and is still served.
async fn as_restored(
    source: &Source,
    keys: &PinnedKeys,
    place: &Place,
    found: Resolved,
) -> Result<Resolved, RestoreError> {
    let marker = memory::read_marker(&place.chain_dir, place.kind)?;
    let Some(marker) = marker.filter(|marker| marker.target == found.manifest.target) else { return Ok(found) };
    if marker.version == found.manifest.version {
        return Ok(found);
    }
    let name = format!("{}{}", marker.version, polkashots_shared::names::MANIFEST_SUFFIX);
    let location = found.location.sibling(&name)?;
    Ok(resolve(source, keys, &location.to_text().unwrap_or_default(), None).await?)
}

/// Runs `work` on a thread and reports the bytes that it has compared.
async fn watch(
    plan: &Arc<Plan>,
    progress: &dyn Progress,
    work: impl FnOnce(&Plan, &AtomicU64, &AtomicBool) -> Result<Vec<String>, RestoreError> + Send + 'static,
) -> Result<Vec<String>, RestoreError> {
    let done = Arc::new(AtomicU64::new(0));
    let (on_thread, count) = (Arc::clone(plan), Arc::clone(&done));
    let mut task = tokio::task::spawn_blocking(move || work(&on_thread, &count, &AtomicBool::new(false)));
    let total = plan.frames.iter().map(|frame| u64::from(frame.uncompressed_size)).sum();
    let report = || {
        let done = done.load(Ordering::Relaxed);
        progress.update(&Update { phase: Phase::Compare, done, total, resumed: 0 });
    };
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            result = &mut task => {
                report();
                return result.map_err(|_| RestoreError::Thread("the thread that compares"))?;
            }
            _ = tick.tick() => report(),
        }
    }
}

/// The paths that are not as the plan has them, or not in it: first those that are known to be wrong by themselves, then those
/// of which a frame is wrong that small files share.
fn differences(plan: &Plan, top: &Path, done: &AtomicU64, stop: &AtomicBool) -> Result<Vec<String>, RestoreError> {
    let there = Comparison::new(plan, top.to_owned(), done, stop).frames_there(&vec![false; plan.frames.len()], None);
    let (mut differing, mut suspected) = (Vec::new(), Vec::new());
    for (number, file) in plan.files.iter().enumerate() {
        let found = inside(top, &file.path).symlink_metadata();
        if !found.is_ok_and(|found| found.is_file() && found.len() == file.size) {
            differing.push(file.path.clone());
        } else if file.size > 0 && !plan.frames_of(number).all(|frame| there[frame]) {
            suspected.push(file.path.clone());
        }
    }
    let known: HashSet<&str> = plan.files.iter().map(|file| file.path.as_str()).collect();
    let name = plan.folders[0].clone();
    more_than(&known, top, &name, &mut differing)?;
    differing.append(&mut suspected);
    Ok(differing)
}

/// Adds what is in `folder`, which is `path` of the plan, and in no plan.
fn more_than(
    known: &HashSet<&str>,
    folder: &Path,
    path: &str,
    differing: &mut Vec<String>,
) -> Result<(), RestoreError> {
    let failed = |error| RestoreError::io("list", folder, error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let below = format!("{path}/{name}");
        if entry.file_type().map_err(failed)?.is_dir() {
            more_than(known, &entry.path(), &below, differing)?;
        } else if !known.contains(below.as_str())
            && !NODES_OWN.contains(&name.as_str())
            && !name.starts_with("LOG.old.")
        {
            differing.push(below);
        }
    }
    Ok(())
}
