//! `polkashots inspect`: what a chain database says of itself.

use std::path::PathBuf;

use clap::Args;
use polkashots_shared::adapters::chain::{Databases, locate};
use polkashots_shared::chain::Chain;
use polkashots_shared::ids::{BlockRef, DatabaseKind};
use polkashots_shared::ports::chain_database::{ChainDatabase, ChainDatabaseError, DatabaseLocation, Identity};
use serde::Serialize;

use crate::output::{self, CommandError, Exit};

/// Prints the identity of a chain database, read from its bytes without changing one.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A node's base path, a chain folder (chains/<id>), or a database folder
    pub path: PathBuf,
    /// The database to read where a folder holds both kinds
    #[arg(long, env = "POLKASHOTS_DATABASE", value_name = "KIND")]
    pub database: Option<DatabaseKind>,
    /// The folder under chains/ to read where a base path holds several
    #[arg(long, env = "POLKASHOTS_CHAIN_ID", value_name = "ID")]
    pub chain_id: Option<String>,
    /// Print JSON: database, genesis_hash, chain, best, finalized, finalized_state, warp_gap, pruning, path
    #[arg(long)]
    pub json: bool,
}

/// What `inspect --json` prints.
#[derive(Debug, Serialize)]
pub struct Inspected {
    /// What the database says.
    #[serde(flatten)]
    pub identity: Identity,
    /// The built-in chain of that genesis; null for any other.
    pub chain: Option<String>,
    /// The folder that was read: `.../db/full` or `.../paritydb/full`.
    pub path: PathBuf,
}

/// Runs the command.
pub async fn run(args: &InspectArgs) -> Result<(), CommandError> {
    let location = locate(&args.path, args.database, args.chain_id.as_deref()).map_err(explain)?;
    let inspected = inspect(location).await.map_err(explain)?;
    if args.json {
        return output::json(&inspected);
    }
    print(&inspected);
    Ok(())
}

/// Reads the identity of a located database.
pub async fn inspect(location: DatabaseLocation) -> Result<Inspected, ChainDatabaseError> {
    let identity = Databases::default().identity(&location).await?;
    let chain = Chain::built_in_names()
        .filter_map(Chain::built_in)
        .find(|chain| chain.genesis_hash == identity.genesis_hash)
        .map(|chain| chain.name);
    Ok(Inspected { identity, chain, path: location.full_dir() })
}

fn print(inspected: &Inspected) {
    let identity = &inspected.identity;
    let block = |block: BlockRef| format!("#{} {}", block.height, block.hash);
    let unknown = || "not recorded".to_owned();
    output::line(format_args!("path            {}", inspected.path.display()));
    output::line(format_args!("database        {}", identity.database));
    output::line(format_args!("chain           {}", inspected.chain.as_deref().unwrap_or("not a built-in one")));
    output::line(format_args!("genesis         {}", identity.genesis_hash));
    output::line(format_args!("best            {}", block(identity.best)));
    output::line(format_args!("finalized       {}", block(identity.finalized)));
    output::line(format_args!("finalized state {}", identity.finalized_state.map_or_else(unknown, block)));
    output::line(format_args!("state pruning   {}", identity.pruning.clone().unwrap_or_else(unknown)));
    let gap = if identity.warp_gap { "yes: warp-synced, old blocks are missing" } else { "no" };
    output::line(format_args!("warp gap        {gap}"));
}

fn explain(error: ChainDatabaseError) -> CommandError {
    let not_found = match &error {
        ChainDatabaseError::NotADatabase { .. } | ChainDatabaseError::Empty { .. } => true,
        ChainDatabaseError::Io { source, .. } => {
            source.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        }
        _ => false,
    };
    let exit = if not_found { Exit::NotFound } else { Exit::Failed };
    CommandError::new(exit, error).doing("inspect")
}
