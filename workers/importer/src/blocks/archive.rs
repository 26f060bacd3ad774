//! The archive of blocks: fetched to a file without a name, then checked to the last byte.

use std::fs::File;
use std::io::{self, BufReader, Seek, Write};

use polkashots_shared::block_stream::{self, Range, StreamError};
use polkashots_shared::ids::Sha256;
use polkashots_shared::manifest::Artifact;
use sha2::Digest;

use super::{BlocksError, BlocksRequest};
use crate::progress::{Phase, Progress, Update};
use crate::request::Transfer;
use crate::source::{Location, Source, SourceError};
use crate::transfer::Watched;

/// An archive that was fetched; nothing of it is believed yet.
pub struct Archive {
    file: File,
    name: String,
    sha256: Sha256,
}

/// An archive whose blocks are those that the manifest says.
pub struct Checked(File);

impl Archive {
    /// Fetches the whole archive beside the node's data; a connection that breaks is continued where it broke.
    pub async fn fetch(
        source: &Source,
        location: &Location,
        artifact: &Artifact,
        request: &BlocksRequest,
        progress: &dyn Progress,
    ) -> Result<Self, BlocksError> {
        let folder = &request.base_path;
        let failed = |source| BlocksError::Io { path: folder.clone(), source };
        let mut fetch =
            Fetch { source, location, request, file: tempfile::tempfile_in(folder).map_err(failed)?, at: 0, progress };
        let mut attempts = source.attempts();
        let mut digest = sha2::Sha256::new();
        while fetch.at < artifact.size {
            let before = fetch.at;
            let error = match fetch.once(artifact.size, &mut digest).await {
                Ok(()) => break,
                Err(Stopped::Source(error)) => error,
                Err(Stopped::Io(error)) => return Err(failed(error)),
            };
            if fetch.at - before >= Transfer::MIN_PROGRESS_BYTES {
                attempts.progressed();
            }
            attempts.failed(error).await?;
        }
        let (found, expected) = (Sha256(digest.finalize().into()), artifact.sha256);
        if found != expected {
            return Err(BlocksError::Digest { file: artifact.file.clone(), found, expected });
        }
        Ok(Self { file: fetch.file, name: artifact.file.clone(), sha256: found })
    }

    /// Walks all blocks and checks them against `range`.
    pub async fn check(self, range: Range) -> Result<Checked, BlocksError> {
        let Self { mut file, name, sha256 } = self;
        let checked = tokio::task::spawn_blocking(move || {
            let failed = |source| StreamError::Read { number: 1, source };
            block_stream::check(unpacked(&mut file).map_err(failed)?, &range).map(|()| file)
        });
        let checked = checked.await.map_err(|_| BlocksError::Thread)?;
        let file = checked.map_err(|source| BlocksError::Blocks { file: name.clone(), source })?;
        tracing::info!(file = name, %sha256, height = range.last.height, "blocks checked");
        Ok(Checked(file))
    }
}

impl Checked {
    /// Writes the unpacked blocks to `to`; what was checked is read again from the same file, which nobody else can open.
    pub fn unpack(mut self, mut to: impl Write) -> io::Result<u64> {
        io::copy(&mut unpacked(&mut self.0)?, &mut to)
    }
}

fn unpacked(file: &mut File) -> io::Result<zstd::Decoder<'static, BufReader<File>>> {
    file.rewind()?;
    zstd::Decoder::new(file.try_clone()?)
}

struct Fetch<'f> {
    source: &'f Source,
    location: &'f Location,
    request: &'f BlocksRequest,
    file: File,
    at: u64,
    progress: &'f dyn Progress,
}

/// Why a fetch stopped early.
enum Stopped {
    Source(SourceError),
    Io(io::Error),
}

impl Fetch<'_> {
    async fn once(&mut self, size: u64, digest: &mut sha2::Sha256) -> Result<(), Stopped> {
        let body = self.source.open(self.location, self.at..size, size).await.map_err(Stopped::Source)?;
        // What a server sends again that ignores ranges is passed over.
        let mut again = if body.ranged { 0 } else { self.at };
        let mut chunks = Watched::new(body, self.request.transfer.stall_timeout);
        while self.at < size {
            let mut chunk = chunks.next(&self.location.to_string()).await.map_err(Stopped::Source)?;
            let passed = again.min(chunk.len() as u64);
            again -= passed;
            let chunk = chunk.split_off(passed as usize);
            let chunk = chunk.slice(..chunk.len().min((size - self.at) as usize));
            tokio::task::block_in_place(|| {
                digest.update(&chunk);
                self.file.write_all(&chunk)
            })
            .map_err(Stopped::Io)?;
            self.at += chunk.len() as u64;
            self.progress.update(&Update { phase: Phase::Transfer, done: self.at, total: size, resumed: 0 });
        }
        Ok(())
    }
}
