//! `<version>.blocks.zst`: the chain's own node exports its blocks, and every byte of what it says is checked.
//!
//! A node exits with 0 after a wrong export too (a range beyond the head, an empty database), so neither its exit code nor
//! its words are believed: [`block_stream`] checks the blocks. The node runs on a throw-away copy, see [`copy`].

mod copy;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use polkashots_shared::block_stream::{self, Range, StreamError};
use polkashots_shared::ids::Sha256;
use polkashots_shared::node::Node;
use polkashots_shared::ports::chain_database::{DatabaseLocation, Identity};
use polkashots_shared::ports::object_store::{StoreError, Upload};
use polkashots_shared::settings::in_words;
use polkashots_shared::target::Target;
use sha2::Digest;
use tokio::sync::mpsc;
use zstd::zstd_safe::CParameter;

use self::copy::CopyError;

/// Bytes of blocks in one zstd frame.
const FRAME_BYTES: usize = 4 * 1024 * 1024;
/// Bytes asked of the node's output at once.
const READ_BYTES: usize = 256 * 1024;

/// The chain's own node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exporter {
    /// Its binary.
    pub binary: PathBuf,
    /// What it takes as `--chain`; none means the name of the target's chain.
    pub chain: Option<String>,
    /// How long an export may take.
    pub deadline: Duration,
}

/// An export that was written to an upload, not yet visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Its compressed size in bytes.
    pub size: u64,
    /// The SHA-256 of its compressed bytes.
    pub sha256: Sha256,
    /// Bytes of the export itself.
    pub uncompressed_size: u64,
}

/// Says why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum BlocksError {
    /// The node's database could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The node could not be run.
    #[error("run {}: {source}: set --node-binary to a node of this machine's kind", binary.display())]
    Run {
        /// Its binary.
        binary: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The node failed.
    #[error("{} ended with {status}: {said}", binary.display())]
    Failed {
        /// Its binary.
        binary: PathBuf,
        /// How it ended.
        status: String,
        /// Its last words.
        said: String,
    },
    /// The export is not the range that was asked for.
    #[error("{} wrote a wrong export: {source}; it said: {said}", binary.display())]
    Wrong {
        /// Its binary.
        binary: PathBuf,
        /// What is wrong with it.
        source: StreamError,
        /// Its last words.
        said: String,
    },
    /// The export was not done in time.
    #[error("{} was not done within {}: see what it says when run by hand, or raise --export-deadline", binary.display(), in_words(*deadline))]
    Deadline {
        /// Its binary.
        binary: PathBuf,
        /// The time that it had.
        deadline: Duration,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stage ended without a word, because it panicked.
    #[error("a stage of the export ended unexpectedly: this is a bug in polkashots")]
    Stopped,
}

impl BlocksError {
    /// True where the same run may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Copy(error) => error.is_transient(),
            Self::Store(error) => error.is_transient(),
            Self::Failed { .. } | Self::Stopped => true,
            Self::Run { .. } | Self::Wrong { .. } | Self::Deadline { .. } => false,
        }
    }
}

impl Exporter {
    /// Writes blocks 1 to the finalized one to `upload`, which the caller finishes.
    ///
    /// Dropping the future kills the node. The database at `location` is not changed.
    pub async fn export(
        &self,
        target: &Target,
        (location, identity): (&DatabaseLocation, &Identity),
        upload: &mut dyn Upload,
    ) -> Result<Exported, BlocksError> {
        let (copied, chain_id) = (location.clone(), target.chain.id.clone());
        let base = tokio::task::spawn_blocking(move || copy::copy(&copied, &chain_id));
        let base = base.await.map_err(|_| BlocksError::Stopped)??;
        let arguments = self.arguments(target, base.path(), identity);
        let range = Range { genesis: identity.genesis_hash, last: identity.finalized };
        let exported = self.run(&arguments, range, target.compression.level, upload);
        let exported = tokio::time::timeout(self.deadline, exported).await;
        exported.unwrap_or_else(|_| Err(BlocksError::Deadline { binary: self.binary.clone(), deadline: self.deadline }))
    }

    fn arguments(&self, target: &Target, base_path: &Path, identity: &Identity) -> Vec<String> {
        let chain = self.chain.clone().unwrap_or_else(|| target.chain.name.clone());
        let base_path = base_path.display().to_string();
        let to = identity.finalized.height.to_string();
        let database = target.database.to_string();
        let options = [
            ("--chain", chain),
            ("--base-path", base_path),
            ("--database", database),
            ("--from", "1".into()),
            ("--to", to),
        ];
        let named = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        ["export-blocks", "--binary"].into_iter().map(str::to_owned).chain(named).collect()
    }

    async fn run(
        &self,
        arguments: &[String],
        range: Range,
        level: i32,
        upload: &mut dyn Upload,
    ) -> Result<Exported, BlocksError> {
        let failed = |source| BlocksError::Run { binary: self.binary.clone(), source };
        let (mut node, stdout) = Node::start(&self.binary, arguments).map_err(failed)?;
        let (frames, mut received) = mpsc::channel(2);
        let checking = tokio::task::spawn_blocking(move || check_and_compress(stdout, &range, level, frames));
        let mut written = Written::default();
        while let Some(frame) = received.recv().await {
            written.add(&frame);
            upload.write(frame).await?;
        }
        let checked = checking.await.map_err(|_| BlocksError::Stopped)?;
        if !matches!(checked, Ok(_) | Err(StreamError::Short { .. })) {
            // It may go on writing what nobody reads. One whose output ended says itself how it fared.
            node.kill();
        }
        let (status, said) = node.wait().await.map_err(failed)?;
        let binary = self.binary.clone();
        match checked {
            Ok(_) | Err(StreamError::Short { .. }) if !status.success() => {
                Err(BlocksError::Failed { binary, status: status.to_string(), said })
            }
            Err(source) => Err(BlocksError::Wrong { binary, source, said }),
            Ok(uncompressed_size) => Ok(written.end(uncompressed_size)),
        }
    }
}

/// What went to the upload so far.
#[derive(Default)]
struct Written {
    size: u64,
    hasher: sha2::Sha256,
}

impl Written {
    fn add(&mut self, frame: &Bytes) {
        self.size += frame.len() as u64;
        self.hasher.update(frame);
    }

    fn end(self, uncompressed_size: u64) -> Exported {
        Exported { size: self.size, sha256: Sha256(self.hasher.finalize().into()), uncompressed_size }
    }
}

/// Checks the stream while it is cut into frames; returns its length.
fn check_and_compress(
    stdout: File,
    range: &Range,
    level: i32,
    frames: mpsc::Sender<Bytes>,
) -> Result<u64, StreamError> {
    let failed = |source| StreamError::Read { number: range.last.height.into(), source };
    let mut tee = Tee::new(stdout, level, frames).map_err(failed)?;
    block_stream::check(BufReader::with_capacity(READ_BYTES, &mut tee), range)?;
    tee.flush().map_err(failed)?;
    Ok(tee.size)
}

/// Hands on what is read, compressed, frame by frame.
struct Tee {
    inner: File,
    frame: Vec<u8>,
    compressor: zstd::bulk::Compressor<'static>,
    frames: mpsc::Sender<Bytes>,
    size: u64,
}

impl Tee {
    fn new(inner: File, level: i32, frames: mpsc::Sender<Bytes>) -> io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(level)?;
        compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self { inner, frame: Vec::with_capacity(FRAME_BYTES), compressor, frames, size: 0 })
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let compressed = self.compressor.compress(&self.frame)?;
        self.frame.clear();
        let gone = |_| io::Error::other("the upload ended first");
        self.frames.blocking_send(compressed.into()).map_err(gone)
    }
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = (FRAME_BYTES - self.frame.len()).min(buffer.len());
        let read = self.inner.read(&mut buffer[..room])?;
        self.frame.extend_from_slice(&buffer[..read]);
        self.size += read as u64;
        if self.frame.len() == FRAME_BYTES {
            self.flush()?;
        }
        Ok(read)
    }
}
