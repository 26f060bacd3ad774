//! `polkashots restore`: a node's database from a published snapshot.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use polkashots_importer::{
    Destination, ErrorKind, Outcome, Owner, Preview, ResolveError, RestoreError, RestoreRequest, Restored, Transfer,
};
use polkashots_shared::clock::SystemClock;

use crate::output::{self, CommandError, Exit};
use crate::progress;
use crate::trust::{TrustArgs, parse_age};

/// Restores the newest snapshot of a target: verified before a byte is written, resumable, never half visible.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    polkashots restore https://snapshots.example.org dot/paritydb --base-path ~/.local/share/polkadot --key polkashots.pub\n  \
    polkashots restore https://snapshots.example.org ksm/rocksdb --base-path /data --key RWQ... --max-age 3d --uid 1000 --gid 1000\n  \
    polkashots restore ./20261122-040000.manifest.json --chain-dir /data/chains/polkadot --key polkashots.pub --dry-run\n\n\
    A complete database that is there already is left untouched (exit 0). The same command continues an interrupted restore.")]
pub struct RestoreArgs {
    /// A site or bucket, or one manifest: an http(s) or file address, or a path
    pub source: String,
    /// The target's permalink or id, as in dot/paritydb; not needed with a manifest
    pub name: Option<String>,
    /// The node's base path; the database goes to chains/<id>/ in it
    #[arg(
        long,
        env = "POLKASHOTS_BASE_PATH",
        value_name = "DIR",
        conflicts_with = "chain_dir",
        required_unless_present = "chain_dir"
    )]
    pub base_path: Option<PathBuf>,
    /// The chain's own folder; the database goes to db/ or paritydb/ in it
    #[arg(long, env = "POLKASHOTS_CHAIN_DIR", value_name = "DIR")]
    pub chain_dir: Option<PathBuf>,
    /// Whom and what to believe.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Replace a complete database that is there
    #[arg(long)]
    pub force: bool,
    /// Say what would be done: sizes, disk needed and free; fetch no archive and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How many requests are under way at once
    #[arg(long, env = "POLKASHOTS_CONNECTIONS", value_name = "N", default_value = "8")]
    pub connections: NonZeroUsize,
    /// How many threads verify, decompress and write [default: one per core]
    #[arg(long, env = "POLKASHOTS_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Give a connection up that brings next to nothing for this long
    #[arg(long, env = "POLKASHOTS_STALL_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = parse_age)]
    pub stall_timeout: Duration,
    /// How many times in a row a request may fail
    #[arg(long, env = "POLKASHOTS_ATTEMPTS", value_name = "N", default_value = "8")]
    pub attempts: u32,
    /// The owner of everything that is made, by number
    #[arg(long, env = "POLKASHOTS_UID", value_name = "UID")]
    pub uid: Option<u32>,
    /// The group of everything that is made, by number
    #[arg(long, env = "POLKASHOTS_GID", value_name = "GID")]
    pub gid: Option<u32>,
    /// The mode of files, as in 0640 [default: 0644 less the umask]
    #[arg(long, env = "POLKASHOTS_FILE_MODE", value_name = "MODE", value_parser = parse_mode)]
    pub file_mode: Option<u32>,
    /// The mode of folders, as in 0750 [default: 0755 less the umask]
    #[arg(long, env = "POLKASHOTS_FOLDER_MODE", value_name = "MODE", value_parser = parse_mode)]
    pub folder_mode: Option<u32>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Print JSON: outcome (restored, already_there or dry_run) and what was restored
    #[arg(long)]
    pub json: bool,
}

impl RestoreArgs {
    fn to_request(&self) -> RestoreRequest {
        let destination = match (&self.base_path, &self.chain_dir) {
            (_, Some(dir)) => Destination::ChainDir(dir.clone()),
            (base, None) => Destination::BasePath(base.clone().unwrap_or_default()),
        };
        let owner = (self.uid.is_some() || self.gid.is_some()).then_some(Owner { uid: self.uid, gid: self.gid });
        RestoreRequest {
            trust: self.trust.to_trust(),
            force: self.force,
            transfer: Transfer {
                connections: self.connections,
                threads: self.threads,
                stall_timeout: self.stall_timeout,
                attempts: self.attempts,
                ..Transfer::default()
            },
            owner,
            file_mode: self.file_mode,
            folder_mode: self.folder_mode,
            clock: Arc::new(SystemClock),
            ..RestoreRequest::new(self.source.clone(), self.name.as_deref(), destination)
        }
    }
}

/// Runs the command.
pub async fn run(args: &RestoreArgs) -> Result<(), CommandError> {
    let request = args.to_request();
    let progress = progress::shown(args.quiet);
    if args.dry_run {
        let preview = polkashots_importer::preview(&request, progress.as_ref()).await.map_err(explain)?;
        drop(progress);
        return print_preview(args, &preview);
    }
    let outcome = polkashots_importer::restore(&request, progress.as_ref()).await.map_err(explain)?;
    drop(progress);
    match &outcome {
        Outcome::Restored(restored) => print_restored(args, restored),
        Outcome::AlreadyThere(there) if args.json => output::json(&tagged("already_there", there)?),
        Outcome::AlreadyThere(there) => {
            output::line(format_args!("{}: a database is there already, left untouched", there.database_dir.display()));
            Ok(())
        }
    }
}

fn print_restored(args: &RestoreArgs, restored: &Restored) -> Result<(), CommandError> {
    if args.json {
        return output::json(&tagged("restored", restored)?);
    }
    let (manifest, block) = (&restored.manifest, &restored.manifest.block);
    output::line(format_args!("restored   {} {}", manifest.target, manifest.version));
    output::line(format_args!("database   {}", restored.database_dir.display()));
    output::line(format_args!("chain      {} {}", manifest.chain.name, manifest.chain.genesis_hash));
    output::line(format_args!("finalized  #{} {}", block.height, block.hash));
    let (fetched, written) = (output::bytes(restored.fetched_bytes), output::bytes(restored.written_bytes));
    output::line(format_args!("fetched    {fetched}, written {written}"));
    Ok(())
}

fn print_preview(args: &RestoreArgs, preview: &Preview) -> Result<(), CommandError> {
    if args.json {
        return output::json(&tagged("dry_run", preview)?);
    }
    let (manifest, block) = (&preview.manifest, &preview.manifest.block);
    output::line(format_args!("would restore  {} {}, finalized #{}", manifest.target, manifest.version, block.height));
    output::line(format_args!("database       {}", preview.database_dir.display()));
    output::line(format_args!("to fetch       {}", output::bytes(preview.fetch_bytes)));
    output::line(format_args!("disk needed    {}", output::bytes(preview.disk_needed_bytes)));
    output::line(format_args!("disk free      {}", output::bytes(preview.disk_free_bytes)));
    if preview.already_there {
        output::line("a database is there already: without --force nothing would be done");
    }
    Ok(())
}

/// The value as a JSON object with the outcome in front.
fn tagged(outcome: &str, value: &impl serde::Serialize) -> Result<serde_json::Value, CommandError> {
    let mut json = serde_json::to_value(value).map_err(CommandError::failed)?;
    if let Some(object) = json.as_object_mut() {
        object.insert("outcome".into(), outcome.into());
    }
    Ok(json)
}

/// Refusals, what is not there, and everything else end the command differently.
pub(crate) fn explain(error: RestoreError) -> CommandError {
    let exit = match (&error, error.kind()) {
        (RestoreError::Resolve(ResolveError::UnknownTarget { .. }), _) => Exit::NotFound,
        (_, ErrorKind::Refused) => Exit::Refused,
        (_, ErrorKind::Usage) => Exit::Usage,
        (_, ErrorKind::Network | ErrorKind::Space | ErrorKind::Busy | ErrorKind::Io) => Exit::Failed,
    };
    CommandError::new(exit, error)
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "expected an octal mode up to 0777, as in 0640".to_owned())
}
