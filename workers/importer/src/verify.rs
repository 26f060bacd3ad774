//! Checking a published snapshot without restoring it: every file that its signed manifest names, to the last byte.

use std::sync::Arc;

use bytes::Bytes;
use polkashots_shared::clock::{Clock, SystemClock};
use polkashots_shared::frames::{Frame, MAX_FRAME_BYTES};
use polkashots_shared::ids::Sha256;
use polkashots_shared::manifest::FileRef;
use sha2::Digest as _;
use tokio::sync::mpsc;

use crate::error::RestoreError;
use crate::outcome::{VerifiedFile, VerifyReport};
use crate::plan::Plan;
use crate::progress::{INTERVAL, Phase, Progress, Update};
use crate::request::{Transfer, Trust};
use crate::resolve::resolve;
use crate::restore::{archive_of, read_plan};
use crate::source::{Location, Source};
use crate::transfer::Watched;
use crate::trust::{PinnedKeys, check_manifest};

/// Chunks that wait for the thread that hashes them.
const WAITING_CHUNKS: usize = 64;
/// The head of the seek table, a skippable frame.
const SEEK_TABLE_MAGIC: [u8; 4] = 0x184D_2A5E_u32.to_le_bytes();

/// A snapshot to check.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// A site or bucket, a manifest, or an artifact beside one; an address or a path.
    pub source: String,
    /// The permalink or id of the target, whose newest snapshot is checked.
    pub name: Option<String>,
    /// Whom and what to believe.
    pub trust: Trust,
    /// How to fetch; files are read one after the other, each in one stream.
    pub transfer: Transfer,
    /// The time against which [`Trust::max_age`] is judged.
    pub clock: Arc<dyn Clock>,
}

impl VerifyRequest {
    /// A check of `source`, with every setting at its default and no key pinned.
    pub fn new(source: impl Into<String>, name: Option<&str>) -> Self {
        Self {
            source: source.into(),
            name: name.map(str::to_owned),
            trust: Trust::default(),
            transfer: Transfer::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Reads every published file of a snapshot and checks its size and SHA-256, and of the archive every frame: its SHA-256, and
/// that of what it unpacks to. Nothing is written.
pub async fn verify(request: &VerifyRequest, progress: &dyn Progress) -> Result<VerifyReport, RestoreError> {
    progress.update(&Update::start(Phase::Resolve));
    let keys = PinnedKeys::read(&request.trust.keys)?;
    let source = Source::new(request.transfer.clone());
    let resolved = resolve(&source, &keys, &request.source, request.name.as_deref()).await?;
    check_manifest(&resolved.manifest, &request.trust, request.name.as_deref(), request.clock.now())?;
    let archive = archive_of(&resolved.manifest)?;
    let plan = Arc::new(read_plan(&source, &resolved, archive).await?.0);
    let references: Vec<FileRef> = resolved.manifest.referenced_files().collect();
    let total = references.iter().map(|file| file.size).sum();
    let mut check = Check { source: &source, request, progress, done: 0, total };
    let mut files = Vec::new();
    for reference in references {
        let location = resolved.location.join(&reference.url)?;
        let frames = (reference.file == archive.file).then(|| Arc::clone(&plan));
        files.push(check.file(&location, reference, frames).await?);
    }
    Ok(VerifyReport {
        manifest_location: resolved.location.to_string(),
        key_id: resolved.signature.key_id.to_string(),
        trusted_comment: resolved.signature.trusted_comment,
        manifest: resolved.manifest,
        files,
        frames: plan.frames.len() as u64,
    })
}

struct Check<'a> {
    source: &'a Source,
    request: &'a VerifyRequest,
    progress: &'a dyn Progress,
    done: u64,
    total: u64,
}

impl Check<'_> {
    /// Streams one file through a thread that hashes it; a connection that breaks is continued where it broke.
    async fn file(
        &mut self,
        location: &Location,
        reference: FileRef,
        plan: Option<Arc<Plan>>,
    ) -> Result<VerifiedFile, RestoreError> {
        let (chunks, received) = mpsc::channel(WAITING_CHUNKS);
        let file = reference.file.clone();
        let hashing = tokio::task::spawn_blocking(move || hash(&file, received, plan.as_deref()));
        let streamed = self.stream(location, reference.size, &chunks).await;
        drop(chunks);
        let found = hashing.await.map_err(|_| RestoreError::Thread("the thread that hashes"))?;
        // A frame that is wrong ends the stream: it is the cause, not what the stream says of it.
        let found = found?;
        streamed?;
        if found == reference.sha256 {
            return Ok(VerifiedFile { file: reference.file, size_bytes: reference.size, sha256: found });
        }
        let reason = format!("has SHA-256 {found}, the signed manifest says {}", reference.sha256);
        Err(RestoreError::Content { file: reference.file, reason })
    }

    async fn stream(&mut self, location: &Location, size: u64, to: &mpsc::Sender<Bytes>) -> Result<(), RestoreError> {
        let mut at = 0;
        let mut attempts = self.source.attempts();
        while at < size {
            let before = at;
            let Err(error) = self.stream_once(location, &mut at, size, to).await else { break };
            if at - before >= Transfer::MIN_PROGRESS_BYTES {
                attempts.progressed();
            }
            attempts.failed(error).await?;
        }
        Ok(())
    }

    async fn stream_once(
        &mut self,
        location: &Location,
        at: &mut u64,
        size: u64,
        to: &mpsc::Sender<Bytes>,
    ) -> Result<(), crate::source::SourceError> {
        let asked = *at..size;
        let body = self.source.open(location, asked, size).await?;
        // What a server sends again that ignores ranges is passed over.
        let mut again = if body.ranged { 0 } else { *at };
        let mut chunks = Watched::new(body, self.request.transfer.stall_timeout);
        let mut reported = tokio::time::Instant::now();
        while *at < size {
            let mut chunk = chunks.next(&location.to_string()).await?;
            let passed = again.min(chunk.len() as u64);
            again -= passed;
            let chunk = chunk.split_off(passed as usize);
            let chunk = chunk.slice(..chunk.len().min((size - *at) as usize));
            *at += chunk.len() as u64;
            self.done += chunk.len() as u64;
            if to.send(chunk).await.is_err() {
                return Ok(());
            }
            if reported.elapsed() >= INTERVAL || *at == size {
                reported = tokio::time::Instant::now();
                let (done, total) = (self.done, self.total);
                self.progress.update(&Update { phase: Phase::Verify, done, total, resumed: 0 });
            }
        }
        Ok(())
    }
}

/// Hashes a file's chunks and checks its frames as they become whole.
fn hash(file: &str, mut chunks: mpsc::Receiver<Bytes>, plan: Option<&Plan>) -> Result<Sha256, RestoreError> {
    let mut whole = sha2::Sha256::new();
    let mut frames = plan.map(|plan| Frames::new(file, plan));
    while let Some(chunk) = chunks.blocking_recv() {
        whole.update(&chunk);
        if let Some(frames) = &mut frames {
            frames.take(&chunk)?;
        }
    }
    let found = Sha256(whole.finalize().into());
    match frames {
        Some(frames) => frames.finish().map(|()| found),
        None => Ok(found),
    }
}

/// The frames of an archive, checked one after the other, and the seek table behind them.
struct Frames<'a> {
    file: &'a str,
    plan: &'a Plan,
    next: usize,
    buffer: Vec<u8>,
    content: Vec<u8>,
}

impl<'a> Frames<'a> {
    fn new(file: &'a str, plan: &'a Plan) -> Self {
        Self { file, plan, next: 0, buffer: Vec::new(), content: Vec::new() }
    }

    fn take(&mut self, mut chunk: &[u8]) -> Result<(), RestoreError> {
        while let Some(frame) = self.plan.frames.get(self.next) {
            let missing = frame.size as usize - self.buffer.len();
            let (here, rest) = chunk.split_at(chunk.len().min(missing));
            self.buffer.extend_from_slice(here);
            chunk = rest;
            if here.len() < missing {
                return Ok(());
            }
            self.check(frame)?;
            self.buffer.clear();
            self.next += 1;
        }
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    fn check(&mut self, frame: &Frame) -> Result<(), RestoreError> {
        let found = Sha256::of(&self.buffer);
        if found != frame.sha256 {
            return Err(RestoreError::Digest {
                file: self.file.to_owned(),
                frame: self.next,
                offset: frame.offset,
                found: found.to_string(),
                expected: frame.sha256.to_string(),
                attempts: 1,
            });
        }
        let expected = frame.uncompressed_size;
        let broken = |reason| RestoreError::Frame { file: self.file.to_owned(), frame: self.next, expected, reason };
        self.content.clear();
        self.content.reserve_exact(expected.min(MAX_FRAME_BYTES) as usize);
        let size = zstd::bulk::Decompressor::new()
            .and_then(|mut decompressor| decompressor.decompress_to_buffer(&self.buffer, &mut self.content))
            .map_err(|error| broken(error.to_string()))?;
        if size != expected as usize {
            return Err(broken(format!("it unpacks to {size}")));
        }
        match Sha256::of(&self.content) {
            found if found == frame.content_sha256 => Ok(()),
            found => Err(broken(format!("it unpacks to SHA-256 {found}, expected {}", frame.content_sha256))),
        }
    }

    /// Checks that what follows the frames is the seek table of these frames.
    fn finish(self) -> Result<(), RestoreError> {
        let refuse = |reason: &str| RestoreError::Content { file: self.file.to_owned(), reason: reason.to_owned() };
        if self.next < self.plan.frames.len() {
            return Err(refuse("ends before its last frame"));
        }
        let count = self.plan.frames.len();
        let entry = if self.buffer.len() == 17 + count * 8 { 8 } else { 12 };
        let Some((magic, rest)) = self.buffer.split_at_checked(4) else { return Err(refuse("has no seek table")) };
        if magic != SEEK_TABLE_MAGIC || self.buffer.len() != 17 + count * entry {
            return Err(refuse("has no seek table of the right size"));
        }
        let entries = rest[4..].chunks_exact(entry).take(count);
        let is_right = |(frame, entry): (&Frame, &[u8])| {
            entry[..4] == frame.size.to_le_bytes() && entry[4..8] == frame.uncompressed_size.to_le_bytes()
        };
        match self.plan.frames.iter().zip(entries).all(is_right) {
            true => Ok(()),
            false => Err(refuse("has a seek table that differs from its frames index")),
        }
    }
}
