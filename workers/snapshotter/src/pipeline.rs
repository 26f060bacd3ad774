//! The pipeline: one reader, several compressors, one that restores the order and hashes the whole, and the uploads: the
//! `.tar.zst`, and where it is asked for the `.tar.lz4`, out of one reading.
//!
//! Memory is bounded by the number of slots: a frame is read only into a free slot (input and output buffers), and a slot
//! is free again once its frame was handed to the store. The reader takes slots in the order of the frames, so the frame
//! that the upload waits for always has one. An error of any stage closes the channels and with them every other stage;
//! the upload is then dropped unfinished, so nothing of it is ever visible.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use polkashots_shared::frames::Frame;
use polkashots_shared::ids::Sha256;
use polkashots_shared::ports::object_store::{Expected, Upload};
use sha2::Digest;
use tokio::sync::mpsc as async_mpsc;

use crate::compress::{Compressed, Digests, FrameCompressor, ZeroFrame};
use crate::error::ArchiveError;
use crate::layout::Layout;
use crate::lz4;
use crate::reader::{Content, FrameReader};
use crate::seek_table::seek_table;
use crate::settings::Settings;
use crate::walk::Tree;

/// A written archive, not yet visible.
#[derive(Debug)]
pub struct Archived {
    /// Its size in bytes, seek table included.
    pub size: u64,
    /// The SHA-256 of all its bytes.
    pub sha256: Sha256,
    /// Bytes of the tar stream.
    pub uncompressed_size: u64,
    /// Its frames, without the seek table.
    pub frames: Vec<Frame>,
    /// The `.tar.lz4` of the same stream, where one was written.
    pub lz4: Option<Expected>,
}

/// Where the forms of one archive go; the caller finishes them.
pub struct Uploads<'a> {
    /// The `.tar.zst`.
    pub zstd: &'a mut dyn Upload,
    /// The `.tar.lz4`; none is made without.
    pub lz4: Option<&'a mut dyn Upload>,
}

/// Writes the `.tar.zst` of `tree`, and its `.tar.lz4` where there is an upload for it.
///
/// The bytes depend on the tree, the level and the frame size only, not on the number of threads. Dropping the future stops
/// all stages at their next frame.
pub async fn write_archive(
    tree: Arc<Tree>,
    layout: Arc<Layout>,
    settings: Settings,
    mut uploads: Uploads<'_>,
) -> Result<Archived, ArchiveError> {
    let with_lz4 = uploads.lz4.is_some();
    let (free, slots) = channel();
    for _ in 0..settings.slots(with_lz4) {
        let _ = free.send(Slot::default());
    }
    let (ordered, mut chunks) = async_mpsc::channel(1);
    let plan = Plan { tree, layout, settings, with_lz4 };
    let stages = tokio::task::spawn_blocking(move || run_stages(&plan, slots, &ordered));
    let written = upload_all(&mut chunks, &free, &mut uploads).await;
    // Both ends closed: stages that still run stop at their next frame, and no file of the claim stays open.
    drop((chunks, free));
    let ended = stages.await;
    let archived = written?;
    ended.map_err(|_| ArchiveError::Stopped)?;
    Ok(archived)
}

/// What all stages work on.
struct Plan {
    tree: Arc<Tree>,
    layout: Arc<Layout>,
    settings: Settings,
    with_lz4: bool,
}

/// The buffers of one frame in flight.
#[derive(Debug, Default)]
struct Slot {
    input: Vec<u8>,
    output: Compressed,
}

/// A frame that was read.
struct Job {
    frame: usize,
    content: Content,
    length: u32,
    slot: Slot,
}

/// A frame that was compressed.
struct Done {
    frame: usize,
    digests: Digests,
    slot: Slot,
}

/// What reaches the upload, in order.
enum Chunk {
    Start { lz4_header: Vec<u8> },
    Frame(Slot),
    End { seek_table: Vec<u8>, archived: Archived },
}

type Ordered = async_mpsc::Sender<Result<Chunk, ArchiveError>>;

async fn upload_all(
    chunks: &mut async_mpsc::Receiver<Result<Chunk, ArchiveError>>,
    free: &Sender<Slot>,
    uploads: &mut Uploads<'_>,
) -> Result<Archived, ArchiveError> {
    while let Some(chunk) = chunks.recv().await {
        match chunk? {
            Chunk::Start { lz4_header } => drop(uploads.write_lz4(lz4_header).await?),
            Chunk::Frame(Slot { input, output: Compressed { zstd, lz4 } }) => {
                let zstd = write(uploads.zstd, zstd).await?;
                let output = Compressed { zstd, lz4: uploads.write_lz4(lz4).await? };
                // The reader may have read its last frame and be gone.
                let _ = free.send(Slot { input, output });
            }
            Chunk::End { seek_table, archived } => {
                write(uploads.zstd, seek_table).await?;
                uploads.write_lz4(lz4::END.into()).await?;
                return Ok(archived);
            }
        }
    }
    Err(ArchiveError::Stopped)
}

impl Uploads<'_> {
    async fn write_lz4(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, ArchiveError> {
        match &mut self.lz4 {
            Some(upload) => write(*upload, bytes).await,
            None => Ok(bytes),
        }
    }
}

/// Returns the buffer, or a new one where the adapter keeps the bytes and the buffer with them.
async fn write(upload: &mut dyn Upload, buffer: Vec<u8>) -> Result<Vec<u8>, ArchiveError> {
    let bytes = Bytes::from(buffer);
    upload.write(bytes.clone()).await?;
    Ok(bytes.try_into_mut().map(Vec::from).unwrap_or_default())
}

/// Runs the reader, the compressors and, on this thread, the sequencer.
fn run_stages(plan: &Plan, slots: Receiver<Slot>, ordered: &Ordered) {
    let zero_frame = ZeroFrame::default();
    let (jobs, to_compress) = channel();
    let to_compress = Mutex::new(to_compress);
    let (done, compressed) = channel();
    std::thread::scope(|scope| {
        let reader_done = Report(done.clone());
        scope.spawn(move || read_all(&plan.tree, &plan.layout, &slots, &jobs, &reader_done));
        for _ in 0..plan.settings.threads {
            let (report, to_compress, zero_frame) = (Report(done.clone()), &to_compress, &zero_frame);
            scope.spawn(move || compress_all(plan, zero_frame, to_compress, &report));
        }
        drop(done);
        let last = put_in_order(plan, compressed, ordered);
        // Fails only if the upload ended first, for a reason of its own.
        let _ = ordered.blocking_send(last);
    });
}

/// A stage's way to the sequencer; a stage that panics says so, or its frame would be waited for for ever.
struct Report(Sender<Result<Done, ArchiveError>>);

impl Drop for Report {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(Err(ArchiveError::Stopped));
        }
    }
}

fn read_all(tree: &Tree, layout: &Layout, slots: &Receiver<Slot>, jobs: &Sender<Job>, report: &Report) {
    let mut reader = FrameReader::new(tree, layout);
    let mut start = 0;
    for (frame, &end) in layout.frame_ends.iter().enumerate() {
        let Ok(mut slot) = slots.recv() else { return };
        let content = match reader.read_frame(end, &mut slot.input) {
            Ok(content) => content,
            Err(error) => {
                let _ = report.0.send(Err(error));
                return;
            }
        };
        let length = (end - start) as u32;
        start = end;
        if jobs.send(Job { frame, content, length, slot }).is_err() {
            return;
        }
    }
}

fn compress_all(plan: &Plan, zero_frame: &ZeroFrame, jobs: &Mutex<Receiver<Job>>, report: &Report) {
    let opened = FrameCompressor::new(&plan.settings, plan.with_lz4, zero_frame);
    let mut compressor = match opened {
        Ok(compressor) => compressor,
        Err(source) => {
            let _ = report.0.send(Err(ArchiveError::Compress { frame: 0, source }));
            return;
        }
    };
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { frame, content, length, slot: Slot { mut input, mut output } }) = job else { return };
        let compressed = compressor.compress(frame, (content, length), &mut input, &mut output).map(|digests| Done {
            frame,
            digests,
            slot: Slot { input, output },
        });
        let failed = compressed.is_err();
        if report.0.send(compressed).is_err() || failed {
            return;
        }
    }
}

/// Hands frames on in order, hashing the whole, and ends with the seek table.
fn put_in_order(
    plan: &Plan,
    compressed: Receiver<Result<Done, ArchiveError>>,
    ordered: &Ordered,
) -> Result<Chunk, ArchiveError> {
    let hand_on = |chunk| ordered.blocking_send(Ok(chunk)).map_err(|_| ArchiveError::Stopped);
    let frame_count = plan.layout.frame_ends.len();
    let mut frames = Vec::with_capacity(frame_count);
    let mut early = BTreeMap::new();
    let (mut zstd, mut lz4) = (Whole::default(), plan.with_lz4.then(Whole::default));
    if let Some(lz4) = &mut lz4 {
        let lz4_header = lz4::header().map_err(|source| ArchiveError::Compress { frame: 0, source })?;
        lz4.add(&lz4_header);
        hand_on(Chunk::Start { lz4_header })?;
    }
    while frames.len() < frame_count {
        let Done { frame, digests, slot } = compressed.recv().map_err(|_| ArchiveError::Stopped)??;
        early.insert(frame, (digests, slot));
        while let Some((digests, slot)) = early.remove(&frames.len()) {
            frames.push(frame_at(zstd.size, slot.output.zstd.len(), &digests));
            zstd.add(&slot.output.zstd);
            if let Some(lz4) = &mut lz4 {
                lz4.add(&slot.output.lz4);
            }
            hand_on(Chunk::Frame(slot))?;
        }
    }
    let seek_table = seek_table(&frames)?;
    zstd.add(&seek_table);
    let Expected { size, sha256 } = zstd.end();
    let lz4 = lz4.map(|mut lz4| {
        lz4.add(&lz4::END);
        lz4.end()
    });
    let archived = Archived { size, sha256, uncompressed_size: plan.layout.size, frames, lz4 };
    Ok(Chunk::End { seek_table, archived })
}

/// The size and digest of one form of the archive, as far as it is handed on.
#[derive(Default)]
struct Whole {
    hasher: sha2::Sha256,
    size: u64,
}

impl Whole {
    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }

    fn end(self) -> Expected {
        Expected { size: self.size, sha256: Sha256(self.hasher.finalize().into()) }
    }
}

fn frame_at(offset: u64, size: usize, digests: &Digests) -> Frame {
    Frame {
        offset,
        size: size as u32,
        uncompressed_size: digests.uncompressed_size,
        sha256: digests.sha256,
        content_sha256: digests.content_sha256,
    }
}
