//! Publishes ticks by the targets' schedules, each with its scheduled instant as its time.
//!
//! A restart doubles no tick: the instant is the version. What was missed while the service was down is caught up by at
//! most one tick per target, that of the newest missed instant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use polkashots_shared::clock::Clock;
use polkashots_shared::ids::TargetId;
use polkashots_shared::ports::queue::{EventSink, QueueError};
use polkashots_shared::target::Target;
use polkashots_shared::worker::error_chain;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::ledger::{Ledger, LedgerError};
use crate::schedule::{Schedule, ScheduleError};
use crate::trigger::publish_tick;

/// The clock may be set, and machines sleep: it is looked at this often at least.
const LONGEST_NAP: Duration = Duration::from_secs(30);

/// The schedules of all targets that have one.
pub struct Scheduler {
    schedules: BTreeMap<TargetId, Schedule>,
    ledger: Ledger,
    events: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
}

/// Says why a tick was not published or not remembered.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The tick was not published.
    #[error("publish tick of {target}: {source}")]
    Publish {
        /// The target.
        target: TargetId,
        /// What the queue said.
        source: QueueError,
    },
    /// The tick was published and will be published again.
    #[error("remember last tick: {0}")]
    Ledger(#[from] LedgerError),
    /// A target's schedule cannot be read.
    #[error("schedule of {target}: {source}")]
    Schedule {
        /// The target.
        target: TargetId,
        /// What is wrong with it.
        source: ScheduleError,
    },
}

impl Scheduler {
    /// A scheduler of the targets that have a schedule.
    pub fn new<'a>(
        targets: impl IntoIterator<Item = &'a Target>,
        ledger: Ledger,
        events: Arc<dyn EventSink>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SchedulerError> {
        let mut schedules = BTreeMap::new();
        for target in targets {
            let Some(expression) = &target.schedule else { continue };
            let schedule = Schedule::parse(expression, &target.time_zone)
                .map_err(|source| SchedulerError::Schedule { target: target.id.clone(), source })?;
            schedules.insert(target.id.clone(), schedule);
        }
        Ok(Self { schedules, ledger, events, clock })
    }

    /// Publishes ticks as they fall due, until `stop`; what fails is logged and tried again.
    pub async fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.publish_due().await {
                error!(error = error_chain(&error), "tick failed, trying again");
            }
            tokio::select! {
                () = tokio::time::sleep(self.nap()) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Publishes one tick for each target whose schedule came true since its last one.
    pub async fn publish_due(&mut self) -> Result<(), SchedulerError> {
        let now = self.clock.now();
        for (target, instant) in self.due(now) {
            publish_tick(self.events.as_ref(), &target, instant)
                .await
                .map_err(|source| SchedulerError::Publish { target: target.clone(), source })?;
            info!(%target, scheduled_for = %instant, late_ms = (now - instant).num_milliseconds(), "tick published");
            self.ledger.remember(&target, instant)?;
        }
        self.begin_new(now)
    }

    /// A target that has no last tick starts now: what lay before was never promised.
    fn begin_new(&mut self, now: DateTime<Utc>) -> Result<(), SchedulerError> {
        let new: Vec<TargetId> =
            self.schedules.keys().filter(|target| self.ledger.last(target).is_none()).cloned().collect();
        for target in new {
            self.ledger.remember(&target, now)?;
        }
        Ok(())
    }

    fn due(&self, now: DateTime<Utc>) -> Vec<(TargetId, DateTime<Utc>)> {
        let due = |(target, schedule): (&TargetId, &Schedule)| {
            let last = self.ledger.last(target)?;
            let instant = schedule.last_until(now)?;
            (instant > last).then(|| (target.clone(), instant))
        };
        self.schedules.iter().filter_map(due).collect()
    }

    fn nap(&self) -> Duration {
        let now = self.clock.now();
        let next = self.schedules.values().filter_map(|schedule| schedule.next_after(now)).min();
        let until_next = next.and_then(|next| (next - now).to_std().ok()).unwrap_or(LONGEST_NAP);
        until_next.clamp(Duration::from_millis(10), LONGEST_NAP)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use polkashots_shared::clock::ManualClock;
    use polkashots_shared::event::{Event, Message, Topic};

    use super::*;
    use crate::testing::target;

    /// Remembers the times of the ticks that were published.
    #[derive(Default)]
    struct Ticks(Mutex<Vec<String>>);

    #[async_trait]
    impl EventSink for Ticks {
        async fn publish(&self, topic: Topic, message: &Message) -> Result<(), QueueError> {
            let event = Event::from_message(topic, message, DateTime::UNIX_EPOCH).expect("a tick");
            self.0.lock().expect("no panic").push(event.time.to_rfc3339());
            Ok(())
        }
    }

    struct Life {
        scheduler: Scheduler,
        ticks: Arc<Ticks>,
        clock: Arc<ManualClock>,
    }

    fn life(state: &Path, now: &str) -> Life {
        let mut target = target("dot-rocksdb");
        target.schedule = Some("0 4 * * *".into());
        let ledger = Ledger::open(state.join("schedule.json")).expect("a ledger");
        let ticks = Arc::new(Ticks::default());
        let clock = Arc::new(ManualClock::at(now.parse().expect("a time")));
        let scheduler = Scheduler::new([&target], ledger, ticks.clone(), clock.clone()).expect("legal");
        Life { scheduler, ticks, clock }
    }

    impl Life {
        async fn at(&mut self, now: &str) -> Vec<String> {
            self.clock.set(now.parse().expect("a time"));
            self.scheduler.publish_due().await.expect("published");
            std::mem::take(&mut *self.ticks.0.lock().expect("no panic"))
        }
    }

    #[tokio::test]
    async fn a_tick_is_published_once_with_its_scheduled_instant() {
        let state = tempfile::tempdir().expect("a directory");
        let mut life = life(state.path(), "2026-11-20T10:00:00Z");
        assert_eq!(life.at("2026-11-20T10:00:00Z").await, [""; 0]);
        assert_eq!(life.at("2026-11-21T04:00:00.3Z").await, ["2026-11-21T04:00:00+00:00"]);
        assert_eq!(life.at("2026-11-21T04:00:01Z").await, [""; 0]);
        assert_eq!(life.at("2026-11-21T03:59:00Z").await, [""; 0], "the clock was set back");
    }

    #[tokio::test]
    async fn what_was_missed_while_down_is_caught_up_by_one_tick() {
        let state = tempfile::tempdir().expect("a directory");
        life(state.path(), "2026-11-20T10:00:00Z").at("2026-11-20T10:00:00Z").await;
        let mut later = life(state.path(), "2026-11-24T12:00:00Z");
        assert_eq!(later.at("2026-11-24T12:00:00Z").await, ["2026-11-24T04:00:00+00:00"]);
        let mut restarted = life(state.path(), "2026-11-24T12:01:00Z");
        assert_eq!(restarted.at("2026-11-24T12:01:00Z").await, [""; 0], "a restart doubled the tick");
    }
}
