//! The objects of a bucket and the rules that hold for them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SubsecRound, Utc};

/// The most objects that one request composes.
const MAX_COMPOSED: usize = 32;
/// Larger pieces are kept on disk.
const IN_MEMORY_BYTES: usize = 1024 * 1024;

/// One object.
#[derive(Debug, Clone)]
pub struct StoredObject {
    pub generation: i64,
    pub size: u64,
    pub crc32c: u32,
    pub content_type: String,
    pub cache_control: String,
    pub metadata: HashMap<String, String>,
    pub created: DateTime<Utc>,
    pieces: Vec<Piece>,
}

/// What a new object shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewObject {
    pub name: String,
    pub content_type: String,
    pub cache_control: String,
    pub metadata: HashMap<String, String>,
    /// The checksum that the client announced.
    pub crc32c: Option<u32>,
    pub if_generation_match: Option<i64>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    NotFound(String),
    PreconditionFailed(String),
    Invalid(String),
    Internal(String),
}

/// A piece of an object's content; composing shares the pieces.
#[derive(Debug, Clone)]
enum Piece {
    Memory(Bytes),
    Disk(Arc<File>, u64),
}

/// A bucket.
#[derive(Debug, Default)]
pub struct Bucket {
    objects: BTreeMap<String, StoredObject>,
    last_generation: i64,
}

impl Bucket {
    pub fn get(&self, name: &str) -> Option<&StoredObject> {
        self.objects.get(name)
    }

    pub fn find(&self, name: &str) -> Result<&StoredObject, Refusal> {
        self.get(name).ok_or_else(|| Refusal::NotFound(name.to_owned()))
    }

    pub fn names(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    pub fn age(&mut self, prefix: &str, by: Duration) {
        for (_, object) in self.objects.iter_mut().filter(|(name, _)| name.starts_with(prefix)) {
            object.created -= by;
        }
    }

    /// Objects after `after` in the order of their names, at most `limit`, and whether there are more.
    pub fn page(&self, prefix: &str, after: &str, limit: usize) -> (Vec<(&String, &StoredObject)>, bool) {
        let matching = self.objects.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        let mut page: Vec<_> = matching.filter(|(name, _)| name.as_str() > after).take(limit + 1).collect();
        let more = page.len() > limit;
        page.truncate(limit);
        (page, more)
    }

    pub fn write(&mut self, new: NewObject, content: Bytes) -> Result<&StoredObject, Refusal> {
        let crc32c = crc32c::crc32c(&content);
        let size = content.len() as u64;
        let pieces = if content.is_empty() { Vec::new() } else { vec![piece(content)?] };
        self.put(new, pieces, size, crc32c)
    }

    pub fn compose(&mut self, new: NewObject, sources: &[String]) -> Result<&StoredObject, Refusal> {
        if sources.is_empty() || sources.len() > MAX_COMPOSED {
            let count = sources.len();
            return Err(Refusal::Invalid(format!("{count} source objects, expected 1 to {MAX_COMPOSED}")));
        }
        let (mut pieces, mut size, mut crc32c) = (Vec::new(), 0, 0);
        for name in sources {
            let source = self.find(name)?;
            pieces.extend(source.pieces.iter().cloned());
            let length = usize::try_from(source.size).map_err(|error| Refusal::Internal(error.to_string()))?;
            crc32c = crc32c::crc32c_combine(crc32c, source.crc32c, length);
            size += source.size;
        }
        self.put(new, pieces, size, crc32c)
    }

    pub fn delete(&mut self, name: &str, if_generation_match: Option<i64>) -> Result<(), Refusal> {
        self.find(name)?;
        self.check(name, if_generation_match)?;
        self.objects.remove(name);
        Ok(())
    }

    fn put(&mut self, new: NewObject, pieces: Vec<Piece>, size: u64, crc32c: u32) -> Result<&StoredObject, Refusal> {
        self.check(&new.name, new.if_generation_match)?;
        if let Some(announced) = new.crc32c.filter(|announced| *announced != crc32c) {
            let reason = format!("crc32c {announced:08x} was announced, what arrived has {crc32c:08x}");
            return Err(Refusal::Invalid(reason));
        }
        self.last_generation = self.last_generation.max(Utc::now().timestamp_micros() - 1) + 1;
        let object = StoredObject {
            generation: self.last_generation,
            size,
            crc32c,
            content_type: new.content_type,
            cache_control: new.cache_control,
            metadata: new.metadata,
            created: Utc::now().trunc_subsecs(6),
            pieces,
        };
        Ok(self.objects.entry(new.name).insert_entry(object).into_mut())
    }

    fn check(&self, name: &str, if_generation_match: Option<i64>) -> Result<(), Refusal> {
        let Some(wanted) = if_generation_match else { return Ok(()) };
        let found = self.get(name).map_or(0, |object| object.generation);
        if found == wanted {
            return Ok(());
        }
        Err(Refusal::PreconditionFailed(format!("{name} has generation {found}, expected {wanted}")))
    }
}

impl StoredObject {
    /// The bytes from `start`, in pieces of at most `limit` bytes, until `end`.
    pub fn read(&self, mut start: u64, end: u64, limit: u64) -> io::Result<Vec<Bytes>> {
        let mut chunks = Vec::new();
        let mut piece_start = 0;
        for piece in &self.pieces {
            let piece_end = piece_start + piece.length();
            while start < end.min(piece_end) {
                let until = end.min(piece_end).min(start + limit);
                chunks.push(piece.read(start - piece_start, until - start)?);
                start = until;
            }
            piece_start = piece_end;
        }
        Ok(chunks)
    }
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Disk(_, length) => *length,
        }
    }

    fn read(&self, offset: u64, length: u64) -> io::Result<Bytes> {
        let (from, count) = (offset as usize, length as usize);
        match self {
            Self::Memory(bytes) => Ok(bytes.slice(from..from + count)),
            Self::Disk(file, _) => {
                let mut read = vec![0; count];
                file.read_exact_at(&mut read, offset)?;
                Ok(read.into())
            }
        }
    }
}

fn piece(content: Bytes) -> Result<Piece, Refusal> {
    if content.len() <= IN_MEMORY_BYTES {
        return Ok(Piece::Memory(content));
    }
    let spill = || -> io::Result<Piece> {
        let mut file = tempfile::tempfile()?;
        file.write_all(&content)?;
        Ok(Piece::Disk(Arc::new(file), content.len() as u64))
    };
    spill().map_err(|error| Refusal::Internal(error.to_string()))
}
