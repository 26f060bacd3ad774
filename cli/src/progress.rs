//! Progress of a restore: a bar on a terminal, JSON lines elsewhere, both on standard error.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use polkashots_importer::{Phase, Progress, Update};
use serde::Serialize;

/// JSON lines come at most this often while a phase lasts.
const JSON_INTERVAL: Duration = Duration::from_secs(2);

/// Shows progress where it can be seen.
pub fn shown(quiet: bool) -> Box<dyn Progress> {
    if quiet {
        return Box::new(polkashots_importer::NoProgress);
    }
    if crate::output::is_watched() {
        return Box::new(Bar::new());
    }
    Box::new(JsonLines { last: Mutex::new(None), started: Instant::now() })
}

/// One bar that changes its looks with the phase.
struct Bar {
    bar: ProgressBar,
    phase: Mutex<Option<Phase>>,
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, phase: Mutex::new(None) }
    }

    fn begin(&self, update: &Update) {
        let mut phase = self.phase.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *phase == Some(update.phase) {
            return;
        }
        *phase = Some(update.phase);
        self.bar.set_style(style_of(update.phase));
        self.bar.set_message(words_of(update.phase));
        self.bar.set_position(update.resumed);
        self.bar.reset_eta();
    }
}

impl Progress for Bar {
    fn update(&self, update: &Update) {
        self.begin(update);
        self.bar.set_length(update.total);
        self.bar.set_position(update.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style_of(phase: Phase) -> ProgressStyle {
    let template = match (phase, phase.counts_bytes()) {
        (Phase::Resolve, _) => "{spinner} {msg}",
        (_, true) => "{msg:24} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left",
        (_, false) => "{msg:24} [{bar:30}] {pos}/{len} files",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

fn words_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Resolve => "finding the snapshot",
        Phase::Remove => "removing the old one",
        Phase::Prepare => "making files",
        Phase::Compare => "comparing what is there",
        Phase::Switch => "putting together",
        Phase::Transfer => "fetching and verifying",
        Phase::Verify => "verifying",
        Phase::Finish => "making it durable",
    }
}

/// One line of JSON for each phase, and every few seconds while it lasts.
struct JsonLines {
    last: Mutex<Option<(Phase, Instant)>>,
    started: Instant,
}

#[derive(Serialize)]
struct Line {
    progress: &'static str,
    done: u64,
    total: u64,
    resumed: u64,
    unit: &'static str,
    elapsed_ms: u128,
}

impl Progress for JsonLines {
    fn update(&self, update: &Update) {
        if !self.is_due(update) {
            return;
        }
        let line = Line {
            progress: update.phase.as_str(),
            done: update.done,
            total: update.total,
            resumed: update.resumed,
            unit: if update.phase.counts_bytes() { "bytes" } else { "files" },
            elapsed_ms: self.started.elapsed().as_millis(),
        };
        if let Ok(text) = serde_json::to_string(&line) {
            // Progress that nobody reads is no reason to fail.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }
}

impl JsonLines {
    fn is_due(&self, update: &Update) -> bool {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let finished = update.total > 0 && update.done == update.total;
        let due = match *last {
            Some((phase, at)) => phase != update.phase || at.elapsed() >= JSON_INTERVAL || finished,
            None => true,
        };
        if due {
            *last = Some((update.phase, Instant::now()));
        }
        due
    }
}
