//! `polkashots completions`: scripts that complete the command line in a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::output::CommandError;

/// Prints a completion script; put it where your shell looks for them.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  polkashots completions bash > ~/.local/share/bash-completion/completions/polkashots"
)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Runs the command.
pub fn run(args: &CompletionsArgs) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "polkashots", &mut script);
    crate::output::line(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
