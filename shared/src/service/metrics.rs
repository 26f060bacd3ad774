//! What a worker counts, as Prometheus reads it and as one log line tells it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::ids::TargetId;
use crate::index::Index;

/// Upper bounds of durations, in seconds: a request of a moment, an upload of half a day.
const DURATIONS: [f64; 12] = [0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 7200.0, 21600.0, 43200.0];

type Labels = Vec<(&'static str, String)>;
type Durations = Family<Labels, Histogram, fn() -> Histogram>;

/// The figures of one process.
pub struct Metrics {
    registry: Registry,
    clock: Arc<dyn Clock>,
    messages: Family<Labels, Counter>,
    events: Durations,
    stages: Durations,
    stage_bytes: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
    lease_extensions: Family<Labels, Counter>,
    newest_age: Family<Labels, Gauge>,
    newest: Mutex<BTreeMap<TargetId, DateTime<Utc>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All figures at nought; `clock` tells the age of snapshots.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let mut registry = Registry::with_prefix("polkashots");
        let durations = || Durations::new_with_constructor(|| Histogram::new(DURATIONS));
        let metrics = Self {
            clock,
            messages: Family::default(),
            events: durations(),
            stages: durations(),
            stage_bytes: Family::default(),
            retries: Family::default(),
            lease_extensions: Family::default(),
            newest_age: Family::default(),
            newest: Mutex::default(),
            registry: Registry::default(),
        };
        registry.register("messages", "Messages by what became of them", metrics.messages.clone());
        registry.register("event_duration_seconds", "Time that a handler took", metrics.events.clone());
        registry.register("stage_duration_seconds", "Time that a stage of a run took", metrics.stages.clone());
        registry.register("stage_bytes", "Bytes that a stage of a run wrote", metrics.stage_bytes.clone());
        registry.register("retries", "Calls that failed in passing and may be made again", metrics.retries.clone());
        registry.register("lease_extensions", "Extensions of messages' leases", metrics.lease_extensions.clone());
        registry.register(
            "newest_snapshot_age_seconds",
            "Age of the newest snapshot that is listed",
            metrics.newest_age.clone(),
        );
        Self { registry, ..metrics }
    }

    /// Counts a message: `received`, `acknowledged`, `returned`, `dead_letter` or `lost`.
    pub fn message(&self, topic: &str, became: &'static str) {
        self.messages.get_or_create(&vec![("topic", topic.to_owned()), ("became", became.to_owned())]).inc();
    }

    /// Counts an extension of a lease.
    pub fn lease_extended(&self, topic: &str) {
        self.lease_extensions.get_or_create(&vec![("topic", topic.to_owned())]).inc();
    }

    /// Counts a call that failed in passing.
    pub fn transient_failure(&self, operation: &str) {
        self.retries.get_or_create(&vec![("operation", operation.to_owned())]).inc();
    }

    /// Notes how long a handler took.
    pub fn handled(&self, topic: &str, elapsed: Duration, result: &'static str) {
        let labels = vec![("topic", topic.to_owned()), ("result", result.to_owned())];
        self.events.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }

    /// Notes how long `call` takes as `stage`, good or bad.
    pub async fn time<T, E>(&self, stage: &str, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let started = Instant::now();
        let done = call.await;
        self.stage(stage, started.elapsed(), if done.is_ok() { "ok" } else { "error" });
        done
    }

    /// Notes how long a stage took.
    pub fn stage(&self, stage: &str, elapsed: Duration, result: &'static str) {
        let labels = vec![("stage", stage.to_owned()), ("result", result.to_owned())];
        self.stages.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }

    /// Counts what a stage wrote.
    pub fn wrote(&self, stage: &str, size_bytes: u64) {
        self.stage_bytes.get_or_create(&vec![("stage", stage.to_owned())]).inc_by(size_bytes);
    }

    /// Notes what the index lists now.
    pub fn listed(&self, index: &Index) {
        let newest =
            index.targets.iter().filter_map(|target| Some((target.id.clone(), target.snapshots.first()?.created_at)));
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = newest.collect();
    }

    /// The figures in Prometheus' text format (OpenMetrics 1.0).
    pub fn to_text(&self) -> String {
        self.set_ages();
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }

    /// The figures as one JSON object, without the buckets of histograms.
    pub fn to_json(&self) -> Value {
        let text = self.to_text();
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let name = name.strip_prefix("polkashots_")?.replace('"', "");
            let number: f64 = value.parse().ok()?;
            (!name.contains("_bucket{")).then(|| (name, number.into()))
        });
        Value::Object(samples.collect::<Map<_, _>>())
    }

    fn set_ages(&self) {
        let now = self.clock.now();
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        for (target, created_at) in newest.iter() {
            let age = now.signed_duration_since(*created_at).num_seconds().max(0);
            self.newest_age.get_or_create(&vec![("target", target.to_string())]).set(age);
        }
    }
}
