//! A worker as a process of its own: settings, logs, signals, health and metrics around the shared loop.
//!
//! Figures are taken where the ports are: [`ObservedStore`], [`ObservedQueue`] and [`ObservedWorker`] decorate what a
//! worker is given, so that no handler knows of them.

#[cfg(feature = "cloud")]
mod cloud;
mod metrics;
mod observed_queue;
mod observed_store;
mod observed_worker;
mod web;

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

#[cfg(feature = "cloud")]
pub use self::cloud::{open_store, subscribe};
pub use self::metrics::Metrics;
pub use self::observed_queue::ObservedQueue;
pub use self::observed_store::ObservedStore;
pub use self::observed_worker::ObservedWorker;
use crate::clock::SystemClock;
use crate::names;
use crate::ports::queue::{Queue, QueueError};
use crate::settings::{RunSettings, Settings};
use crate::telemetry::{self, Traces};
use crate::worker::{self, Disposition, LoopDeps, Worker, error_chain};

/// The largest index that is read for its ages, in bytes.
const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;

/// A worker with everything it runs on.
pub struct Service {
    /// The worker.
    pub worker: Arc<dyn Worker>,
    /// The queues that it reads.
    pub queues: Vec<Arc<dyn Queue>>,
    /// What the loop needs.
    pub deps: LoopDeps,
}

/// Says why a service ended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The address is taken or not this machine's.
    #[error("listen on {listen}: {source}: set --listen or POLKASHOTS_LISTEN to a free address")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Signals cannot be waited for.
    #[error("wait for signals: {0}")]
    Signals(#[source] std::io::Error),
    /// The queue failed in one-shot mode.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A loop ended that never should.
    #[error("a worker's loop ended unexpectedly: {0}")]
    Loop(#[from] tokio::task::JoinError),
    /// The one message of one-shot mode was not acknowledged.
    #[error("the message was not handled: {0:?}")]
    NotHandled(Disposition),
}

/// Settings of a binary that runs a worker.
pub trait ServiceSettings: Settings {
    /// How it runs.
    fn run(&self) -> &RunSettings;
}

/// The whole life of a worker's process; `build` wires its adapters.
pub fn main<S, F, B>(build: B) -> ExitCode
where
    S: ServiceSettings,
    B: FnOnce(S, Arc<Metrics>) -> F,
    F: Future<Output = Result<Service, Box<dyn Error + Send + Sync>>>,
{
    let settings: S = match crate::settings::parse() {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let run = settings.run().clone();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(S::NAME, &error),
    };
    let traces = match start_telemetry(S::NAME, &run, &runtime) {
        Ok(traces) => traces,
        Err(error) => return report(S::NAME, error.as_ref()),
    };
    let ended = runtime.block_on(async {
        let stop = stop_at_signals()?;
        let metrics = Arc::new(Metrics::new(Arc::new(SystemClock)));
        let service = build(settings, metrics.clone()).await?;
        service.run(&run, metrics, stop).await?;
        Ok::<(), Box<dyn Error + Send + Sync>>(())
    });
    let exit = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(S::NAME, error.as_ref()),
    };
    if let Some(traces) = traces {
        traces.end();
    }
    exit
}

fn start_telemetry(
    name: &'static str,
    run: &RunSettings,
    runtime: &Runtime,
) -> Result<Option<Traces>, Box<dyn Error + Send + Sync>> {
    let _inside = runtime.enter();
    let traces = run.otlp_endpoint.as_ref().map(|endpoint| Traces::start(endpoint, name)).transpose()?;
    telemetry::init_with_traces(run.log.log_format, &run.log.log_level, traces.as_ref())?;
    Ok(traces)
}

fn report(name: &str, error: &(dyn Error + 'static)) -> ExitCode {
    error!(binary = name, error = error_chain(error), "ended");
    ExitCode::FAILURE
}

/// Cancelled at the first SIGTERM or SIGINT.
fn stop_at_signals() -> Result<CancellationToken, ServiceError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServiceError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServiceError::Signals)?;
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("SIGINT: stopping"),
        }
        cancel.cancel();
    });
    Ok(stop)
}

impl Service {
    /// Runs until `stop`, or for one message.
    pub async fn run(
        self,
        settings: &RunSettings,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Result<(), ServiceError> {
        let worker: Arc<dyn Worker> = Arc::new(ObservedWorker { inner: self.worker, metrics: metrics.clone() });
        let queues = self.queues.into_iter().map(|queue| Arc::new(ObservedQueue::new(queue, metrics.clone())));
        let queues: Vec<_> = queues.collect();
        if settings.one_shot {
            let ran = take_one(&queues, worker.as_ref(), &self.deps, settings.receive_wait, &stop).await;
            info!(worker = worker.name(), figures = %metrics.to_json(), "figures of this run");
            return ran;
        }
        run_all(queues, worker, self.deps, settings.listen, metrics, stop).await
    }
}

/// Sees the first message through that any of the queues has; none is no error.
async fn take_one(
    queues: &[Arc<ObservedQueue>],
    worker: &dyn Worker,
    deps: &LoopDeps,
    wait: Duration,
    stop: &CancellationToken,
) -> Result<(), ServiceError> {
    for queue in queues {
        match worker::run_one(queue.as_ref(), worker, deps, wait, stop).await? {
            Some(Disposition::Acknowledged) => return Ok(()),
            Some(_) if stop.is_cancelled() => return Ok(()),
            Some(other) => return Err(ServiceError::NotHandled(other)),
            None => {}
        }
    }
    info!(worker = worker.name(), "no message");
    Ok(())
}

async fn run_all(
    queues: Vec<Arc<ObservedQueue>>,
    worker: Arc<dyn Worker>,
    deps: LoopDeps,
    listen: SocketAddr,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), ServiceError> {
    let listener = web::bind(listen).await?;
    info!(worker = worker.name(), %listen, "started");
    let mut tasks = JoinSet::new();
    for queue in queues.clone() {
        let (worker, deps, stop) = (worker.clone(), deps.clone(), stop.clone());
        tasks.spawn(async move { worker::run(queue.as_ref(), worker.as_ref(), &deps, &stop).await });
    }
    // Whoever reads the index knows the ages; where there is none yet there is nothing to know.
    let _first_look = deps.store.get(names::INDEX_KEY, MAX_INDEX_BYTES).await;
    let told = web::Told { metrics: metrics.clone(), queues: Arc::new(queues) };
    let server = tokio::spawn(web::serve(listener, told, stop.clone()));
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    stop.cancel();
    // An answer that was cut short is nobody's loss.
    let _served = server.await?;
    info!(worker = worker.name(), figures = %metrics.to_json(), "stopped");
    Ok(())
}
