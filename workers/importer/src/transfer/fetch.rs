//! Fetching compressed frames: by ranges, or in one stream where the server ignores ranges.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use polkashots_shared::frames::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::buffers::Buffers;
use super::threads::{Compressed, Sender};
use super::{Job, Work};
use crate::request::Transfer;
use crate::source::{Body, SourceError};

/// Most compressed bytes in memory: asked for, under way, or waiting for a thread.
const WINDOW_BYTES: u64 = 80 * 1024 * 1024;
/// What a connection that is cut must have brought for the attempt to count as progress.
const MIN_CUT_BYTES: u64 = 512;
/// The unit of the window, so that it fits the semaphore's counters.
const UNIT_BYTES: u64 = 1024;

/// A connection that is so many times slower than the usual one is replaced.
const SLOWER_THAN_USUAL: f64 = 10.0;

/// Says why frames did not come.
pub enum FetchError {
    /// The server sends the whole archive when asked for a range.
    RangesIgnored,
    /// Everything else.
    Source(SourceError),
}

impl From<SourceError> for FetchError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

/// Brings frames to the threads.
pub struct Fetcher {
    job: Job,
    threads: Sender,
    buffers: Arc<Buffers>,
    window: Arc<Semaphore>,
    fetched: AtomicU64,
    handed_over: AtomicU64,
    started: Instant,
}

impl Fetcher {
    /// A fetcher of `job` that hands frames to `threads`.
    pub fn new(job: Job, threads: Sender, buffers: Arc<Buffers>) -> Self {
        let window = Arc::new(Semaphore::new((WINDOW_BYTES / UNIT_BYTES) as usize));
        Self {
            job,
            threads,
            buffers,
            window,
            fetched: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            started: Instant::now(),
        }
    }

    /// Bytes that came in so far, those that came twice included.
    pub fn fetched_bytes(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Frames that were handed to the threads so far.
    pub fn handed_over(&self) -> u64 {
        self.handed_over.load(Ordering::Relaxed)
    }

    /// Does one piece of work, with as many attempts as progress justifies.
    pub async fn fetch(&self, work: Work) -> Result<(), FetchError> {
        match work {
            Work::Span(frames) => self.span(frames).await,
            Work::Stream(wanted) => self.stream(&wanted).await,
        }
    }

    fn frames(&self) -> &[Frame] {
        &self.job.staging.plan().frames
    }

    async fn span(&self, frames: Range<usize>) -> Result<(), FetchError> {
        let mut assembly =
            Assembly { next: frames.start, buffer: Vec::new(), place: 0, room: self.room(frames.clone()).await };
        let mut attempts = self.job.source.attempts();
        while assembly.next < frames.end {
            let (before, started) = (self.position(&assembly), Instant::now());
            let place = self.job.mirrors.pick();
            // A frame is from one place, so that what is wrong with it is that place's.
            if assembly.place != place {
                assembly.buffer.clear();
                assembly.place = place;
            }
            let result = self.span_once(&mut assembly, frames.end).await;
            let brought = self.position(&assembly).saturating_sub(before);
            let Err(error) = result else {
                self.job.mirrors.brought(place, brought, started.elapsed());
                break;
            };
            let Some(error) = self.elsewhere(place, error)? else { continue };
            let stalled = matches!(error, SourceError::Stalled { .. });
            let expected = if stalled { Transfer::MIN_PROGRESS_BYTES } else { MIN_CUT_BYTES };
            if brought >= expected {
                attempts.progressed();
            }
            self.job.mirrors.failed(place);
            attempts.failed(error).await?;
        }
        Ok(())
    }

    /// A failure that another place need not have takes this one out, and is none while there is another.
    fn elsewhere(&self, place: usize, error: FetchError) -> Result<Option<SourceError>, FetchError> {
        match error {
            FetchError::Source(error) if error.is_transient() => Ok(Some(error)),
            error if self.job.mirrors.take_out(place) => {
                tracing::warn!(location = %self.job.mirrors.place(place), "does not serve the archive, asking elsewhere");
                drop(error);
                Ok(None)
            }
            error => Err(error),
        }
    }

    /// Where the next byte that is missing lies in the archive.
    fn position(&self, assembly: &Assembly) -> u64 {
        let next = self.frames().get(assembly.next).map_or(self.job.staging.plan().frames_bytes(), |next| next.offset);
        next + assembly.buffer.len() as u64
    }

    async fn span_once(&self, assembly: &mut Assembly, end: usize) -> Result<(), FetchError> {
        let size = self.job.staging.plan().artifact_size;
        let last = &self.frames()[end - 1];
        let range = self.position(assembly)..last.offset + u64::from(last.size);
        let location = self.job.mirrors.place(assembly.place);
        let body = self.job.source.open(location, range.clone(), size).await?;
        if !body.ranged && range != (0..size) {
            return Err(FetchError::RangesIgnored);
        }
        let mut chunks = Watched::new(body, self.job.transfer.stall_timeout);
        while assembly.next < end {
            chunks.expect_bytes(self.expected_bytes());
            let chunk = chunks.next(&location.to_string()).await?;
            self.fetched.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            self.assemble(assembly, &chunk, end);
        }
        Ok(())
    }

    /// Adds a chunk and hands over each frame that it completes.
    fn assemble(&self, assembly: &mut Assembly, mut chunk: &[u8], end: usize) {
        while assembly.next < end && !chunk.is_empty() {
            let size = self.frames()[assembly.next].size as usize;
            if assembly.buffer.capacity() == 0 {
                assembly.buffer = self.buffers.take(size);
            }
            let (here, rest) = chunk.split_at(chunk.len().min(size - assembly.buffer.len()));
            assembly.buffer.extend_from_slice(here);
            chunk = rest;
            if assembly.buffer.len() == size {
                let room = assembly.room.split(units(size as u64));
                let bytes = std::mem::take(&mut assembly.buffer);
                self.hand_over(Compressed { frame: assembly.next, bytes, place: assembly.place, room });
                assembly.next += 1;
            }
        }
    }

    async fn stream(&self, wanted: &[bool]) -> Result<(), FetchError> {
        let mut sent = vec![false; wanted.len()];
        let mut attempts = self.job.source.attempts();
        loop {
            let before = sent.iter().filter(|sent| **sent).count();
            let Err(error) = self.stream_once(wanted, &mut sent).await else { return Ok(()) };
            if sent.iter().filter(|sent| **sent).count() > before {
                attempts.progressed();
            }
            attempts.failed(error).await?;
        }
    }

    async fn stream_once(&self, wanted: &[bool], sent: &mut [bool]) -> Result<(), SourceError> {
        let size = self.job.staging.plan().artifact_size;
        let place = self.job.mirrors.pick();
        let location = self.job.mirrors.place(place);
        let body = self.job.source.open(location, 0..size, size).await?;
        let mut chunks = Watched::new(body, self.job.transfer.stall_timeout);
        let mut rest = Bytes::new();
        for (number, frame) in self.frames().iter().enumerate() {
            let needed = wanted[number] && !sent[number];
            let room = match needed {
                true => self.room(number..number + 1).await,
                false => None,
            };
            chunks.resume();
            let mut bytes = if needed { self.buffers.take(frame.size as usize) } else { Vec::new() };
            let mut missing = frame.size as usize;
            while missing > 0 {
                if rest.is_empty() {
                    rest = chunks.next(&location.to_string()).await?;
                    self.fetched.fetch_add(rest.len() as u64, Ordering::Relaxed);
                }
                let here = rest.split_to(rest.len().min(missing));
                missing -= here.len();
                if needed {
                    bytes.extend_from_slice(&here);
                }
            }
            if needed {
                self.hand_over(Compressed { frame: number, bytes, place, room });
                sent[number] = true;
            }
        }
        Ok(())
    }

    /// What a connection brings at least within the patience, where the others bring what they do.
    fn expected_bytes(&self) -> u64 {
        let elapsed = self.started.elapsed().max(Duration::from_secs(1));
        let connections = self.job.transfer.connections.get() as f64;
        let usual = self.fetched_bytes() as f64 / elapsed.as_secs_f64() / connections;
        (usual / SLOWER_THAN_USUAL * self.job.transfer.stall_timeout.as_secs_f64()) as u64
    }

    fn hand_over(&self, frame: Compressed) {
        self.handed_over.fetch_add(1, Ordering::Relaxed);
        self.threads.send(frame);
    }

    /// Waits for room in the window for these frames.
    async fn room(&self, frames: Range<usize>) -> Option<OwnedSemaphorePermit> {
        let wanted: usize = self.frames()[frames].iter().map(|frame| units(u64::from(frame.size))).sum();
        // The semaphore is never closed, and no request is larger than the window.
        Arc::clone(&self.window).acquire_many_owned(wanted as u32).await.ok()
    }
}

fn units(bytes: u64) -> usize {
    bytes.div_ceil(UNIT_BYTES) as usize
}

/// Frames being put together from chunks.
struct Assembly {
    next: usize,
    buffer: Vec<u8>,
    /// Which of the archive's places the buffer is from.
    place: usize,
    room: Option<OwnedSemaphorePermit>,
}

trait Split {
    fn split(&mut self, units: usize) -> Option<OwnedSemaphorePermit>;
}

impl Split for Option<OwnedSemaphorePermit> {
    fn split(&mut self, units: usize) -> Option<OwnedSemaphorePermit> {
        self.as_mut().and_then(|permit| permit.split(units))
    }
}

/// Chunks that must keep coming: too few bytes in too long a time end them.
pub struct Watched {
    body: Body,
    patience: Duration,
    since: Instant,
    bytes: u64,
    expected: u64,
}

impl Watched {
    /// Watches `body`.
    pub fn new(body: Body, patience: Duration) -> Self {
        Self { body, patience, since: Instant::now(), bytes: 0, expected: Transfer::MIN_PROGRESS_BYTES }
    }

    /// Expects so many bytes within the patience, and never fewer than [`Transfer::MIN_PROGRESS_BYTES`].
    pub fn expect_bytes(&mut self, expected: u64) {
        self.expected = expected.max(Transfer::MIN_PROGRESS_BYTES);
    }

    /// Starts a new count: the time until now was the reader's own.
    pub fn resume(&mut self) {
        if self.since.elapsed() >= self.patience {
            (self.since, self.bytes) = (Instant::now(), 0);
        }
    }

    /// The next chunk; never an empty one, and an error at the end.
    pub async fn next(&mut self, location: &str) -> Result<Bytes, SourceError> {
        loop {
            match tokio::time::timeout_at(self.since + self.patience, self.body.chunks.next()).await {
                Ok(Some(Ok(chunk))) if chunk.is_empty() => {}
                Ok(Some(Ok(chunk))) => {
                    self.bytes += chunk.len() as u64;
                    return Ok(chunk);
                }
                Ok(Some(Err(error))) => return Err(error),
                Ok(None) => {
                    let reason = "the answer ends too early".into();
                    return Err(SourceError::Transient { location: location.into(), reason, retry_after: None });
                }
                Err(_) => self.count(location)?,
            }
        }
    }

    fn count(&mut self, location: &str) -> Result<(), SourceError> {
        let (bytes, seconds) = (self.bytes, self.patience.as_secs());
        if bytes < self.expected {
            return Err(SourceError::Stalled { location: location.into(), bytes, seconds });
        }
        (self.since, self.bytes) = (Instant::now(), 0);
        Ok(())
    }
}
