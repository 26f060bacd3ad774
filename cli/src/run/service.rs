//! The running service: every worker's loop, the scheduler, the publisher's refresh and the web server, in one process.

use std::sync::Arc;
use std::time::Duration;

use polkashots_shared::worker::{self, LoopDeps, Worker, error_chain};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use url::Url;

use super::ledger::Ledger;
use super::lock::{LockError, StateLock};
use super::scheduler::Scheduler;
use super::wiring::{Deps, Subscription};
use crate::config::Config;
use crate::output::CommandError;
use crate::serve::{self, Server};

/// How often the publisher looks at the store without an event: retention is due by time, not by events.
const REFRESH_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Everything that runs; dropping it stops nothing, cancel its token for that.
pub struct Service {
    base_url: Url,
    tasks: JoinSet<Result<(), CommandError>>,
    stop: CancellationToken,
    _lock: StateLock,
}

impl Service {
    /// Takes the state directory and the web server's address, then starts everything.
    pub async fn start(config: Config, stop: &CancellationToken) -> Result<Self, CommandError> {
        let lock = StateLock::take(&config.state_dir).map_err(explain_lock)?;
        let listener = serve::listen(config.site.listen).await.map_err(CommandError::failed)?;
        let address = listener.local_addr().map_err(CommandError::failed)?;
        let base_url = base_url_of(&config, address)?;
        let deps = Deps::local(&config, &base_url).await?;
        let ledger = Ledger::open(config.schedule_path()).map_err(CommandError::failed)?;
        let scheduler = Scheduler::new(deps.targets.values(), ledger, deps.events.clone(), deps.clock.clone())
            .map_err(CommandError::failed)?;
        let server = Server::new(config.site_dir.clone(), Some(config.store_dir.clone()));

        let mut tasks = JoinSet::new();
        let serving = stop.clone();
        tasks.spawn(async move { server.run(listener, serving).await.map_err(CommandError::failed) });
        let scheduling = stop.clone();
        tasks.spawn(async move {
            scheduler.run(&scheduling).await;
            Ok(())
        });
        spawn_workers(&mut tasks, deps, stop);
        info!(targets = config.targets.len(), state_dir = %config.state_dir.display(), "started");
        Ok(Self { base_url, tasks, stop: stop.clone(), _lock: lock })
    }

    /// Where the site is reached.
    pub fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// Waits until everything has ended; the first task that fails stops the others.
    pub async fn ended(mut self) -> Result<(), CommandError> {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.unwrap_or_else(|panic| Err(CommandError::failed(panic)));
            if let Err(error) = ended {
                error!(error = %error, "stopping: a part of the service failed");
                self.stop.cancel();
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }
}

/// The address that people use: as configured, or that of the web server.
fn base_url_of(config: &Config, address: std::net::SocketAddr) -> Result<Url, CommandError> {
    if let Some(url) = &config.site.base_url {
        return Ok(url.clone());
    }
    let host =
        if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() };
    Url::parse(&format!("http://{host}/")).map_err(CommandError::failed)
}

fn spawn_workers(tasks: &mut JoinSet<Result<(), CommandError>>, deps: Deps, stop: &CancellationToken) {
    let loop_deps = LoopDeps { events: deps.events.clone(), store: deps.store.clone(), clock: deps.clock.clone() };
    for Subscription { queue, worker } in deps.subscriptions {
        let (loop_deps, stop) = (loop_deps.clone(), stop.clone());
        tasks.spawn(async move {
            worker::run(queue.as_ref(), worker.as_ref() as &dyn Worker, &loop_deps, &stop).await;
            Ok(())
        });
    }
    let stop = stop.clone();
    tasks.spawn(async move {
        keep_published(&deps.publisher, &stop).await;
        Ok(())
    });
}

/// Refreshes at once, so that the site stands before the first snapshot, and then from time to time.
async fn keep_published(publisher: &Arc<polkashots_publisher::Publisher>, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! {
            refreshed = publisher.refresh() => {
                if let Err(error) = refreshed {
                    error!(error = error_chain(&error), "index and site not refreshed, trying again later");
                }
            }
            () = stop.cancelled() => {}
        }
        tokio::select! {
            () = tokio::time::sleep(REFRESH_INTERVAL) => {}
            () = stop.cancelled() => {}
        }
    }
}

fn explain_lock(error: LockError) -> CommandError {
    let busy = matches!(error, LockError::Busy { .. });
    let error = CommandError::failed(error);
    if busy { error.hint("stop it first, or give this one its own state_dir and store_dir") } else { error }
}
