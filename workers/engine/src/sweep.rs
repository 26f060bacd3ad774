//! Tears down what crashed: at each tick, whatever is held by a run that is over or dead.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use polkashots_shared::event::{Event, Payload, SnapshotFailed};
use polkashots_shared::failure;
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::worker::{HandleError, error_chain};
use tracing::{error, info, warn};

use crate::handle::{End, end_of_run};
use crate::{Deps, NAME};

/// Releases what uploaded runs still hold and returns the `snapshot.failed` events of failed and dead ones.
///
/// A failed run is released when the engine receives its event and not here, so that a crash before the event is
/// durable leaves something for the next sweep to find; its own target's next tick releases it in any case.
/// Errors are logged and never stop a tick: one target's stuck volume must not cost another its snapshot, and the next
/// tick sweeps again.
pub(crate) async fn sweep(deps: &Deps) -> Vec<Event> {
    sweep_uploads(deps).await;
    let runs = match held_runs(deps).await {
        Ok(runs) => runs,
        Err(error) => {
            error!(error = error_chain(&error), "what is held cannot be listed, the next tick sweeps again");
            return Vec::new();
        }
    };
    let mut failed = Vec::new();
    for ((target, version), since) in runs {
        match sweep_run(&target, version, since, deps).await {
            Ok(event) => failed.extend(event),
            Err(error) => warn!(%target, %version, error = error_chain(&error), "not swept, the next tick tries again"),
        }
    }
    failed
}

async fn sweep_uploads(deps: &Deps) {
    match deps.store.sweep_uploads(deps.settings.sweep_min_age).await {
        Ok(0) => {}
        Ok(count) => info!(count, "abandoned uploads removed"),
        Err(error) => warn!(error = error_chain(&error), "abandoned uploads not removed, the next tick tries again"),
    }
}

/// The runs that hold something, each with the time at which the first of it came to be.
async fn held_runs(deps: &Deps) -> Result<BTreeMap<(TargetId, Version), DateTime<Utc>>, crate::VolumeSnapshotError> {
    let mut runs = BTreeMap::new();
    for held in deps.volumes.held().await? {
        let since = runs.entry((held.target, held.version)).or_insert(held.since);
        *since = held.since.min(*since);
    }
    Ok(runs)
}

async fn sweep_run(
    target: &TargetId,
    version: Version,
    since: DateTime<Utc>,
    deps: &Deps,
) -> Result<Option<Event>, HandleError> {
    match end_of_run(target, version, deps).await.map_err(HandleError::transient)? {
        Some(End::Uploaded) => {
            deps.volumes.release(target, version).await.map_err(HandleError::transient)?;
            info!(%target, %version, "swept: the run is over");
            Ok(None)
        }
        Some(End::Failed) => Ok(Some(failed_event(target, version, "the run failed and was not torn down"))),
        None => bury_if_dead(target, version, since, deps).await,
    }
}

/// Records a run without progress as failed, so that people see it.
async fn bury_if_dead(
    target: &TargetId,
    version: Version,
    since: DateTime<Utc>,
    deps: &Deps,
) -> Result<Option<Event>, HandleError> {
    let now = deps.clock.now();
    let min_age = deps.settings.sweep_min_age;
    if now < since + min_age {
        return Ok(None);
    }
    let hours = min_age.as_secs() as f64 / 3600.0;
    let reason = format!("dead run: nothing was uploaded in {hours:.1} h since {since}; see the logs of that time");
    let event = failed_event(target, version, &reason);
    let Payload::SnapshotFailed(failed) = &event.payload else { return Ok(None) };
    if !failure::record(deps.store.as_ref(), failed, now).await.map_err(HandleError::transient)? {
        return Ok(None);
    }
    warn!(%target, %version, reason, "swept");
    Ok(Some(event))
}

fn failed_event(target: &TargetId, version: Version, reason: &str) -> Event {
    let failed = SnapshotFailed { target: target.clone(), version, worker: NAME.to_owned(), reason: reason.to_owned() };
    Event::new(NAME, version.time(), Payload::SnapshotFailed(failed))
}
