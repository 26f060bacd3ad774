//! The command line: every setting has a flag, a `POLKASHOTS_*` variable and a line of help.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use polkashots_shared::telemetry::LogFormat;
use url::Url;

use crate::check::CheckArgs;
use crate::completions::CompletionsArgs;
use crate::config::{Config, ConfigError};
use crate::config_check::ConfigCommandArgs;
use crate::import_blocks::ImportBlocksArgs;
use crate::inspect::InspectArgs;
use crate::keygen::KeygenArgs;
use crate::output::{CommandError, Exit};
use crate::restore::RestoreArgs;
use crate::run::RunArgs;
use crate::serve::command::ServeArgs;
use crate::status::StatusArgs;
use crate::trigger::TriggerArgs;
use crate::verify::VerifyArgs;

/// How the command ends, for scripts.
const EXIT_CODES: &str = "\
Exit codes:
  0  done; also when there was nothing to do (the database is there already)
  1  failed: the machine, the network or the data; the same command may succeed later
  2  the command line or the config file is wrong
  3  refused: signature, key, hash, genesis, height or age is not what was asked for
  4  there is no such target, snapshot or database
";

const EXAMPLES: &str = "\
Examples:
  polkashots demo                                    one whole cycle on real databases, nothing to set up
  polkashots keygen --out keys                       make the key pair that signs
  polkashots run --config polkashots.toml            the service: schedules, workers, web server
  polkashots trigger dot/paritydb                    a snapshot now
  polkashots inspect ~/.local/share/polkadot --json  what a database says of itself
  polkashots restore https://snapshots.example.org dot/paritydb \\
      --base-path ~/.local/share/polkadot --key polkashots.pub
";

/// Snapshots of Substrate chain databases: made on a schedule, signed, published, restored by one command.
#[derive(Debug, Parser)]
#[command(name = "polkashots", version, after_help = format!("{EXAMPLES}\n{EXIT_CODES}"), propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How log lines look on standard error: text, JSON, or as fits a terminal
    #[arg(long, global = true, env = "POLKASHOTS_LOG_FORMAT", default_value = "auto", value_enum)]
    pub log_format: LogFormat,
    /// Which log lines are written, as in info or polkashots_engine=debug,warn [default: info for the service, else warn]
    #[arg(long, global = true, env = "POLKASHOTS_LOG", value_name = "FILTER")]
    pub log_level: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one whole cycle on real databases that ship with the program, and show what it proved
    #[cfg(feature = "demo")]
    Demo(crate::demo::DemoArgs),
    /// Run the service: schedules, workers and web server on one machine
    Run(Box<RunArgs>),
    /// Ask the service for a snapshot of a target now
    Trigger(TriggerArgs),
    /// Show targets, newest snapshots, queue, failures and what is held
    Status(StatusArgs),
    /// Show what a chain database says of itself: genesis, head, pruning
    Inspect(InspectArgs),
    /// Check a published snapshot against a public key, byte by byte
    Verify(VerifyArgs),
    /// Restore a node's database from a published snapshot
    Restore(Box<RestoreArgs>),
    /// Have a node import the published blocks of its chain
    ImportBlocks(Box<ImportBlocksArgs>),
    /// Make the key pair that signs snapshots
    Keygen(KeygenArgs),
    /// Serve a deployed site and its bucket, with redirects and range requests
    Serve(ServeArgs),
    /// Check terraform/, k8s/ and docker/ of a checkout against each other and against the binaries' settings
    Check(CheckArgs),
    /// Check the config file
    Config(ConfigCommandArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

impl Command {
    /// The log filter: what the person said, or the service's own.
    pub(crate) fn log_level<'a>(&self, asked: &'a Option<String>) -> &'a str {
        match (asked, self) {
            (Some(asked), _) => asked,
            (None, Self::Run(_) | Self::Serve(_)) => "info",
            (None, _) => "warn",
        }
    }
}

/// Where the config file is.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The config file
    #[arg(short, long, env = "POLKASHOTS_CONFIG", value_name = "FILE", default_value = "polkashots.toml")]
    pub config: PathBuf,
}

impl ConfigArgs {
    /// Reads and checks the config file.
    pub fn load(&self) -> Result<Config, CommandError> {
        Config::load(&self.config).map_err(|error| match error {
            ConfigError::Unreadable { ref source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                CommandError::new(Exit::Usage, error).hint("name the config file with --config FILE")
            }
            error => CommandError::usage(error),
        })
    }
}

/// Settings of the config file that the command line may overrule.
#[derive(Debug, Args)]
pub struct OverrideArgs {
    /// Where the queue, the claims and the lock lie, instead of state_dir
    #[arg(long, env = "POLKASHOTS_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The directory that is the bucket, instead of store_dir
    #[arg(long, env = "POLKASHOTS_STORE_DIR", value_name = "DIR")]
    pub store_dir: Option<PathBuf>,
    /// Where the site is deployed to, instead of site_dir
    #[arg(long, env = "POLKASHOTS_SITE_DIR", value_name = "DIR")]
    pub site_dir: Option<PathBuf>,
    /// Where the web server listens, instead of site.listen
    #[arg(long, env = "POLKASHOTS_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where people reach the site, instead of site.base_url
    #[arg(long, env = "POLKASHOTS_BASE_URL", value_name = "URL", value_parser = parse_base_url)]
    pub base_url: Option<Url>,
    /// The site's title, instead of site.title
    #[arg(long, env = "POLKASHOTS_TITLE", value_name = "TEXT")]
    pub title: Option<String>,
    /// The secret key that signs, instead of signing.secret_key
    #[arg(long, env = "POLKASHOTS_SECRET_KEY", value_name = "FILE")]
    pub secret_key: Option<PathBuf>,
    /// A file whose first line is the key's password, instead of signing.password_file
    #[arg(long, env = "POLKASHOTS_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

impl OverrideArgs {
    /// Puts what was given in the place of what the file says.
    pub fn apply(&self, config: &mut Config) {
        fn set<T: Clone>(place: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                *place = value.clone();
            }
        }
        set(&mut config.state_dir, &self.state_dir);
        set(&mut config.store_dir, &self.store_dir);
        set(&mut config.site_dir, &self.site_dir);
        set(&mut config.site.listen, &self.listen);
        set(&mut config.site.title, &self.title);
        set(&mut config.signing.secret_key, &self.secret_key);
        if self.base_url.is_some() {
            config.site.base_url = self.base_url.clone();
        }
        if self.password_file.is_some() {
            config.signing.password_file = self.password_file.clone();
        }
    }
}

fn parse_base_url(text: &str) -> Result<Url, String> {
    crate::config::base_url(text).map_err(|expected| format!("expected {expected}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// `--json`, `--no-serve` and the like choose how one call answers; everything that takes a value is a setting.
    #[test]
    fn every_setting_has_a_variable_and_a_help_line() {
        for command in Cli::command().get_subcommands() {
            for arg in command.get_arguments().filter(|arg| !arg.is_positional() && arg.get_action().takes_values()) {
                let name = format!("{} --{}", command.get_name(), arg.get_id());
                assert!(arg.get_help().is_some(), "{name} has no help");
                let variable = arg.get_env().map(|variable| variable.to_string_lossy().into_owned());
                assert!(variable.is_some_and(|variable| variable.starts_with("POLKASHOTS_")), "{name} has no variable");
            }
        }
    }
}
