//! The pipeline: one reader, several compressors, one that restores the order and hashes the whole, and the upload.
//!
//! Memory is bounded by the number of slots: a frame is read only into a free slot (input and output buffer), and a slot
//! is free again once its frame was handed to the store. The reader takes slots in the order of the frames, so the frame
//! that the upload waits for always has one. An error of any stage closes the channels and with them every other stage;
//! the upload is then dropped unfinished, so nothing of it is ever visible.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use polkashots_shared::frames::Frame;
use polkashots_shared::ids::Sha256;
use polkashots_shared::ports::object_store::Upload;
use sha2::Digest;
use tokio::sync::mpsc as async_mpsc;

use crate::compress::{Digests, FrameCompressor, ZeroFrame};
use crate::error::ArchiveError;
use crate::layout::Layout;
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
}

/// Writes the `.tar.zst` of `tree` to `upload`, which the caller finishes.
///
/// The bytes depend on the tree, the level and the frame size only, not on the number of threads. Dropping the future stops
/// all stages at their next frame.
pub async fn write_archive(
    tree: Arc<Tree>,
    layout: Arc<Layout>,
    settings: Settings,
    upload: &mut dyn Upload,
) -> Result<Archived, ArchiveError> {
    let (free, slots) = channel();
    for _ in 0..settings.slots() {
        let _ = free.send(Slot::default());
    }
    let (ordered, mut chunks) = async_mpsc::channel(1);
    let stages = tokio::task::spawn_blocking(move || run_stages(&tree, &layout, &settings, slots, &ordered));
    let written = upload_all(&mut chunks, &free, upload).await;
    // Both ends closed: stages that still run stop at their next frame, and no file of the claim stays open.
    drop((chunks, free));
    let ended = stages.await;
    let archived = written?;
    ended.map_err(|_| ArchiveError::Stopped)?;
    Ok(archived)
}

/// The buffers of one frame in flight.
#[derive(Debug, Default)]
struct Slot {
    input: Vec<u8>,
    output: Vec<u8>,
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
    Frame(Slot),
    End { seek_table: Vec<u8>, archived: Archived },
}

type Ordered = async_mpsc::Sender<Result<Chunk, ArchiveError>>;

async fn upload_all(
    chunks: &mut async_mpsc::Receiver<Result<Chunk, ArchiveError>>,
    free: &Sender<Slot>,
    upload: &mut dyn Upload,
) -> Result<Archived, ArchiveError> {
    while let Some(chunk) = chunks.recv().await {
        match chunk? {
            Chunk::Frame(Slot { input, output }) => {
                let bytes = Bytes::from(output);
                upload.write(bytes.clone()).await?;
                // An adapter that keeps the bytes keeps the buffer too; the slot then gets a new one.
                let output = bytes.try_into_mut().map(Vec::from).unwrap_or_default();
                // The reader may have read its last frame and be gone.
                let _ = free.send(Slot { input, output });
            }
            Chunk::End { seek_table, archived } => {
                upload.write(seek_table.into()).await?;
                return Ok(archived);
            }
        }
    }
    Err(ArchiveError::Stopped)
}

/// Runs the reader, the compressors and, on this thread, the sequencer.
fn run_stages(tree: &Tree, layout: &Layout, settings: &Settings, slots: Receiver<Slot>, ordered: &Ordered) {
    let zero_frame = ZeroFrame::default();
    let (jobs, to_compress) = channel();
    let to_compress = Mutex::new(to_compress);
    let (done, compressed) = channel();
    std::thread::scope(|scope| {
        let reader_done = Report(done.clone());
        scope.spawn(move || read_all(tree, layout, &slots, &jobs, &reader_done));
        for _ in 0..settings.threads {
            let (report, to_compress, zero_frame) = (Report(done.clone()), &to_compress, &zero_frame);
            scope.spawn(move || compress_all(settings, zero_frame, to_compress, &report));
        }
        drop(done);
        let last = put_in_order(layout, compressed, ordered);
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

fn compress_all(settings: &Settings, zero_frame: &ZeroFrame, jobs: &Mutex<Receiver<Job>>, report: &Report) {
    let opened = FrameCompressor::new(settings.level, settings.frame_size, zero_frame);
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
    layout: &Layout,
    compressed: Receiver<Result<Done, ArchiveError>>,
    ordered: &Ordered,
) -> Result<Chunk, ArchiveError> {
    let mut frames = Vec::with_capacity(layout.frame_ends.len());
    let mut early = BTreeMap::new();
    let mut whole = sha2::Sha256::new();
    let mut offset = 0;
    while frames.len() < layout.frame_ends.len() {
        let Done { frame, digests, slot } = compressed.recv().map_err(|_| ArchiveError::Stopped)??;
        early.insert(frame, (digests, slot));
        while let Some((digests, slot)) = early.remove(&frames.len()) {
            whole.update(&slot.output);
            frames.push(frame_at(offset, slot.output.len(), &digests));
            offset += slot.output.len() as u64;
            ordered.blocking_send(Ok(Chunk::Frame(slot))).map_err(|_| ArchiveError::Stopped)?;
        }
    }
    let seek_table = seek_table(&frames)?;
    whole.update(&seek_table);
    let archived = Archived {
        size: offset + seek_table.len() as u64,
        sha256: Sha256(whole.finalize().into()),
        uncompressed_size: layout.size,
        frames,
    };
    Ok(Chunk::End { seek_table, archived })
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
