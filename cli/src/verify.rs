//! `polkashots verify`: a published snapshot against a public key, byte by byte.

use std::path::PathBuf;

use clap::Args;
use polkashots_importer::flags::TrustFlags;
use polkashots_importer::{Destination, RestoredReport, VerifyReport, VerifyRequest};

use crate::output::{self, CommandError};
use crate::progress;
use crate::restore::explain;

/// Reads every byte of a snapshot and checks it: signature, manifest, frames, SHA-256. Writes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    polkashots verify https://snapshots.example.org dot/paritydb --key polkashots.pub\n  \
    polkashots verify bucket/polkadot-paritydb/20261122-040000.manifest.json --key polkashots.pub --json\n  \
    polkashots verify https://snapshots.example.org dot/paritydb --key polkashots.pub --base-path ~/.local/share/polkadot")]
pub struct VerifyArgs {
    /// A site or bucket, a manifest, or an artifact beside one: an http(s) or file address, or a path
    pub source: String,
    /// The target's permalink or id, as in dot/paritydb; not needed with a manifest
    pub name: Option<String>,
    /// Whom and what to believe.
    #[command(flatten)]
    pub trust: TrustFlags,
    /// Compare the database that was restored below this base path with its snapshot, instead of the published files
    #[arg(long, env = "POLKASHOTS_BASE_PATH", value_name = "DIR", conflicts_with = "chain_dir")]
    pub base_path: Option<PathBuf>,
    /// The same for the database in this chain folder
    #[arg(long, env = "POLKASHOTS_CHAIN_DIR", value_name = "DIR")]
    pub chain_dir: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Print JSON: manifest_location, manifest, key_id, trusted_comment, files, frames
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub async fn run(args: &VerifyArgs) -> Result<(), CommandError> {
    let progress = progress::shown(args.quiet);
    let mut request = VerifyRequest::new(args.source.clone(), args.name.as_deref());
    request.trust = args.trust.to_trust();
    if let Some(destination) = args.destination() {
        let report = polkashots_importer::verify_restored(&request, &destination, progress.as_ref()).await;
        let report = report.map_err(explain)?;
        drop(progress);
        return print_restored(args, &report);
    }
    let report = polkashots_importer::verify(&request, progress.as_ref()).await.map_err(explain)?;
    drop(progress);
    if args.json {
        return output::json(&report);
    }
    print(&report);
    Ok(())
}

impl VerifyArgs {
    fn destination(&self) -> Option<Destination> {
        let base = self.base_path.clone().map(Destination::BasePath);
        self.chain_dir.clone().map(Destination::ChainDir).or(base)
    }
}

fn print_restored(args: &VerifyArgs, report: &RestoredReport) -> Result<(), CommandError> {
    if args.json {
        return output::json(report);
    }
    let (manifest, block) = (&report.manifest, &report.manifest.block);
    output::line(format_args!("verified   {} {}", manifest.target, manifest.version));
    output::line(format_args!("database   {}", report.database_dir.display()));
    output::line(format_args!("manifest   {}", report.manifest_location));
    output::line(format_args!("signed by  {} ({})", report.key_id, report.trusted_comment));
    output::line(format_args!("finalized  #{} {}", block.height, block.hash));
    output::line(format_args!("equal      {} files, {} frames", report.files, report.frames));
    Ok(())
}

fn print(report: &VerifyReport) {
    let (manifest, block) = (&report.manifest, &report.manifest.block);
    output::line(format_args!("verified   {} {}", manifest.target, manifest.version));
    output::line(format_args!("manifest   {}", report.manifest_location));
    output::line(format_args!("signed by  {} ({})", report.key_id, report.trusted_comment));
    output::line(format_args!("chain      {} {}", manifest.chain.name, manifest.chain.genesis_hash));
    output::line(format_args!("finalized  #{} {}", block.height, block.hash));
    for file in &report.files {
        output::line(format_args!("{}  {} ({})", file.sha256, file.file, output::bytes(file.size_bytes)));
    }
}
