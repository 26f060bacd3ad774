//! What the engine does with each event. A tick makes a volume snapshot; a run that is over is torn down.
//!
//! Every step can be repeated, so that a crash between any two is put right by the tick's redelivery: the lock is the same
//! version's, the volume snapshot is there already, the event has the same id. What no redelivery reaches, the sweep of
//! a later tick does.

use std::time::Duration;

use chrono::{DateTime, Utc};
use polkashots_shared::event::{Event, Payload, Topic, VolumeSnapshotReady};
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;
use polkashots_shared::ports::object_store::StoreError;
use polkashots_shared::worker::{HandleError, Outcome};
use tracing::info;

use crate::volume_snapshots::{Acquire, Ready, VolumeSnapshotError};
use crate::{Deps, NAME, sweep};

/// How far a tick's clock may be ahead of this machine's.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// How many finished runs in a row may be found holding the claim before the tick is given back.
const MAX_TAKEOVERS: u32 = 3;

/// Says why the engine did not do what an event asks for.
#[derive(Debug, thiserror::Error)]
enum EngineError {
    #[error("tick for unknown target {target}: configured targets are {known}")]
    UnknownTarget { target: TargetId, known: String },
    #[error("tick of {time} is in the future: the clock of this machine shows {now}; set the clock that is wrong")]
    Future { time: DateTime<Utc>, now: DateTime<Utc> },
    #[error(
        "tick {target}/{version} is not newer than snapshot {newest}: if it was just sent, the clock of the machine that \
         sent it is behind; set it and trigger again"
    )]
    NotNewer { target: TargetId, version: Version, newest: Version },
    #[error("the claim of {target} changed hands {MAX_TAKEOVERS} times while {version} tried to take it")]
    Contended { target: TargetId, version: Version },
    #[error("engine does not read topic {0}: its subscription is wired to the wrong topic")]
    WrongTopic(Topic),
}

/// Brings about what `event` asks for; see the module.
pub async fn handle(event: &Event, deps: &Deps) -> Result<Outcome, HandleError> {
    match &event.payload {
        Payload::Tick(tick) => on_tick(&tick.target, event.time, deps).await,
        Payload::SnapshotUploaded(uploaded) => tear_down(&uploaded.target, uploaded.version, deps).await,
        Payload::SnapshotFailed(failed) => tear_down(&failed.target, failed.version, deps).await,
        Payload::VolumeSnapshotReady(_) | Payload::SnapshotPublished(_) => {
            Err(HandleError::permanent(EngineError::WrongTopic(event.payload.topic())))
        }
    }
}

/// Asks nothing of the configuration: a run whose target was removed meanwhile is torn down too.
async fn tear_down(target: &TargetId, version: Version, deps: &Deps) -> Result<Outcome, HandleError> {
    deps.volumes.release(target, version).await.map_err(volume_error)?;
    info!(%target, %version, "torn down");
    Ok(Outcome::done())
}

async fn on_tick(target: &TargetId, time: DateTime<Utc>, deps: &Deps) -> Result<Outcome, HandleError> {
    check_tick(target, time, deps)?;
    let failed = sweep::sweep(deps).await;
    let version = Version::from_time(time);
    let mut outcome = snapshot(target, version, deps).await?;
    outcome.emit.splice(0..0, failed);
    Ok(outcome)
}

fn check_tick(target: &TargetId, time: DateTime<Utc>, deps: &Deps) -> Result<(), HandleError> {
    if !deps.targets.contains_key(target) {
        let known = deps.targets.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(HandleError::permanent(EngineError::UnknownTarget { target: target.clone(), known }));
    }
    let now = deps.clock.now();
    if time > now + CLOCK_TOLERANCE {
        return Err(HandleError::permanent(EngineError::Future { time, now }));
    }
    Ok(())
}

async fn snapshot(target: &TargetId, version: Version, deps: &Deps) -> Result<Outcome, HandleError> {
    if let Some(end) = end_of_run(target, version, deps).await.map_err(store_error)? {
        deps.volumes.release(target, version).await.map_err(volume_error)?;
        return Ok(Outcome::skipped(format!("{target}/{version} is over: {}", end.as_str())));
    }
    refuse_unless_newest(target, version, deps).await?;
    if let Some(held_by) = take_claim(target, version, deps).await? {
        return Ok(Outcome::skipped(format!("{target} is busy: {held_by} is in flight, {version} is not taken")));
    }
    let ready = deps.volumes.ensure_snapshot(target, version).await.map_err(volume_error)?;
    info!(%target, %version, volume_snapshot = ready.name, claim = ready.claim, "volume snapshot is ready");
    Ok(Outcome::emit(ready_event(target, version, ready)))
}

fn ready_event(target: &TargetId, version: Version, ready: Ready) -> Event {
    let time = ready.taken_at;
    let payload = VolumeSnapshotReady {
        target: target.clone(),
        version,
        volume_snapshot: ready.name,
        claim: ready.claim,
        taken_at: ready.taken_at,
    };
    Event::new(NAME, time, Payload::VolumeSnapshotReady(payload))
}

async fn refuse_unless_newest(target: &TargetId, version: Version, deps: &Deps) -> Result<(), HandleError> {
    let keys = deps.store.list(&names::target_prefix(target)).await.map_err(store_error)?;
    let manifests = keys.iter().filter_map(|meta| match names::parse_object_key(&meta.key)? {
        (of, version, names::MANIFEST_SUFFIX) if of == *target => Some(version),
        _ => None,
    });
    match manifests.max() {
        Some(newest) if newest > version => {
            let target = target.clone();
            Err(HandleError::permanent(EngineError::NotNewer { target, version, newest }))
        }
        _ => Ok(()),
    }
}

/// Takes the claim for `version`, from a run that is over too; the version that is in flight where there is one.
async fn take_claim(target: &TargetId, version: Version, deps: &Deps) -> Result<Option<Version>, HandleError> {
    for _ in 0..=MAX_TAKEOVERS {
        let held_by = match deps.volumes.acquire(target, version).await.map_err(volume_error)? {
            Acquire::Acquired => return Ok(None),
            Acquire::Busy { held_by } => held_by,
        };
        if end_of_run(target, held_by, deps).await.map_err(store_error)?.is_none() {
            return Ok(Some(held_by));
        }
        deps.volumes.release(target, held_by).await.map_err(volume_error)?;
        info!(%target, version = %held_by, "torn down to make room");
    }
    Err(HandleError::transient(EngineError::Contended { target: target.clone(), version }))
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its manifest is in the store.
    Uploaded,
    /// Its failure record is.
    Failed,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Uploaded => "its manifest is in the store",
            Self::Failed => "it failed, and its failure record is in the store",
        }
    }
}

/// How the run of `version` ended; `None` while it may still be in flight.
pub(crate) async fn end_of_run(target: &TargetId, version: Version, deps: &Deps) -> Result<Option<End>, StoreError> {
    if deps.store.head(&names::manifest_key(target, version)).await?.is_some() {
        return Ok(Some(End::Uploaded));
    }
    let failure = deps.store.head(&names::failure_key(target, version)).await?;
    Ok(failure.map(|_| End::Failed))
}

fn store_error(error: StoreError) -> HandleError {
    if error.is_transient() { HandleError::transient(error) } else { HandleError::permanent(error) }
}

fn volume_error(error: VolumeSnapshotError) -> HandleError {
    if error.is_transient() { HandleError::transient(error) } else { HandleError::permanent(error) }
}
