//! The bytes of an archive on their way from where it is to the thread that unpacks it.
//!
//! At most [`WINDOW_CHUNKS`] pieces are under way at once. A connection that breaks is taken up where it broke, where the
//! server says what the archive is (a strong `ETag` or a date) and so can say that it is still the same one.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use polkashots_shared::ids::Sha256;
use sha2::Digest as _;
use tokio::sync::mpsc;

use crate::progress::{INTERVAL, Phase, Progress, Update};
use crate::request::Transfer;
use crate::source::{Attempts, Location, Source, SourceError, Whole};

/// Most pieces under way; one has up to a mebibyte.
const WINDOW_CHUNKS: usize = 16;

/// What is sent to the thread. A channel that ends without [`Fed::End`] was given up.
enum Fed {
    Bytes(Bytes),
    End,
}

/// The sending end.
pub struct Feed {
    sender: mpsc::Sender<Fed>,
}

/// The receiving end, to be read on a thread of its own.
pub struct Fodder {
    receiver: mpsc::Receiver<Fed>,
    current: Bytes,
    is_over: bool,
}

/// An archive that was sent to its end.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// The SHA-256 of all its bytes.
    pub sha256: Sha256,
    /// How many those are.
    pub size_bytes: u64,
}

/// Why an archive was not sent to its end.
pub enum Interrupted {
    /// The thread does not want any more; its own result says why.
    Unwanted,
    /// It has to be sent again from its beginning.
    StartOver(SourceError),
    /// It cannot be read.
    Failed(SourceError),
}

/// A feed and its fodder.
pub fn feed() -> (Feed, Fodder) {
    let (sender, receiver) = mpsc::channel(WINDOW_CHUNKS);
    (Feed { sender }, Fodder { receiver, current: Bytes::new(), is_over: false })
}

/// What has been sent, of what.
struct Sending<'a> {
    source: &'a Source,
    location: &'a Location,
    stall_timeout: Duration,
    fetched: &'a AtomicU64,
    progress: &'a dyn Progress,
    reported: Option<Instant>,
    at: u64,
    size: Option<u64>,
    validator: Option<String>,
    digest: sha2::Sha256,
    pace: Pace,
}

/// How fast the connection is, for telling one that brings next to nothing.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Feed {
    /// Sends the archive at `location`; `fetched` counts what came in.
    pub async fn send(
        self,
        source: &Source,
        location: &Location,
        transfer: &Transfer,
        fetched: &AtomicU64,
        progress: &dyn Progress,
    ) -> Result<Sent, Interrupted> {
        let mut sending = Sending {
            source,
            location,
            stall_timeout: transfer.stall_timeout,
            fetched,
            progress,
            reported: None,
            at: 0,
            size: None,
            validator: None,
            digest: sha2::Sha256::new(),
            pace: Pace::default(),
        };
        let mut attempts = source.attempts();
        while let Err(broken) = sending.stretch(&self.sender).await {
            sending.go_on(broken, &mut attempts).await?;
        }
        self.sender.send(Fed::End).await.map_err(|_| Interrupted::Unwanted)?;
        Ok(Sent { sha256: Sha256(sending.digest.finalize().into()), size_bytes: sending.at })
    }
}

/// How a stretch ended, and how many bytes it brought.
struct Broken {
    brought: u64,
    interrupted: Interrupted,
}

impl Sending<'_> {
    /// Sends what one request brings.
    async fn stretch(&mut self, sender: &mpsc::Sender<Fed>) -> Result<(), Broken> {
        let start = self.at;
        let result = self.try_stretch(sender).await;
        result.map_err(|interrupted| Broken { brought: self.at - start, interrupted })
    }

    async fn try_stretch(&mut self, sender: &mpsc::Sender<Fed>) -> Result<(), Interrupted> {
        let opened = self.source.open_whole(self.location, self.at, self.validator.as_deref()).await;
        let mut whole = opened.map_err(Interrupted::Failed)?;
        if whole.start != self.at {
            return Err(Interrupted::StartOver(
                self.transient("it changed while it was read, or the server forgot it"),
            ));
        }
        self.validator = whole.validator.take();
        self.size = whole.size;
        self.pace = Pace::default();
        while let Some(chunk) = self.chunk(&mut whole).await.map_err(Interrupted::Failed)? {
            self.digest.update(&chunk);
            self.at += chunk.len() as u64;
            self.fetched.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            self.report();
            sender.send(Fed::Bytes(chunk)).await.map_err(|_| Interrupted::Unwanted)?;
        }
        match self.size {
            Some(size) if size != self.at => {
                Err(Interrupted::Failed(self.transient("it ended before its stated size")))
            }
            _ => Ok(()),
        }
    }

    /// The next chunk. Gives up where less than what counts as progress comes in a stall's time; waiting for the disk is none.
    async fn chunk(&mut self, whole: &mut Whole) -> Result<Option<Bytes>, SourceError> {
        let pace = &mut self.pace;
        loop {
            let started = Instant::now();
            let left = self.stall_timeout.saturating_sub(pace.waited);
            let next = tokio::time::timeout(left, whole.chunks.next()).await;
            pace.waited += started.elapsed();
            match next {
                Ok(None) => return Ok(None),
                Ok(Some(chunk)) => {
                    let chunk = chunk?;
                    pace.bytes += chunk.len() as u64;
                    if pace.bytes >= Transfer::MIN_PROGRESS_BYTES {
                        *pace = Pace::default();
                    }
                    if !chunk.is_empty() {
                        return Ok(Some(chunk));
                    }
                }
                Err(_) => {
                    let (location, seconds) = (self.location.to_string(), self.stall_timeout.as_secs());
                    return Err(SourceError::Stalled { location, bytes: pace.bytes, seconds });
                }
            }
        }
    }

    /// Waits before the next request, or says why there is none.
    async fn go_on(&self, broken: Broken, attempts: &mut Attempts) -> Result<(), Interrupted> {
        let error = match broken.interrupted {
            Interrupted::Failed(error) => error,
            other => return Err(other),
        };
        if !error.is_transient() {
            return Err(Interrupted::Failed(error));
        }
        if self.at > 0 && self.validator.is_none() {
            return Err(Interrupted::StartOver(error));
        }
        if broken.brought >= Transfer::MIN_PROGRESS_BYTES {
            attempts.progressed();
        }
        tracing::debug!(at = self.at, %error, "the archive's connection broke, going on where it was");
        attempts.failed(error).await.map_err(Interrupted::Failed)
    }

    fn transient(&self, reason: &str) -> SourceError {
        SourceError::Transient { location: self.location.to_string(), reason: reason.into(), retry_after: None }
    }

    fn report(&mut self) {
        if self.reported.is_none_or(|at| at.elapsed() >= INTERVAL) {
            self.reported = Some(Instant::now());
            let total = self.size.unwrap_or_default();
            self.progress.update(&Update { phase: Phase::Transfer, done: self.at, total, resumed: 0 });
        }
    }
}

impl Read for Fodder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.is_over {
            match self.receiver.blocking_recv() {
                Some(Fed::Bytes(bytes)) => self.current = bytes,
                Some(Fed::End) => self.is_over = true,
                None => return Err(io::Error::other("the archive was not read to its end")),
            }
        }
        let most = buffer.len().min(self.current.len());
        let read = self.current.split_to(most);
        buffer[..most].copy_from_slice(&read);
        Ok(most)
    }
}
