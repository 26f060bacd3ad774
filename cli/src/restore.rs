//! `polkashots restore`: a node's database from a published snapshot.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use polkashots_importer::flags::RestoreFlags;
use polkashots_importer::{
    ErrorKind, Outcome, Preview, ResolveError, RestoreError, RestoreRequest, Restored, Unsigned,
};
use polkashots_shared::settings::in_words;

use crate::output::{self, CommandError, Exit};
use crate::progress;

/// Restores the newest snapshot of a target: verified before a byte is written, resumable, never half visible.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    polkashots restore https://snapshots.example.org dot/paritydb --base-path ~/.local/share/polkadot --key polkashots.pub\n  \
    polkashots restore https://snapshots.example.org ksm/rocksdb --base-path /data --key RWQ... --max-age 3d --uid 1000 --gid 1000\n  \
    polkashots restore ./20261122-040000.manifest.json --chain-dir /data/chains/polkadot --key polkashots.pub --dry-run\n  \
    polkashots restore https://archives.example.net/ksm.tar.lz4 --chain kusama --base-path /data --allow-unsigned\n\n\
    A complete database that is there already is left untouched (exit 0). The same command continues an interrupted restore.")]
pub struct RestoreArgs {
    /// A site or bucket, one manifest, or an archive: an http(s) or file address, or a path
    pub source: String,
    /// The target's permalink or id, as in dot/paritydb; not needed with a manifest
    pub name: Option<String>,
    /// The node's base path; the database goes to chains/<id>/ in it
    #[arg(long, env = "POLKASHOTS_BASE_PATH", value_name = "DIR", required_unless_present = "chain_dir")]
    pub base_path: Option<PathBuf>,
    /// Whom to believe, what to do with a database that is there, how to fetch.
    #[command(flatten)]
    pub restore: RestoreFlags,
    /// Say what would be done: sizes, disk needed and free; fetch no archive and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Print JSON: outcome (restored, unsigned, already_there or dry_run) and what was restored
    #[arg(long)]
    pub json: bool,
}

impl RestoreArgs {
    fn to_request(&self) -> RestoreRequest {
        self.restore.to_request(self.source.clone(), self.name.as_deref(), self.base_path.clone())
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
        Outcome::Unsigned(unsigned) => print_unsigned(args, unsigned),
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

fn print_unsigned(args: &RestoreArgs, unsigned: &Unsigned) -> Result<(), CommandError> {
    if args.json {
        return output::json(&tagged("unsigned", unsigned)?);
    }
    output::line(format_args!("unpacked   {} (not signed)", unsigned.archive));
    output::line(format_args!("database   {}", unsigned.database_dir.display()));
    output::line(format_args!("sha256     {}", unsigned.sha256));
    let (fetched, written) = (output::bytes(unsigned.fetched_bytes), output::bytes(unsigned.written_bytes));
    output::line(format_args!("fetched    {fetched}, written {written}"));
    output::line("Nothing says what is in it: compare its head, which polkashots inspect shows, with an explorer");
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
    let [slow, fast] = [100, 1000].map(|megabits| in_words(time_at(preview.fetch_bytes, megabits)));
    output::line(format_args!("time           about {slow} at 100 Mbit/s, {fast} at 1 Gbit/s"));
    output::line(format_args!(
        "disk needed    {} at most (as without holes)",
        output::bytes(preview.disk_needed_bytes)
    ));
    output::line(format_args!("disk free      {}", output::bytes(preview.disk_free_bytes)));
    if preview.already_there {
        output::line("a database is there already: without --force, --update or --repair nothing would be done");
    }
    Ok(())
}

/// How long so many bytes take at that rate, in whole seconds.
fn time_at(bytes: u64, megabits: u64) -> Duration {
    Duration::from_secs((bytes * 8).div_ceil(megabits * 1_000_000))
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
