//! `polkashots import-blocks`: the published blocks of a chain into a node of one's own.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use polkashots_importer::Key;
use polkashots_importer::blocks::{BlocksError, BlocksRequest, ImportedBlocks, import_blocks};
use polkashots_shared::ids::DatabaseKind;
use polkashots_shared::settings::duration;

use crate::output::{self, CommandError, Exit};
use crate::progress;
use crate::restore;

/// Fetches a snapshot's blocks.zst, checks signature, SHA-256 and every block, and has the node import them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    polkashots import-blocks https://snapshots.example.org dot/paritydb --key polkashots.pub \\\n      \
    --node-binary /usr/bin/polkadot --base-path ~/.local/share/polkadot\n\n\
    The node must not run meanwhile. The same command continues an import that was stopped.")]
pub struct ImportBlocksArgs {
    /// A site or bucket, or a manifest: an http(s) or file address, or a path
    pub source: String,
    /// The target's permalink or id, as in dot/paritydb; not needed with a manifest
    pub name: Option<String>,
    /// The chain's own node, which does the import
    #[arg(long, env = "POLKASHOTS_NODE_BINARY", value_name = "FILE")]
    pub node_binary: PathBuf,
    /// The node's base path
    #[arg(long, env = "POLKASHOTS_BASE_PATH", value_name = "DIR")]
    pub base_path: PathBuf,
    /// What the node takes as --chain: a name, or the file of a chain's specification [default: the manifest's chain]
    #[arg(long, env = "POLKASHOTS_NODE_CHAIN", value_name = "CHAIN")]
    pub node_chain: Option<String>,
    /// What the node takes as --database [default: the kind of the snapshot's own]
    #[arg(long, env = "POLKASHOTS_NODE_DATABASE", value_name = "KIND")]
    pub node_database: Option<DatabaseKind>,
    /// How long the import may take, as in 36h
    #[arg(long, env = "POLKASHOTS_IMPORT_DEADLINE", value_name = "TIME", default_value = "72h",
          value_parser = duration)]
    pub deadline: Duration,
    /// A pinned public key: a minisign .pub file, or its one line of text; may be given several times
    #[arg(long = "key", env = "POLKASHOTS_KEY", value_name = "FILE|KEY", value_delimiter = ',', required = true)]
    pub keys: Vec<String>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// Runs the command.
pub async fn run(args: &ImportBlocksArgs) -> Result<(), CommandError> {
    let progress = progress::shown(args.quiet);
    let (binary, base_path) = (args.node_binary.clone(), args.base_path.clone());
    let mut request = BlocksRequest::new(args.source.clone(), args.name.as_deref(), binary, base_path);
    request.trust.keys = args.keys.iter().map(key).collect();
    request.chain = args.node_chain.clone();
    request.database = args.node_database;
    request.deadline = args.deadline;
    let imported = import_blocks(&request, progress.as_ref()).await.map_err(explain)?;
    drop(progress);
    print(&imported);
    Ok(())
}

/// Every key's text begins like this; a file of such a name is the file.
const KEY_PREFIX: &str = "RW";

fn key(text: &String) -> Key {
    let path = PathBuf::from(text);
    if text.starts_with(KEY_PREFIX) && !path.is_file() { Key::Text(text.clone()) } else { Key::File(path) }
}

fn explain(error: BlocksError) -> CommandError {
    let exit = match error {
        BlocksError::Resolve(error) => return restore::explain(error.into()),
        BlocksError::Trust(error) => return restore::explain(error.into()),
        BlocksError::Source(error) => return restore::explain(error.into()),
        BlocksError::Digest { .. } | BlocksError::Blocks { .. } | BlocksError::Head { .. } => Exit::Refused,
        BlocksError::NoBlocks { .. } => Exit::NotFound,
        BlocksError::Run { .. } => Exit::Usage,
        _ => Exit::Failed,
    };
    CommandError::new(exit, error)
}

fn print(imported: &ImportedBlocks) {
    let manifest = &imported.manifest;
    output::line(format_args!("imported   {} {}", manifest.target, manifest.version));
    output::line(format_args!("chain      {} {}", manifest.chain.name, manifest.chain.genesis_hash));
    output::line(format_args!("published  #{} {}", manifest.block.height, manifest.block.hash));
    output::line(format_args!("node       #{} {}", imported.best.height, imported.best.hash));
}
