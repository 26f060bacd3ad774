//! `polkashots trigger`: asks the running service for a snapshot now.

use chrono::{DateTime, Utc};
use clap::Args;
use polkashots_shared::clock::{Clock, SystemClock};
use polkashots_shared::event::{Event, Payload, Tick, Topic};
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;
use polkashots_shared::ports::object_store::ObjectStore;
use polkashots_shared::ports::queue::{EventSink, QueueError};
use serde::Serialize;

use crate::args::ConfigArgs;
use crate::config::Config;
use crate::output::{self, CommandError, Exit};
use crate::run::wiring;

/// Puts a tick into the durable queue; the service takes it at once if it runs, or when it is started.
#[derive(Debug, Args)]
pub struct TriggerArgs {
    /// The target's id or permalink
    pub target: String,
    /// The config file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print JSON: target, version
    #[arg(long)]
    pub json: bool,
}

/// What `trigger --json` prints.
#[derive(Debug, Serialize)]
pub struct Triggered {
    /// The target.
    pub target: TargetId,
    /// The version that the snapshot will have.
    pub version: Version,
}

/// Runs the command.
pub async fn run(args: &TriggerArgs) -> Result<(), CommandError> {
    let config = args.config.load()?;
    let triggered = trigger(&config, &args.target, &SystemClock).await?;
    if args.json {
        return output::json(&triggered);
    }
    output::line(format_args!("asked for snapshot {} of {}", triggered.version, triggered.target));
    Ok(())
}

/// Publishes a tick for a target, now.
pub async fn trigger(config: &Config, name: &str, clock: &dyn Clock) -> Result<Triggered, CommandError> {
    let target = find_target(config, name)?;
    let now = clock.now();
    let version = Version::from_time(now);
    refuse_old_clock(config, &target, version).await?;
    let queues = wiring::open_queues(config).await.map_err(CommandError::failed)?;
    publish_tick(&queues, &target, version.time())
        .await
        .map_err(|error| CommandError::failed(error).doing(format_args!("trigger {target}")))?;
    Ok(Triggered { target, version })
}

/// Puts a tick on its topic; `time` is the instant that it stands for, and so its snapshot's version.
pub async fn publish_tick(events: &dyn EventSink, target: &TargetId, time: DateTime<Utc>) -> Result<(), QueueError> {
    let tick = Event::new("scheduler", time, Payload::Tick(Tick { target: target.clone() }));
    events.publish(Topic::Tick, &tick.to_message()).await
}

/// The target of that id or permalink.
pub fn find_target(config: &Config, name: &str) -> Result<TargetId, CommandError> {
    let found = config.targets.values().map(|config| &config.target);
    let found = found.into_iter().find(|target| target.id.as_str() == name || target.permalink.as_str() == name);
    if let Some(target) = found {
        return Ok(target.id.clone());
    }
    let known: Vec<&str> = config.targets.keys().map(TargetId::as_str).collect();
    let guess = crate::config::nearest(name, known.iter().copied());
    let error = CommandError::new(Exit::NotFound, format!("unknown target \"{name}\" in {}", config.path.display()));
    Err(match guess {
        Some(guess) => error.hint(format_args!("did you mean {guess}? known targets: {}", known.join(", "))),
        None => error.hint(format_args!("known targets: {}", known.join(", "))),
    })
}

/// A snapshot that is older than the newest one could never be published: say so now.
async fn refuse_old_clock(config: &Config, target: &TargetId, version: Version) -> Result<(), CommandError> {
    let store = wiring::open_store(config).map_err(CommandError::failed)?;
    let objects = store.list(&names::target_prefix(target)).await.map_err(CommandError::failed)?;
    let newest = objects
        .iter()
        .filter_map(|object| names::parse_object_key(&object.key))
        .filter(|(_, _, suffix)| *suffix == names::MANIFEST_SUFFIX)
        .map(|(_, version, _)| version)
        .max();
    match newest {
        Some(newest) if newest > version => {
            let message = format!(
                "the clock says {version}, which is before the newest snapshot of {target}, {newest}: nothing was asked for"
            );
            Err(CommandError::failed(message).hint("set the machine's clock (is NTP running?) and try again"))
        }
        _ => Ok(()),
    }
}
