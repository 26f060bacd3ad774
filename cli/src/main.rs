//! The polkashots command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = polkashots::args::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return polkashots::output::CommandError::failed(error).doing("start").report(),
    };
    let ended = runtime.block_on(polkashots::run(&command));
    // A node that was stopped for a copy is being started again: that may take a while, and must not take for ever.
    runtime.shutdown_timeout(std::time::Duration::from_secs(60));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
