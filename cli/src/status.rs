//! `polkashots status`: targets, newest snapshots, queue, failures, and what is held.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::Args;
use polkashots_engine::adapters::local::LocalVolumes;
use polkashots_shared::chain::Chain;
use polkashots_shared::clock::{Clock, SystemClock};
use polkashots_shared::failure::{Failure, MAX_FAILURE_BYTES};
use polkashots_shared::ids::{DatabaseKind, Permalink, TargetId, Version};
use polkashots_shared::index::{Index, IndexSnapshot, MAX_INDEX_BYTES};
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{ObjectStore, StoreError};
use serde::Serialize;

use crate::args::ConfigArgs;
use crate::config::{Config, TargetConfig};
use crate::output::{self, CommandError};
use crate::run::lock::StateLock;
use crate::run::wiring;
use crate::schedule::Schedule;

/// Shows what the service has done, does and will do; works whether it runs or not.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The config file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print JSON: running_pid, targets, queue, dead_letters, held
    #[arg(long)]
    pub json: bool,
}

/// What `status --json` prints.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The process that runs the service; null if none does.
    pub running_pid: Option<u32>,
    /// The targets, by id.
    pub targets: Vec<TargetStatus>,
    /// The subscriptions.
    pub queue: Vec<SubscriptionStatus>,
    /// Messages that were given up.
    pub dead_letters: Vec<DeadLetterStatus>,
    /// Volume snapshots and claims that are there now.
    pub held: Vec<HeldStatus>,
}

/// One target.
#[derive(Debug, Serialize)]
pub struct TargetStatus {
    /// Its id.
    pub id: TargetId,
    /// Its path on the site.
    pub permalink: Permalink,
    /// Its chain.
    pub chain: Chain,
    /// Its database.
    pub database: DatabaseKind,
    /// When it is snapshotted next; null where only triggers do.
    pub next: Option<DateTime<Utc>>,
    /// Its newest published snapshot; null before the first.
    pub newest: Option<IndexSnapshot>,
    /// How many snapshots the index lists.
    pub snapshots: usize,
    /// Snapshots that failed, newest first, as long as their records are kept.
    pub failures: Vec<Failure>,
}

/// One subscription.
#[derive(Debug, Serialize)]
pub struct SubscriptionStatus {
    /// Its name.
    pub subscription: String,
    /// Messages that wait.
    pub ready: u64,
    /// Messages that are worked on.
    pub leased: u64,
    /// Messages that come again later.
    pub delayed: u64,
    /// The age of the oldest of them, in seconds.
    pub oldest_age_seconds: Option<u64>,
}

/// One message that was given up.
#[derive(Debug, Serialize)]
pub struct DeadLetterStatus {
    /// The subscription that gave it up.
    pub subscription: String,
    /// What it was about, where it says so.
    pub target: Option<String>,
    /// Why.
    pub reason: String,
    /// How many deliveries it had.
    pub attempts: u32,
    /// When it was given up.
    pub died_at: DateTime<Utc>,
}

/// One thing that a run holds.
#[derive(Debug, Serialize)]
pub struct HeldStatus {
    /// Its target.
    pub target: TargetId,
    /// Its version.
    pub version: Version,
    /// `claim` or `volume_snapshot`.
    pub kind: &'static str,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Runs the command.
pub async fn run(args: &StatusArgs) -> Result<(), CommandError> {
    let config = args.config.load()?;
    let status = status(&config).await?;
    if args.json {
        return output::json(&status);
    }
    print(&status, SystemClock.now());
    Ok(())
}

/// Reads the status of a service from its directories.
pub async fn status(config: &Config) -> Result<Status, CommandError> {
    let store = wiring::open_store(config).map_err(CommandError::failed)?;
    let index = read_index(&store).await?;
    let mut targets = Vec::new();
    for target in config.targets.values() {
        targets.push(target_status(target, index.as_ref(), &store).await?);
    }
    let queues = wiring::open_queues(config).await.map_err(CommandError::failed)?;
    let backlog = queues.backlog().await.map_err(CommandError::failed)?;
    let dead_letters = queues.dead_letters().await.map_err(CommandError::failed)?;
    Ok(Status {
        running_pid: StateLock::holder(&config.state_dir).and_then(|pid| pid.parse().ok()),
        targets,
        queue: backlog.into_iter().map(SubscriptionStatus::from).collect(),
        dead_letters: dead_letters.into_iter().map(DeadLetterStatus::from).collect(),
        held: held(config).await?,
    })
}

async fn held(config: &Config) -> Result<Vec<HeldStatus>, CommandError> {
    let held = LocalVolumes::look(&config.state_dir, Arc::new(SystemClock)).await.map_err(CommandError::failed)?;
    Ok(held.into_iter().map(HeldStatus::from).collect())
}

async fn read_index(store: &dyn ObjectStore) -> Result<Option<Index>, CommandError> {
    match store.get(names::INDEX_KEY, MAX_INDEX_BYTES).await {
        Ok(object) => serde_json::from_slice(&object.bytes)
            .map(Some)
            .map_err(|error| CommandError::failed(error).doing(names::INDEX_KEY)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(CommandError::failed(error)),
    }
}

async fn target_status(
    config: &TargetConfig,
    index: Option<&Index>,
    store: &dyn ObjectStore,
) -> Result<TargetStatus, CommandError> {
    let target = &config.target;
    let listed = index.and_then(|index| index.find(target.id.as_str()));
    let schedule = target.schedule.as_deref().and_then(|cron| Schedule::parse(cron, &target.time_zone).ok());
    Ok(TargetStatus {
        id: target.id.clone(),
        permalink: target.permalink.clone(),
        chain: target.chain.clone(),
        database: target.database,
        next: schedule.and_then(|schedule| schedule.next_after(SystemClock.now())),
        newest: listed.and_then(|listed| listed.snapshots.first().cloned()),
        snapshots: listed.map_or(0, |listed| listed.snapshots.len()),
        failures: failures(&target.id, store).await?,
    })
}

/// The failure records of a target, newest first; one that cannot be read is left out, the site shows the rest too.
async fn failures(target: &TargetId, store: &dyn ObjectStore) -> Result<Vec<Failure>, CommandError> {
    let mut failures = Vec::new();
    let objects = store.list(&names::target_prefix(target)).await.map_err(CommandError::failed)?;
    for object in objects.iter().rev().filter(|object| object.key.ends_with(names::FAILURE_SUFFIX)) {
        match store.get(&object.key, MAX_FAILURE_BYTES).await {
            Ok(record) => failures.extend(serde_json::from_slice::<Failure>(&record.bytes).ok()),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(CommandError::failed(error)),
        }
    }
    Ok(failures)
}

impl From<polkashots_shared::adapters::subscription::Backlog> for SubscriptionStatus {
    fn from(backlog: polkashots_shared::adapters::subscription::Backlog) -> Self {
        Self {
            subscription: backlog.subscription,
            ready: backlog.ready,
            leased: backlog.leased,
            delayed: backlog.delayed,
            oldest_age_seconds: backlog.oldest_age.map(|age| age.as_secs()),
        }
    }
}

impl From<polkashots_shared::adapters::subscription::DeadLetter> for DeadLetterStatus {
    fn from(letter: polkashots_shared::adapters::subscription::DeadLetter) -> Self {
        Self {
            subscription: letter.subscription,
            target: letter.message.attributes.get(polkashots_shared::event::TARGET_ATTRIBUTE).cloned(),
            reason: letter.reason,
            attempts: letter.attempts,
            died_at: letter.died_at,
        }
    }
}

impl From<polkashots_engine::Held> for HeldStatus {
    fn from(held: polkashots_engine::Held) -> Self {
        let kind = match held.kind {
            polkashots_engine::HeldKind::Claim => "claim",
            polkashots_engine::HeldKind::VolumeSnapshot => "volume_snapshot",
        };
        Self { target: held.target, version: held.version, kind, since: held.since }
    }
}

fn print(status: &Status, now: DateTime<Utc>) {
    match status.running_pid {
        Some(pid) => output::line(format_args!("service   running, pid {pid}")),
        None => output::line("service   not running"),
    }
    for target in &status.targets {
        print_target(target, now);
    }
    let waiting: u64 = status.queue.iter().map(|queue| queue.ready + queue.delayed).sum();
    let leased: u64 = status.queue.iter().map(|queue| queue.leased).sum();
    output::line(format_args!("queue     {waiting} waiting, {leased} being worked on"));
    for letter in &status.dead_letters {
        let target = letter.target.as_deref().unwrap_or("no target");
        output::line(format_args!("given up  {} {target}: {}", letter.subscription, letter.reason));
    }
    for held in &status.held {
        output::line(format_args!("held      {} {} {} since {}", held.kind, held.target, held.version, held.since));
    }
}

fn print_target(target: &TargetStatus, now: DateTime<Utc>) {
    let next = target.next.map_or_else(|| "only when triggered".to_owned(), |next| format!("next {next}"));
    output::line(format_args!("target    {} ({}), {next}", target.id, target.permalink));
    match &target.newest {
        None => output::line("            no snapshot yet"),
        Some(newest) => {
            let hours = (now - newest.created_at).num_minutes() as f64 / 60.0;
            let (version, height, size) = (newest.version, newest.block.height, output::bytes(newest.size));
            output::line(format_args!("            {version}, finalized #{height}, {size}, {hours:.1} h old"));
        }
    }
    for failure in target.failures.iter().take(3) {
        output::line(format_args!("            failed {} in {}: {}", failure.version, failure.worker, failure.reason));
    }
}
