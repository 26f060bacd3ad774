//! Reading a frames index with limits: its size before and after decompression, and the number of its entries.

use std::fmt;
use std::io::Read;
use std::marker::PhantomData;

use polkashots_shared::frames::{FileEntry, Frame, FramesIndex, MAX_ENTRIES, MAX_JSON_BYTES};
use polkashots_shared::ids::{Sha256, TargetId, Version};
use polkashots_shared::manifest::FileRef;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{MAX_FRAMES, PlanError};

/// The largest window of a compressed frames index, as a power of two.
const MAX_WINDOW_LOG: u32 = 27;

/// Reads the compressed frames index that `reference` names, after a look at its SHA-256.
///
/// The JSON is never held in memory as text.
pub fn read_index(bytes: &[u8], reference: &FileRef) -> Result<FramesIndex, PlanError> {
    let refuse = |reason: String| PlanError { name: reference.file.clone(), reason };
    let found = (bytes.len() as u64, Sha256::of(bytes));
    if found != (reference.size, reference.sha256) {
        let expected = format!("{} bytes of SHA-256 {}", reference.size, reference.sha256);
        return Err(refuse(format!("has {} bytes of SHA-256 {}, expected {expected}", found.0, found.1)));
    }
    let mut decoder = zstd::Decoder::new(bytes).map_err(|error| refuse(error.to_string()))?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(|error| refuse(error.to_string()))?;
    let limited = Limited { inner: decoder, left: MAX_JSON_BYTES };
    let raw: Raw = serde_json::from_reader(std::io::BufReader::with_capacity(64 * 1024, limited))
        .map_err(|error| refuse(error.to_string()))?;
    Ok(raw.into())
}

struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| std::io::Error::other(format!("more than {MAX_JSON_BYTES} bytes of JSON")))?;
        Ok(read)
    }
}

/// [`FramesIndex`] with lists that stop growing at their limit.
#[derive(Deserialize)]
struct Raw {
    schema: u32,
    target: TargetId,
    version: Version,
    artifact: String,
    uncompressed_size: u64,
    frames: Capped<Frame, MAX_FRAMES>,
    directories: Capped<String, MAX_ENTRIES>,
    files: Capped<FileEntry, MAX_ENTRIES>,
}

impl From<Raw> for FramesIndex {
    fn from(raw: Raw) -> Self {
        Self {
            schema: raw.schema,
            target: raw.target,
            version: raw.version,
            artifact: raw.artifact,
            uncompressed_size: raw.uncompressed_size,
            frames: raw.frames.0,
            directories: raw.directories.0,
            files: raw.files.0,
        }
    }
}

/// A list of at most `MOST` entries.
struct Capped<T, const MOST: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Capped<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_seq(CappedVisitor(PhantomData))
    }
}

struct CappedVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for CappedVisitor<T, MOST> {
    type Value = Capped<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST} entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            if list.len() >= MOST {
                return Err(serde::de::Error::custom(format!("more than {MOST} entries")));
            }
            list.push(entry);
        }
        Ok(Capped(list))
    }
}
