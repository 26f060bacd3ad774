//! The threads that verify, decompress and write frames.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use polkashots_shared::ids::Sha256;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

use super::buffers::Buffers;
use crate::error::RestoreError;
use crate::staging::{OpenFile, Staging};

/// Most bytes of decompressed frames in memory, over all threads; one thread there is in any case.
const DECOMPRESSED_BYTES: usize = 64 * 1024 * 1024;

/// A compressed frame as it came in.
pub struct Compressed {
    /// Which frame.
    pub frame: usize,
    /// Its bytes, as many as the plan says.
    pub bytes: Vec<u8>,
    /// Which of the archive's places sent it.
    pub place: usize,
    /// Its room in the window, given back when it was dealt with.
    pub room: Option<OwnedSemaphorePermit>,
}

/// What became of a frame.
pub struct Finished {
    /// Which frame.
    pub frame: usize,
    /// Which of the archive's places sent it.
    pub place: usize,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a frame.
pub enum Verdict {
    /// It is written.
    Written,
    /// It has another digest than the plan says; nothing of it was decompressed or written.
    Mismatch(Sha256),
    /// It has the right digest but does not unpack as the plan says; nothing of it was written.
    Broken(String),
    /// It cannot be written.
    Failed(RestoreError),
}

/// Hands frames to the threads.
#[derive(Clone)]
pub struct Sender(mpsc::Sender<Compressed>);

impl Sender {
    /// Hands over a frame. The window bounds how many wait; threads that are gone have said so in their results.
    pub fn send(&self, frame: Compressed) {
        if self.0.send(frame).is_err() {
            tracing::debug!("the threads have ended");
        }
    }
}

/// Running threads; they end when this and every sender is dropped.
pub struct Threads(Sender);

impl Threads {
    /// Starts `threads` of them, or one per core, as far as memory allows.
    pub fn start(
        staging: &Arc<Staging>,
        buffers: &Arc<Buffers>,
        threads: Option<NonZeroUsize>,
        results: UnboundedSender<Finished>,
    ) -> Result<Self, RestoreError> {
        let (sender, receiver) = mpsc::channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let most = (DECOMPRESSED_BYTES / staging.plan().largest_frame().max(1)).max(1);
        for number in 0..threads.unwrap_or(cores).get().min(most) {
            let (staging, receiver, results) = (Arc::clone(staging), Arc::clone(&receiver), results.clone());
            let buffers = Arc::clone(buffers);
            std::thread::Builder::new()
                .name(format!("restore-{number}"))
                .spawn(move || work(&staging, &receiver, &buffers, &results))
                .map_err(|_| RestoreError::Thread("a thread that writes frames"))?;
        }
        Ok(Self(Sender(sender)))
    }

    /// A way to hand frames to them.
    pub fn sender(&self) -> Sender {
        self.0.clone()
    }
}

fn work(
    staging: &Staging,
    frames: &Mutex<mpsc::Receiver<Compressed>>,
    buffers: &Buffers,
    results: &UnboundedSender<Finished>,
) {
    let mut unpacker = Unpacker::default();
    let mut open = OpenFile::default();
    loop {
        let next = frames.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Compressed { frame, bytes, place, room }) = next else { return };
        if results.is_closed() {
            return;
        }
        let guard = Guard { results, frame, place };
        let verdict = match unpacker.unpack(staging, frame, &bytes) {
            Ok(content) => match staging.write_frame(frame, content, &mut open) {
                Ok(()) => Verdict::Written,
                Err(error) => Verdict::Failed(error),
            },
            Err(verdict) => verdict,
        };
        buffers.give(bytes);
        drop((room, guard));
        if results.send(Finished { frame, place, verdict }).is_err() {
            return;
        }
    }
}

/// Says so when a thread panics over a frame, which would be waited for otherwise.
struct Guard<'a> {
    results: &'a UnboundedSender<Finished>,
    frame: usize,
    place: usize,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let verdict = Verdict::Failed(RestoreError::Thread("a thread that writes frames"));
            // Nobody listens where the restore was dropped.
            let _ = self.results.send(Finished { frame: self.frame, place: self.place, verdict });
        }
    }
}

/// Verifies and decompresses frames into a buffer that is used again.
#[derive(Default)]
struct Unpacker {
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    buffer: Vec<u8>,
}

impl Unpacker {
    fn unpack(&mut self, staging: &Staging, frame: usize, bytes: &[u8]) -> Result<&[u8], Verdict> {
        let expected = &staging.plan().frames[frame];
        let found = Sha256::of(bytes);
        if found != expected.sha256 {
            return Err(Verdict::Mismatch(found));
        }
        self.decompress(bytes, expected.uncompressed_size as usize).map_err(Verdict::Broken)?;
        Ok(&self.buffer)
    }

    /// Fills the buffer with exactly `size` bytes; never writes more, whatever the frame holds.
    fn decompress(&mut self, bytes: &[u8], size: usize) -> Result<(), String> {
        let mut decompressor = match self.decompressor.take() {
            Some(decompressor) => decompressor,
            None => zstd::bulk::Decompressor::new().map_err(|error| error.to_string())?,
        };
        self.buffer.clear();
        self.buffer.reserve_exact(size);
        let result = decompressor.decompress_to_buffer(bytes, &mut self.buffer);
        self.decompressor = Some(decompressor);
        match result {
            Ok(found) if found == size => Ok(()),
            Ok(found) => Err(format!("it unpacks to {found}")),
            Err(error) => Err(error.to_string()),
        }
    }
}
