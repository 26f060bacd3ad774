//! `polkashots run`: the service of one machine. Kill it at any point and start it again: nothing is lost or doubled.

pub mod ledger;
pub mod lock;
pub mod scheduler;
pub mod service;
pub mod wiring;

use clap::Args;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::args::{ConfigArgs, OverrideArgs};
use crate::output::CommandError;
use service::Service;

/// Runs schedules, workers and web server until SIGTERM or SIGINT.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  polkashots run --config /etc/polkashots.toml\n  \
    POLKASHOTS_LOG_FORMAT=json polkashots run --config polkashots.toml --listen 0.0.0.0:8080\n\n\
    SIGTERM and SIGINT stop it within seconds; what was under way is taken up again at the next start.\n\
    A schedule missed while it was down is caught up by one snapshot.")]
pub struct RunArgs {
    /// The config file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What overrules it.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

/// Runs the command.
pub async fn run(args: &RunArgs) -> Result<(), CommandError> {
    let mut config = args.config.load()?;
    args.overrides.apply(&mut config);
    let stop = CancellationToken::new();
    let service = Service::start(config, &stop).await?;
    stop_on_signal(stop);
    info!(url = %service.base_url(), "serving");
    service.ended().await
}

/// Cancels `stop` at the first SIGTERM or SIGINT; a second one ends the process at once.
pub fn stop_on_signal(stop: CancellationToken) {
    tokio::spawn(async move {
        if let Err(error) = signal().await {
            warn!(%error, "signals cannot be heard, only SIGKILL ends the service");
            return;
        }
        info!("stopping");
        stop.cancel();
        if signal().await.is_ok() {
            std::process::exit(130);
        }
    });
}

async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
