//! `polkashots demo`: one whole cycle on real databases, through the same wiring as the service.

mod compare;
mod fixture;
mod folder;
mod report;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use polkashots_importer::{Destination, Key, NoProgress, Outcome, RestoreRequest, Restored, Trust};
use polkashots_shared::adapters::chain::locate;
use polkashots_shared::clock::SystemClock;
use polkashots_shared::ids::{BlockHash, BlockRef, TargetId, Version};
use polkashots_shared::ports::chain_database::Identity;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::inspect::inspect;
use crate::output::{self, CommandError};
use crate::restore::explain;
use crate::run::service::Service;
use crate::run::stop_on_signal;
use crate::status::{Status, status};
use crate::trigger::trigger;
use fixture::{FIXTURES, Fixture};
use folder::Folder;
use report::Proof;

/// A cycle of the demo takes seconds; a machine that needs longer than this is stuck.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How often the demo asks the service how far it is.
const POLL: Duration = Duration::from_millis(300);

/// Snapshots, signs, publishes and restores four small real databases on this machine, and shows what it proved.
///
/// They are RocksDB and ParityDB of a relay chain of 400 blocks and of Polkadot at genesis, written by a real node; they
/// ship inside this program, nothing is downloaded.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  polkashots demo --dir /tmp/demo --no-serve\n\n\
    Afterwards: DIR/bucket holds what was published, DIR/site the site, DIR/restored/<target> the restored databases,\n\
    DIR/polkashots.toml the config. Running it again in the same folder makes a second snapshot of each target.")]
pub struct DemoArgs {
    /// The folder for everything; new, empty, or of an earlier demo
    #[arg(long, env = "POLKASHOTS_DEMO_DIR", value_name = "DIR", default_value = "polkashots-demo")]
    pub dir: PathBuf,
    /// End instead of serving the site until Ctrl-C; implied where standard output is not a terminal
    #[arg(long)]
    pub no_serve: bool,
}

/// Runs the command.
pub async fn run(args: &DemoArgs) -> Result<(), CommandError> {
    let started = Instant::now();
    let folder = Folder::prepare(&args.dir)?;
    output::line(format_args!("demo in {}", folder.root().display()));
    let config = folder.write_config()?;
    let originals = inspect_originals(&folder).await?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone());
    let service = Service::start(config.clone(), &stop).await?;
    let base_url = service.base_url().to_string();
    let ended = tokio::spawn(service.ended());

    let cycle = async {
        let versions = trigger_all(&config).await?;
        wait_until_published(&config, &versions, &stop).await?;
        prove(&folder, &base_url, &versions, originals).await
    };
    let proofs = match cycle.await {
        Ok(proofs) => proofs,
        Err(error) => {
            stop.cancel();
            let _ = ended.await;
            return Err(error);
        }
    };
    report::print(&folder, &base_url, &proofs, started.elapsed());
    if args.no_serve || !std::io::stdout().is_terminal() {
        stop.cancel();
    } else {
        output::line(format_args!("\nserving {base_url} until Ctrl-C"));
    }
    ended.await.map_err(CommandError::failed)?
}

/// Reads the originals and compares them with what the node that made them says.
async fn inspect_originals(folder: &Folder) -> Result<BTreeMap<&'static str, Identity>, CommandError> {
    let mut identities = BTreeMap::new();
    for fixture in &FIXTURES {
        let identity = identity_below(&folder.node_dir(fixture), fixture).await?;
        fixture.check(&identity)?;
        output::line(format_args!(
            "original   {:18} {} finalized #{} best #{}",
            fixture.target, identity.database, identity.finalized.height, identity.best.height
        ));
        identities.insert(fixture.target, identity);
    }
    Ok(identities)
}

async fn identity_below(base_path: &Path, fixture: &Fixture) -> Result<Identity, CommandError> {
    let location = locate(base_path, Some(fixture.kind), None).map_err(CommandError::failed)?;
    Ok(inspect(location).await.map_err(CommandError::failed)?.identity)
}

async fn trigger_all(config: &Config) -> Result<BTreeMap<TargetId, Version>, CommandError> {
    let mut versions = BTreeMap::new();
    for fixture in &FIXTURES {
        let triggered = trigger(config, fixture.target, &SystemClock).await?;
        output::line(format_args!("triggered  {:18} {}", triggered.target.as_str(), triggered.version));
        versions.insert(triggered.target, triggered.version);
    }
    Ok(versions)
}

/// Waits until every snapshot is listed, nothing is in the queue and nothing is held.
async fn wait_until_published(
    config: &Config,
    versions: &BTreeMap<TargetId, Version>,
    stop: &CancellationToken,
) -> Result<(), CommandError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status(config).await?;
        if let Some(error) = failure(&status, versions) {
            return Err(error);
        }
        if is_published(&status, versions) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let minutes = PATIENCE.as_secs() / 60;
            return Err(CommandError::failed(format!("the snapshots were not published within {minutes} minutes")));
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = stop.cancelled() => return Err(CommandError::failed("stopped before the cycle was over")),
        }
    }
}

fn is_published(status: &Status, versions: &BTreeMap<TargetId, Version>) -> bool {
    let listed = |(target, version): (&TargetId, &Version)| {
        let found = status.targets.iter().find(|found| found.id == *target);
        found.and_then(|found| found.newest.as_ref()).is_some_and(|newest| newest.version == *version)
    };
    let idle = status.queue.iter().all(|queue| queue.ready + queue.leased + queue.delayed == 0);
    versions.iter().all(listed) && idle && status.held.is_empty()
}

fn failure(status: &Status, versions: &BTreeMap<TargetId, Version>) -> Option<CommandError> {
    let failures = status.targets.iter().flat_map(|target| &target.failures);
    let failed = failures.into_iter().find(|failure| versions.get(&failure.target) == Some(&failure.version))?;
    let (target, version, worker) = (&failed.target, failed.version, &failed.worker);
    Some(CommandError::failed(format!("snapshot {version} of {target} failed in {worker}: {}", failed.reason)))
}

/// Restores every target from the served site and compares it with its original.
async fn prove(
    folder: &Folder,
    base_url: &str,
    versions: &BTreeMap<TargetId, Version>,
    originals: BTreeMap<&'static str, Identity>,
) -> Result<Vec<Proof>, CommandError> {
    let mut proofs = Vec::new();
    for fixture in &FIXTURES {
        let restored = restore(folder, base_url, fixture).await?;
        let wrong = |what: &str| CommandError::failed(format!("{}: the restored database {what}", fixture.target));
        if versions.get(&restored.manifest.target) != Some(&restored.manifest.version) {
            return Err(wrong("is not of the snapshot that was just made"));
        }
        let identity = identity_below(&folder.restored_dir(fixture), fixture).await?;
        fixture.check(&identity)?;
        if originals.get(fixture.target).map(sayings) != Some(sayings(&identity)) {
            return Err(wrong("says something else of itself than the original"));
        }
        let equal = compare::same_files(
            &folder.original_chain_dir(fixture),
            &folder.restored_chain_dir(fixture),
            fixture.kind,
        )?;
        output::line(format_args!(
            "restored   {:18} finalized #{} best #{}, {} files equal",
            fixture.target, identity.finalized.height, identity.best.height, equal.files
        ));
        proofs.push(Proof { target: fixture.target, restored, identity, equal });
    }
    Ok(proofs)
}

/// What must be equal; whether the pruning mode is found depends on where the file system put holes.
fn sayings(identity: &Identity) -> (BlockHash, BlockRef, BlockRef, Option<BlockRef>, bool) {
    (identity.genesis_hash, identity.best, identity.finalized, identity.finalized_state, identity.warp_gap)
}

async fn restore(folder: &Folder, base_url: &str, fixture: &Fixture) -> Result<Restored, CommandError> {
    let destination = Destination::BasePath(folder.restored_dir(fixture));
    let mut request = RestoreRequest::new(base_url, Some(fixture.permalink), destination);
    request.trust = Trust { keys: vec![Key::File(folder.public_key())], ..Trust::default() };
    let outcome = polkashots_importer::restore(&request, &NoProgress).await;
    match outcome.map_err(|error| explain(error).doing(format_args!("restore {}", fixture.target)))? {
        Outcome::Restored(restored) => Ok(restored),
        Outcome::AlreadyThere(there) => {
            Err(CommandError::failed(format!("{}: a database was there before", there.database_dir.display())))
        }
        Outcome::Unsigned(unsigned) => Err(CommandError::failed(format!("{}: is not signed", unsigned.archive))),
    }
}
