//! Reading published files of this machine.

use std::io;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{Body, Fetched, Location, SourceError, Whole};

/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Reads a file whole, of at most `max_bytes`.
pub async fn get(path: &Path, max_bytes: u64) -> Result<Fetched, SourceError> {
    let file = open_file(path).await?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).await.map_err(|error| io_error(path, error))?;
    if bytes.len() as u64 > max_bytes {
        return Err(SourceError::TooLarge { location: path.display().to_string(), max_bytes });
    }
    Ok(Fetched { bytes, location: Location::File(path.to_owned()) })
}

/// Starts to read `range` of a file that must have `size` bytes.
pub async fn open(path: &Path, range: Range<u64>, size: u64) -> Result<Body, SourceError> {
    let mut file = open_file(path).await?;
    let found_bytes = file.metadata().await.map_err(|error| io_error(path, error))?.len();
    if found_bytes != size {
        let location = path.display().to_string();
        return Err(SourceError::WrongSize { location, expected_bytes: size, found_bytes });
    }
    file.seek(io::SeekFrom::Start(range.start)).await.map_err(|error| io_error(path, error))?;
    file.set_max_buf_size(CHUNK_BYTES);
    let path = path.to_owned();
    let state = (file, range.end - range.start, path);
    let chunks = futures::stream::try_unfold(state, |(mut file, left, path)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut buffer = vec![0; (left as usize).min(CHUNK_BYTES)];
        let read = file.read(&mut buffer).await.map_err(|error| io_error(&path, error))?;
        if read == 0 {
            return Err(io_error(&path, io::ErrorKind::UnexpectedEof.into()));
        }
        buffer.truncate(read);
        Ok(Some((Bytes::from(buffer), (file, left - read as u64, path))))
    });
    Ok(Body { ranged: true, chunks: chunks.boxed() })
}

/// Starts to read a file from byte `from` to its end.
pub async fn open_whole(path: &Path, from: u64) -> Result<Whole, SourceError> {
    let found = open_file(path).await?.metadata().await.map_err(|error| io_error(path, error))?;
    let size = found.len();
    let body = open(path, from.min(size)..size, size).await?;
    Ok(Whole { start: from.min(size), size: Some(size), validator: None, chunks: body.chunks })
}

async fn open_file(path: &Path) -> Result<File, SourceError> {
    let file = File::open(path).await.map_err(|error| io_error(path, error))?;
    let metadata = file.metadata().await.map_err(|error| io_error(path, error))?;
    if metadata.is_file() {
        return Ok(file);
    }
    Err(SourceError::Protocol { location: path.display().to_string(), reason: "not a regular file".into() })
}

fn io_error(path: &Path, source: io::Error) -> SourceError {
    let location = path.display().to_string();
    match source.kind() {
        io::ErrorKind::NotFound => SourceError::NotFound { location },
        _ => SourceError::Io { location, source },
    }
}
