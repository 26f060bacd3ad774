//! `/healthz`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::ServiceError;
use super::metrics::Metrics;
use super::observed_queue::ObservedQueue;

/// What the web server tells of.
#[derive(Clone)]
pub struct Told {
    /// The figures.
    pub metrics: Arc<Metrics>,
    /// The queues that must answer for the service to be ready.
    pub queues: Arc<Vec<Arc<ObservedQueue>>>,
}

/// Takes the address; connections wait until [`serve`].
pub async fn bind(listen: SocketAddr) -> Result<TcpListener, ServiceError> {
    TcpListener::bind(listen).await.map_err(|source| ServiceError::Listen { listen, source })
}

/// Answers until `stop`.
pub async fn serve(listener: TcpListener, told: Told, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(told);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// 503 with the reason for as long as a queue cannot be read.
async fn ready(State(told): State<Told>) -> impl IntoResponse {
    let troubles: Vec<String> = told.queues.iter().filter_map(|queue| queue.trouble()).collect();
    if troubles.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n")
}

async fn metrics(State(told): State<Told>) -> impl IntoResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], told.metrics.to_text())
}
