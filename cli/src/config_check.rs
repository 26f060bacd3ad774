//! `polkashots config check`: everything about a config file that can be wrong before the service starts.

use std::path::Path;
use std::process::{Command, Stdio};

use clap::{Args, Subcommand};
use polkashots_shared::adapters::chain::{Databases, locate};
use polkashots_shared::clock::{Clock, SystemClock};
use polkashots_shared::ids::TargetId;
use polkashots_shared::ports::chain_database::ChainDatabase;
use polkashots_shared::worker::error_chain;
use serde::Serialize;

use crate::args::ConfigArgs;
use crate::config::{Config, ExportBlocks, TargetConfig};
use crate::keygen::load_secret_key;
use crate::output::{self, CommandError};
use crate::schedule::Schedule;

/// Looks after the config file.
#[derive(Debug, Args)]
pub struct ConfigCommandArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done with the config file.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the file, the key, and that each target's database is there and of the configured chain
    Check(CheckArgs),
}

/// Checks the config file and what it names; changes nothing.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The config file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Check the file alone, not the key and the databases that it names
    #[arg(long)]
    pub file_only: bool,
    /// Print JSON: config, targets [{target, problem, finalized_height, next}]
    #[arg(long)]
    pub json: bool,
}

/// What `config check --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    config: std::path::PathBuf,
    targets: Vec<TargetReport>,
}

#[derive(Debug, Serialize)]
struct TargetReport {
    target: TargetId,
    problem: Option<String>,
    finalized_height: Option<u32>,
    next: Option<chrono::DateTime<chrono::Utc>>,
}

/// Runs the command.
pub async fn run(args: &ConfigCommandArgs) -> Result<(), CommandError> {
    let ConfigCommand::Check(args) = &args.command;
    let config = args.config.load()?;
    if args.file_only {
        output::line(format_args!("{}: {} targets, ok", config.path.display(), config.targets.len()));
        return Ok(());
    }
    load_secret_key(&config.signing.secret_key, config.signing.password_file.as_deref())?;
    config.export_blocks.as_ref().map_or(Ok(()), check_node)?;
    let report = report(&config).await;
    let wrong = report.targets.iter().filter(|target| target.problem.is_some()).count();
    if args.json {
        output::json(&report)?;
    } else {
        print(&config.path, &report);
    }
    if wrong > 0 {
        return Err(CommandError::failed(format!("{wrong} of {} targets cannot be snapshotted", report.targets.len())));
    }
    Ok(())
}

async fn report(config: &Config) -> Report {
    let now = SystemClock.now();
    let mut targets = Vec::new();
    for (id, target) in &config.targets {
        let checked = check_database(target).await;
        let schedule =
            target.target.schedule.as_deref().and_then(|cron| Schedule::parse(cron, &target.target.time_zone).ok());
        targets.push(TargetReport {
            target: id.clone(),
            finalized_height: checked.as_ref().ok().copied(),
            problem: checked.err(),
            next: schedule.and_then(|schedule| schedule.next_after(now)),
        });
    }
    Report { config: config.path.clone(), targets }
}

/// The node that exports blocks is a program that runs here.
fn check_node(settings: &ExportBlocks) -> Result<(), CommandError> {
    let asked = Command::new(&settings.node_binary).arg("--version").stdin(Stdio::null()).output();
    let wrong = match asked {
        Ok(answer) if answer.status.success() => return Ok(()),
        Ok(answer) => format!("--version ended with {}", answer.status),
        Err(error) => error.to_string(),
    };
    Err(CommandError::failed(format!(
        "export_blocks.node_binary = \"{}\": {wrong}: expected the chain's own node, as in /usr/bin/polkadot",
        settings.node_binary.display()
    )))
}

/// The finalized height in the target's database, or what is wrong with it.
async fn check_database(config: &TargetConfig) -> Result<u32, String> {
    let (target, path) = (&config.target, &config.source.path);
    let location = locate(path, Some(target.database), Some(&target.chain.id)).map_err(|error| error_chain(&error))?;
    let identity = Databases::default().identity(&location).await.map_err(|error| error_chain(&error))?;
    if identity.genesis_hash != target.chain.genesis_hash {
        return Err(format!(
            "{}: genesis {} is not that of {}, {}: check chain and source.path",
            path.display(),
            identity.genesis_hash,
            target.chain.name,
            target.chain.genesis_hash
        ));
    }
    Ok(identity.finalized.height)
}

fn print(path: &Path, report: &Report) {
    output::line(format_args!("{}: {} targets", path.display(), report.targets.len()));
    for target in &report.targets {
        let next = target.next.map_or_else(|| "only when triggered".to_owned(), |next| format!("next {next}"));
        match (&target.problem, target.finalized_height) {
            (Some(problem), _) => output::line(format_args!("  {}: {problem}", target.target)),
            (None, height) => {
                output::line(format_args!(
                    "  {}: ok, finalized #{}, {next}",
                    target.target,
                    height.unwrap_or_default()
                ));
            }
        }
    }
}
