//! The settings of `polkashots-snapshotter`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use polkashots_shared::settings::{QueueSettings, RunSettings, Settings, StoreSettings, TargetsSettings, duration};

/// Every setting of `polkashots-snapshotter`.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "a doc comment on a flattened part would become its heading's text")]
pub struct SnapshotterSettings {
    #[command(flatten)]
    pub targets: TargetsSettings,
    #[command(flatten)]
    pub store: StoreSettings,
    #[command(flatten)]
    pub queue: QueueSettings,
    #[command(flatten)]
    pub database: DatabaseSettings,
    #[command(flatten)]
    pub run: RunSettings,
}

/// Where the database lies, and what exports its blocks.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// Where the restore claim is mounted
    #[arg(long, env = "POLKASHOTS_CLAIM_DIR", value_name = "DIR", default_value = "/claim")]
    pub claim_dir: PathBuf,
    /// A writable folder for small temporary copies, outside of the claim [default: the system's]
    #[arg(long, env = "POLKASHOTS_SCRATCH_DIR", value_name = "DIR")]
    pub scratch_dir: Option<PathBuf>,
    /// The chain's own node binary, for targets with the format blocks.zst
    #[arg(long, env = "POLKASHOTS_NODE_BINARY", value_name = "FILE")]
    pub node_binary: Option<PathBuf>,
    /// What the node takes as --chain: a name or a chain specification's file [default: the name of the target's chain]
    #[arg(long, env = "POLKASHOTS_NODE_CHAIN", value_name = "CHAIN", value_parser = NonEmptyStringValueParser::new())]
    pub node_chain: Option<String>,
    /// How long an export of blocks may take
    #[arg(long, env = "POLKASHOTS_EXPORT_DEADLINE", value_name = "TIME", default_value = "12h", value_parser = duration)]
    pub export_deadline: Duration,
}

impl Settings for SnapshotterSettings {
    const NAME: &'static str = "polkashots-snapshotter";
    const ABOUT: &'static str = "Turns a restore claim into artifacts and a manifest in the store";
}
