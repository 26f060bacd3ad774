//! How a queue on this machine waits for a message.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ports::queue::{Delivery, QueueError};

/// How long a receiver sleeps at most before it looks again: other processes and the clock do not wake it.
const LONGEST_NAP: Duration = Duration::from_millis(500);

/// A message, or in how long the next one becomes visible, where that is known.
pub(crate) type Claimed = Result<Delivery, Option<Duration>>;

/// Claims again and again for up to `wait`: after each change, and when the next message becomes visible.
pub(crate) async fn receive<F>(
    wait: Duration,
    changed: &Notify,
    claim: impl Fn() -> F,
) -> Result<Option<Delivery>, QueueError>
where
    F: Future<Output = Result<Claimed, QueueError>>,
{
    let deadline = Instant::now() + wait;
    loop {
        let change = changed.notified();
        tokio::pin!(change);
        change.as_mut().enable();
        let nap = match claim().await? {
            Ok(delivery) => return Ok(Some(delivery)),
            Err(visible_in) => visible_in.unwrap_or(LONGEST_NAP).min(LONGEST_NAP),
        };
        let now = Instant::now();
        if now >= deadline {
            return Ok(None);
        }
        let _woken = tokio::time::timeout_at(deadline.min(now + nap), change).await;
    }
}
