//! `polkashots serve`: the web server alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::Server;
use crate::config::Config;
use crate::output::{self, CommandError, Exit};
use crate::run::stop_on_signal;

/// Serves what a service published, without running one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  polkashots serve --config polkashots.toml\n  \
    polkashots serve --dir polkashots-demo      a folder with bucket/ and site/ in it")]
pub struct ServeArgs {
    /// A folder with site/ and bucket/ in it, as the demo makes it
    #[arg(
        long,
        env = "POLKASHOTS_DIR",
        value_name = "DIR",
        conflicts_with = "config",
        required_unless_present = "config"
    )]
    pub dir: Option<PathBuf>,
    /// The config file that names the site and the bucket
    #[arg(short, long, env = "POLKASHOTS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen [default: site.listen of the config file, or 127.0.0.1:8080]
    #[arg(long, env = "POLKASHOTS_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
}

/// Runs the command.
pub async fn run(args: &ServeArgs) -> Result<(), CommandError> {
    let (site_dir, store_dir, configured) = match (&args.config, &args.dir) {
        (Some(path), _) => {
            let config = Config::load(path).map_err(CommandError::usage)?;
            (config.site_dir, config.store_dir, config.site.listen)
        }
        (None, dir) => {
            let dir = dir.clone().unwrap_or_default();
            (dir.join("site"), dir.join("bucket"), SocketAddr::from(([127, 0, 0, 1], 8080)))
        }
    };
    for folder in [&site_dir, &store_dir] {
        if !folder.is_dir() {
            let error = format!("{}: not a folder, expected what a service published", folder.display());
            return Err(CommandError::new(Exit::NotFound, error));
        }
    }
    let listener = super::listen(args.listen.unwrap_or(configured)).await.map_err(CommandError::failed)?;
    let address = listener.local_addr().map_err(CommandError::failed)?;
    output::line(format_args!("serving on http://{address}/"));
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone());
    Server::new(site_dir, Some(store_dir)).run(listener, stop).await.map_err(CommandError::failed)
}
