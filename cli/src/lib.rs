//! The `polkashots` command: a module for each of its commands.

pub mod args;
pub mod check;
pub mod completions;
pub mod config;
pub mod config_check;
#[cfg(feature = "demo")]
pub mod demo;
pub mod import_blocks;
pub mod inspect;
pub mod keygen;
pub mod output;
pub mod progress;
pub mod restore;
pub mod run;
pub mod schedule;
pub mod serve;
pub mod status;
#[cfg(test)]
mod testing;
pub mod trigger;
pub mod verify;

use polkashots_shared::telemetry;

use args::{Cli, Command};
use output::CommandError;

/// Does what the command line asks.
pub async fn run(cli: &Cli) -> Result<(), CommandError> {
    telemetry::init(cli.log_format, cli.command.log_level(&cli.log_level)).map_err(CommandError::usage)?;
    match &cli.command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Trigger(args) => trigger::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Inspect(args) => inspect::run(args).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Restore(args) => restore::run(args).await,
        Command::ImportBlocks(args) => import_blocks::run(args).await,
        Command::Keygen(args) => keygen::run(args),
        Command::Serve(args) => serve::command::run(args).await,
        Command::Check(args) => check::run(args),
        Command::Config(args) => config_check::run(args).await,
        Command::Completions(args) => completions::run(args),
    }
}
