//! A worker with its handler timed.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use super::metrics::Metrics;
use crate::event::Event;
use crate::worker::{HandleError, Outcome, Worker};

/// Times the handler of the worker that it decorates.
pub struct ObservedWorker {
    /// The worker.
    pub inner: Arc<dyn Worker>,
    /// Where times are noted.
    pub metrics: Arc<Metrics>,
}

#[async_trait]
impl Worker for ObservedWorker {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn handle(&self, event: &Event) -> Result<Outcome, HandleError> {
        let started = Instant::now();
        let handled = self.inner.handle(event).await;
        let result = match &handled {
            Ok(outcome) if outcome.skipped.is_some() => "skipped",
            Ok(_) => "ok",
            Err(error) if error.is_permanent() => "permanent_error",
            Err(_) => "transient_error",
        };
        self.metrics.handled(event.payload.topic().as_str(), started.elapsed(), result);
        handled
    }
}
