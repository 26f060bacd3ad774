//! The transfer: frames come in over several connections, in any order, and go to disk as they come.
//!
//! `fetch` brings compressed frames and waits for room in a window of bytes before it asks for them; threads (`threads`)
//! take each frame's digest, decompress it and write it; this module hands out the work, sees to it that finished frames
//! are recorded, and asks again for a frame whose digest was wrong. Nothing grows with the archive but the plan.
//!
//! Each request is a task of its own, so that what comes in is put together on all cores, beside what reads the connection.

mod buffers;
mod fetch;
mod mirrors;
mod threads;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use self::buffers::Buffers;
pub use self::fetch::Watched;
use self::fetch::{FetchError, Fetcher};
pub use self::mirrors::Mirrors;
use self::threads::{Finished, Threads, Verdict};
use crate::error::RestoreError;
use crate::journal::Journal;
use crate::progress::{INTERVAL, Phase, Progress, Update};
use crate::request::Transfer;
use crate::source::Source;
use crate::staging::Staging;

/// Adjacent frames are asked for together, up to this many compressed bytes.
const SPAN_BYTES: u64 = 4 * 1024 * 1024;
/// Finished frames are recorded at least this often.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// How often a frame is fetched before its digest is believed to be wrong for good.
const DIGEST_ATTEMPTS: u32 = 3;

/// What is transferred, from where to where.
#[derive(Clone)]
pub struct Job {
    /// Reads the archive.
    pub source: Arc<Source>,
    /// Where the archive is.
    pub mirrors: Arc<Mirrors>,
    /// The archive's name, for messages.
    pub file: String,
    /// Where its frames go.
    pub staging: Arc<Staging>,
    /// How to fetch.
    pub transfer: Transfer,
}

/// Brings every frame that is not `done` to disk for good; gives the bytes fetched.
///
/// Dropping it records what was written, and leaves a state from which it can be done again.
pub async fn transfer(
    job: &Job,
    journal: Journal,
    done: Vec<bool>,
    progress: &dyn Progress,
) -> Result<u64, RestoreError> {
    let (results, mut finished) = mpsc::unbounded_channel();
    let buffers = Arc::new(Buffers::default());
    let threads = Threads::start(&job.staging, &buffers, job.transfer.threads, results)?;
    let fetcher = Arc::new(Fetcher::new(job.clone(), threads.sender(), buffers));
    let mut state = State::new(job, journal, done);
    let mut under_way = JoinSet::new();
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !state.is_complete() {
        while under_way.len() < state.most_under_way
            && let Some(work) = state.next_work(fetcher.handed_over())
        {
            let fetcher = Arc::clone(&fetcher);
            under_way.spawn(async move { fetcher.fetch(work).await });
        }
        tokio::select! {
            Some(fetched) = under_way.join_next() => match fetched {
                Ok(Ok(())) => state.after_stream(under_way.is_empty()),
                Ok(Err(FetchError::RangesIgnored)) => {
                    under_way.shutdown().await;
                    state.fall_back();
                }
                Ok(Err(FetchError::Source(error))) => return Err(error.into()),
                Err(_) => return Err(RestoreError::Thread("a task that fetches frames")),
            },
            finished = finished.recv() => state.take(finished)?,
            recorded = state.recorded() => state.after_record(recorded)?,
            _ = tick.tick() => state.tick(progress),
        }
    }
    state.last_record().await?;
    state.tick(progress);
    Ok(fetcher.fetched_bytes())
}

/// A piece of work for one connection.
#[derive(Debug, Clone)]
enum Work {
    /// These frames, by ranges.
    Span(Range<usize>),
    /// The whole archive from its start, of which these frames are wanted.
    Stream(Arc<Vec<bool>>),
}

type Recording = JoinHandle<(Journal, Result<(), RestoreError>)>;

struct State<'a> {
    job: &'a Job,
    spans: VecDeque<Range<usize>>,
    /// True once the server was seen to ignore ranges.
    streaming: bool,
    stream_under_way: bool,
    most_under_way: usize,
    wanted: Vec<bool>,
    left: usize,
    taken: u64,
    digest_failures: std::collections::HashMap<usize, u32>,
    journal: Option<Journal>,
    recording: Option<Recording>,
    unrecorded: Vec<usize>,
    unrecorded_bytes: u64,
    recorded_at: Instant,
    progress: Update,
}

impl<'a> State<'a> {
    fn new(job: &'a Job, journal: Journal, done: Vec<bool>) -> Self {
        let frames = &job.staging.plan().frames;
        let wanted: Vec<bool> = done.iter().map(|done| !done).collect();
        let sizes = frames.iter().zip(&done);
        let resumed = sizes.filter_map(|(frame, done)| done.then_some(u64::from(frame.size))).sum();
        let total = job.staging.plan().frames_bytes();
        Self {
            job,
            spans: spans(&wanted, |frame| u64::from(frames[frame].size)),
            streaming: false,
            stream_under_way: false,
            most_under_way: job.transfer.connections.get(),
            left: wanted.iter().filter(|wanted| **wanted).count(),
            wanted,
            taken: 0,
            digest_failures: Default::default(),
            journal: Some(journal),
            recording: None,
            unrecorded: Vec::new(),
            unrecorded_bytes: 0,
            recorded_at: Instant::now(),
            progress: Update { phase: Phase::Transfer, done: resumed, total, resumed },
        }
    }

    /// True when every frame was written; the last ones may not be recorded yet.
    fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// The next piece of work; a stream only once the threads are done with everything handed over before.
    fn next_work(&mut self, handed_over: u64) -> Option<Work> {
        if !self.streaming {
            return self.spans.pop_front().map(Work::Span);
        }
        if self.stream_under_way || self.taken < handed_over {
            return None;
        }
        self.stream_under_way = true;
        Some(Work::Stream(Arc::new(self.wanted.clone())))
    }

    /// The server ignores ranges: one connection, from the start to the end.
    fn fall_back(&mut self) {
        tracing::info!(file = self.job.file, "server ignores ranges, reading the archive in one stream");
        self.streaming = true;
        self.stream_under_way = false;
        self.spans.clear();
        self.most_under_way = 1;
    }

    fn after_stream(&mut self, idle: bool) {
        // Frames of a stream whose digest was wrong are wanted still: the next stream brings them again.
        if self.streaming && idle {
            self.stream_under_way = false;
        }
    }

    fn take(&mut self, finished: Option<Finished>) -> Result<(), RestoreError> {
        let finished = finished.ok_or(RestoreError::Thread("the threads that write frames"))?;
        let Finished { frame, place, verdict } = finished;
        self.taken += 1;
        match verdict {
            Verdict::Written => {
                // A frame may come twice when the transfer falls back to one stream.
                if std::mem::take(&mut self.wanted[frame]) {
                    self.written(frame);
                }
                Ok(())
            }
            Verdict::Mismatch(found) => self.mismatch(frame, place, found.to_string()),
            Verdict::Broken(reason) => Err(RestoreError::Frame {
                file: self.job.file.clone(),
                frame,
                expected: self.frame(frame).uncompressed_size,
                reason,
            }),
            Verdict::Failed(error) => Err(error),
        }
    }

    fn frame(&self, frame: usize) -> &polkashots_shared::frames::Frame {
        &self.job.staging.plan().frames[frame]
    }

    fn written(&mut self, frame: usize) {
        let (size, uncompressed) = (self.frame(frame).size, self.frame(frame).uncompressed_size);
        self.left -= 1;
        self.progress.done += u64::from(size);
        self.unrecorded.push(frame);
        self.unrecorded_bytes += u64::from(uncompressed);
        if self.unrecorded_bytes >= self.job.transfer.checkpoint_bytes
            || self.recorded_at.elapsed() >= CHECKPOINT_INTERVAL
        {
            self.start_record();
        }
    }

    fn mismatch(&mut self, frame: usize, place: usize, found: String) -> Result<(), RestoreError> {
        let failures = self.digest_failures.entry(frame).or_default();
        *failures += 1;
        let attempts = *failures;
        tracing::warn!(file = self.job.file, frame, attempts, "frame has a wrong digest");
        // With another place to ask, one that sends something else is not asked again.
        if attempts >= DIGEST_ATTEMPTS && !self.job.mirrors.take_out(place) {
            let wanted = self.frame(frame);
            return Err(RestoreError::Digest {
                file: self.job.file.clone(),
                frame,
                offset: wanted.offset,
                found,
                expected: wanted.sha256.to_string(),
                attempts,
            });
        }
        self.spans.push_back(frame..frame + 1);
        Ok(())
    }

    fn start_record(&mut self) {
        let Some(mut journal) = self.journal.take() else { return };
        let frames = std::mem::take(&mut self.unrecorded);
        self.unrecorded_bytes = 0;
        let staging = Arc::clone(&self.job.staging);
        self.recording = Some(tokio::task::spawn_blocking(move || {
            let result = staging.checkpoint(&mut journal, &frames);
            (journal, result)
        }));
    }

    /// Waits for the recording that is under way; for ever where there is none.
    async fn recorded(&mut self) -> Result<(Journal, Result<(), RestoreError>), RestoreError> {
        let Some(recording) = &mut self.recording else { return std::future::pending().await };
        let result = recording.await;
        self.recording = None;
        result.map_err(|_| RestoreError::Thread("the thread that records finished frames"))
    }

    fn after_record(
        &mut self,
        recorded: Result<(Journal, Result<(), RestoreError>), RestoreError>,
    ) -> Result<(), RestoreError> {
        let (journal, result) = recorded?;
        self.journal = Some(journal);
        self.recorded_at = Instant::now();
        result
    }

    async fn last_record(&mut self) -> Result<(), RestoreError> {
        if self.recording.is_some() {
            let recorded = self.recorded().await;
            self.after_record(recorded)?;
        }
        if self.unrecorded.is_empty() {
            return Ok(());
        }
        self.start_record();
        let recorded = self.recorded().await;
        self.after_record(recorded)
    }

    fn tick(&self, progress: &dyn Progress) {
        progress.update(&self.progress);
    }
}

impl Drop for State<'_> {
    /// Records what was written since the last time, so that a restore that is asked to stop loses nothing of it.
    fn drop(&mut self) {
        let Some(journal) = self.journal.as_mut().filter(|_| !self.unrecorded.is_empty()) else { return };
        if let Err(error) = self.job.staging.checkpoint(journal, &self.unrecorded) {
            tracing::warn!(%error, "frames that were written last are not recorded and will be fetched again");
        }
    }
}

/// Groups wanted frames that follow one another into requests of about [`SPAN_BYTES`].
fn spans(wanted: &[bool], size: impl Fn(usize) -> u64) -> VecDeque<Range<usize>> {
    let mut spans: VecDeque<Range<usize>> = VecDeque::new();
    let mut bytes = 0;
    for frame in (0..wanted.len()).filter(|frame| wanted[*frame]) {
        let next = size(frame);
        match spans.back_mut() {
            Some(last) if last.end == frame && bytes + next <= SPAN_BYTES => {
                last.end += 1;
                bytes += next;
            }
            _ => {
                spans.push_back(frame..frame + 1);
                bytes = next;
            }
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_join_neighbours_and_leave_out_what_is_done() {
        let wanted = [true, true, false, true, true, true];
        let together = spans(&wanted, |_| 1);
        assert_eq!(together, [0..2, 3..6]);
        let large = spans(&wanted, |frame| if frame == 4 { SPAN_BYTES } else { 1 });
        assert_eq!(large, [0..2, 3..4, 4..5, 5..6]);
        assert!(spans(&[false, false], |_| 1).is_empty());
    }
}
