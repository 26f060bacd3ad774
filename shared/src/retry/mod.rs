//! The one retry policy: exponential, with jitter, for a limited time.
//!
//! Retry sits in three places and nowhere else: a client library (one request), this module (one port call), and
//! redelivery (one event). The policy stands on the `backoff` crate, which no other module names.

mod store;

pub use store::RetryingStore;

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tracing::warn;

use crate::worker::error_chain;

/// How long and how often a call is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The pause after the first failure; it doubles with each further one.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How far a pause is moved at random: 0.5 means from half as long to half as long again.
    pub jitter: f64,
    /// No pause is begun that would end later than this after the first try.
    pub give_up_after: Duration,
}

impl Default for Policy {
    /// Seven or so tries within a minute.
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(15),
            jitter: 0.5,
            give_up_after: Duration::from_secs(60),
        }
    }
}

impl Policy {
    /// One try and no more.
    pub fn once() -> Self {
        Self { give_up_after: Duration::ZERO, ..Self::default() }
    }

    /// The default pauses, for as long as `give_up_after`.
    pub fn lasting(give_up_after: Duration) -> Self {
        Self { give_up_after, ..Self::default() }
    }

    /// The pauses of one series of tries that begins now.
    pub fn pauses(&self) -> Pauses {
        Pauses(self.to_backoff())
    }

    fn to_backoff(&self) -> backoff::exponential::ExponentialBackoff<TokioClock> {
        backoff::exponential::ExponentialBackoff {
            current_interval: self.first_pause,
            initial_interval: self.first_pause,
            randomization_factor: self.jitter.clamp(0.0, 1.0),
            multiplier: 2.0,
            max_interval: self.longest_pause,
            start_time: backoff::Clock::now(&TokioClock),
            max_elapsed_time: Some(self.give_up_after),
            clock: TokioClock,
        }
    }
}

/// Makes `call` until it succeeds, fails for good, or the policy's time is over; gives the last error.
///
/// `name` says in the log what is tried: `put index.json`. `call` must be one that may be repeated.
pub async fn retry<T, E, F>(
    policy: &Policy,
    name: &str,
    is_transient: impl Fn(&E) -> bool,
    mut call: impl FnMut() -> F,
) -> Result<T, E>
where
    E: Error + 'static,
    F: Future<Output = Result<T, E>>,
{
    let attempt = || {
        let tried = call();
        async {
            tried.await.map_err(|error| match is_transient(&error) {
                true => backoff::Error::transient(error),
                false => backoff::Error::permanent(error),
            })
        }
    };
    let tell = |error: E, pause: Duration| {
        warn!(call = name, pause_ms = pause.as_millis() as u64, error = error_chain(&error), "failed, trying again");
    };
    backoff::future::retry_notify(policy.to_backoff(), attempt, tell).await
}

/// The pauses of a policy, for a caller that drives its own tries.
#[derive(Debug)]
pub struct Pauses(backoff::exponential::ExponentialBackoff<TokioClock>);

impl Pauses {
    /// Begins anew, after a try that got somewhere.
    pub fn reset(&mut self) {
        backoff::backoff::Backoff::reset(&mut self.0);
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    /// How long to wait before the next try; `None` once the policy's time is over.
    fn next(&mut self) -> Option<Duration> {
        backoff::backoff::Backoff::next_backoff(&mut self.0)
    }
}

/// Tokio's clock, so that paused time pauses the policy too.
#[derive(Debug, Clone, Copy)]
struct TokioClock;

impl backoff::Clock for TokioClock {
    fn now(&self) -> std::time::Instant {
        tokio::time::Instant::now().into_std()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use tokio::time::Instant;

    use super::*;
    use crate::ports::object_store::StoreError;

    pub(super) fn transient() -> StoreError {
        StoreError::Transient { operation: "put", key: "k".into(), source: "connection reset".into() }
    }

    async fn failing_times(failures: u32, policy: &Policy) -> (Result<u32, StoreError>, u32) {
        let tries = AtomicU32::new(0);
        let result = retry(policy, "test", StoreError::is_transient, || async {
            let tried = tries.fetch_add(1, SeqCst) + 1;
            if tried <= failures { Err(transient()) } else { Ok(tried) }
        })
        .await;
        (result, tries.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_transient_error_is_tried_again_after_growing_pauses() {
        let started = Instant::now();
        let policy = Policy { jitter: 0.0, ..Policy::default() };
        let (result, tries) = failing_times(4, &policy).await;
        assert_eq!((result.ok(), tries), (Some(5), 5));
        let pauses = Duration::from_millis(500 + 1000 + 2000 + 4000);
        let elapsed = started.elapsed();
        assert!(elapsed >= pauses && elapsed < pauses + Duration::from_millis(100), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn trying_ends_within_the_policys_time_with_the_last_error() {
        let started = Instant::now();
        let (result, tries) = failing_times(u32::MAX, &Policy::default()).await;
        assert!(matches!(result, Err(StoreError::Transient { .. })));
        assert!(tries > 4, "{tries} tries");
        assert!(started.elapsed() <= Duration::from_secs(61), "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_begin_anew_after_a_reset() {
        let mut pauses = Policy { jitter: 0.0, ..Policy::default() }.pauses();
        assert_eq!(pauses.by_ref().take(3).map(|pause| pause.as_millis()).collect::<Vec<_>>(), [500, 1000, 2000]);
        pauses.reset();
        assert_eq!(pauses.next(), Some(Duration::from_millis(500)));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(pauses.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn once_means_once() {
        let (result, tries) = failing_times(1, &Policy::once()).await;
        assert!(result.is_err());
        assert_eq!(tries, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_error_is_not_tried_again() {
        let tries = AtomicU32::new(0);
        let result: Result<(), _> = retry(&Policy::default(), "test", StoreError::is_transient, || async {
            tries.fetch_add(1, SeqCst);
            Err(StoreError::NotFound { key: "k".into() })
        })
        .await;
        assert!(matches!(result, Err(StoreError::NotFound { .. })));
        assert_eq!(tries.into_inner(), 1);
    }
}
