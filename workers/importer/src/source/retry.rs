//! When to try a request again. This is the importer's place for it: nothing above it tries again.

use std::time::Duration;

use polkashots_shared::retry::{Pauses, Policy};

use super::SourceError;
use crate::request::Transfer;

/// A series of attempts at one piece of work, with growing waits; it ends when too many in a row made no progress.
#[derive(Debug)]
pub struct Attempts {
    pauses: Pauses,
    failed: u32,
    most: u32,
    max_delay: Duration,
}

impl Attempts {
    /// A new series.
    pub fn new(transfer: &Transfer) -> Self {
        let policy = Policy {
            first_pause: transfer.first_delay,
            longest_pause: transfer.max_delay,
            // The number of attempts ends a series, not the time.
            give_up_after: Duration::MAX,
            ..Policy::default()
        };
        Self { pauses: policy.pauses(), failed: 0, most: transfer.attempts.max(1), max_delay: transfer.max_delay }
    }

    /// Notes that something came of the last attempt: the count starts anew.
    pub fn progressed(&mut self) {
        self.failed = 0;
        self.pauses.reset();
    }

    /// Waits before the next attempt, as long as the server asked for or longer with each failure; gives the error back
    /// where it is permanent or the attempts are used up.
    pub async fn failed(&mut self, error: SourceError) -> Result<(), SourceError> {
        let asked = match &error {
            SourceError::Transient { retry_after, .. } => *retry_after,
            SourceError::Stalled { .. } => None,
            _ => return Err(error),
        };
        self.failed += 1;
        if self.failed >= self.most {
            return Err(SourceError::GivenUp { attempts: self.failed, last: Box::new(error) });
        }
        let own = self.pauses.next().unwrap_or(self.max_delay);
        let wait = asked.unwrap_or(own).min(self.max_delay);
        tracing::debug!(%error, attempt = self.failed, wait_ms = wait.as_millis() as u64, "request failed, trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transient(retry_after: Option<Duration>) -> SourceError {
        SourceError::Transient { location: "x".into(), reason: "y".into(), retry_after }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end_unless_there_is_progress() {
        let mut attempts = Attempts::new(&Transfer { attempts: 3, ..Transfer::default() });
        for _ in 0..10 {
            attempts.failed(transient(None)).await.expect("first of three");
            attempts.failed(transient(None)).await.expect("second of three");
            attempts.progressed();
        }
        attempts.failed(transient(None)).await.expect("first of three");
        attempts.failed(transient(None)).await.expect("second of three");
        let end = attempts.failed(transient(None)).await;
        assert!(matches!(end, Err(SourceError::GivenUp { attempts: 3, .. })), "{end:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_left_alone_as_long_as_it_asks_and_not_for_ever() {
        let mut attempts = Attempts::new(&Transfer::default());
        let start = tokio::time::Instant::now();
        attempts.failed(transient(Some(Duration::from_secs(7)))).await.expect("first");
        assert_eq!(start.elapsed().as_secs(), 7);
        attempts.failed(transient(Some(Duration::from_secs(86400)))).await.expect("second");
        assert_eq!(start.elapsed().as_secs(), 7 + 60);
    }

    #[tokio::test]
    async fn a_permanent_error_is_not_tried_again() {
        let mut attempts = Attempts::new(&Transfer::default());
        let error = SourceError::NotFound { location: "x".into() };
        assert!(matches!(attempts.failed(error).await, Err(SourceError::NotFound { .. })));
    }
}
