//! The entries of somebody else's tar stream, read one after the other with limits on everything.
//!
//! Understood are files and folders in the formats that GNU tar, BSD tar, busybox and Go write: v7, ustar, GNU's long names
//! and sparse files, and pax headers. Everything else ends the reading with an error that names the entry: a link, a device, a
//! sparse file in pax format, a header whose checksum is wrong, a stream that ends before tar's own mark of the end.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

use super::sparse::{MapError, SparseMap, read_map};

/// The unit of a tar stream, in bytes.
const BLOCK_BYTES: usize = 512;
/// The longest name that GNU's long-name entry may carry; longer ones than the path rules allow are refused in any case.
const MAX_NAME_BYTES: u64 = 8 * 1024;
/// The largest pax header.
const MAX_PAX_BYTES: u64 = 64 * 1024;
/// Most headers of one archive; the database of an archive node has some ten thousand files.
const MAX_HEADERS: u64 = 500_000;
/// Most bytes behind tar's mark of the end; GNU tar fills its last record up with zeros, which is 10 KiB by default.
const MAX_TRAILER_BYTES: u64 = 1024 * 1024;
/// How much of a name an error shows.
const SHOWN_CHARS: usize = 120;

/// Reads a tar stream.
#[derive(Debug)]
pub struct Entries<R> {
    input: R,
    headers: u64,
    /// The path of the entry that was read last.
    last: String,
    content: Content,
    /// Bytes that fill its last block up.
    padding: usize,
}

/// What of an entry's content is still to be read.
#[derive(Debug, Default)]
struct Content {
    at: u64,
    map: SparseMap,
}

/// A file or a folder of a tar stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path as it was written, but for a leading `./` and a folder's trailing slash; the root itself is empty.
    pub path: String,
    /// A file's size in bytes; `None` for a folder.
    pub size: Option<u64>,
}

/// Says why a tar stream is refused.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// An entry must not be there.
    #[error("entry {entry:?} {reason}")]
    Refused {
        /// Its path, or the beginning of it.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The stream does not go on.
    #[error("after entry {entry:?}: {source}")]
    Read {
        /// The last entry that was read.
        entry: String,
        /// What happened.
        source: io::Error,
    },
    /// The stream as a whole is wrong.
    #[error("{0}")]
    Stream(String),
}

impl EntryError {
    /// The refusal of the entry at `path`.
    pub fn refused(path: &str, reason: impl Into<String>) -> Self {
        Self::Refused { entry: shown(path), reason: reason.into() }
    }
}

/// What headers said of the entry that follows them.
#[derive(Debug, Default)]
struct Pending {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl<R: Read> Entries<R> {
    /// The entries of `input`, which is not compressed any more.
    pub fn new(input: R) -> Self {
        Self { input, headers: 0, last: String::new(), content: Content::default(), padding: 0 }
    }

    /// The next file or folder; `None` at the end, behind which nothing but zeros may follow. What was not read of the
    /// content before it is skipped.
    pub fn next(&mut self) -> Result<Option<Entry>, EntryError> {
        self.skip_content()?;
        let mut pending = Pending::default();
        loop {
            let Some(header) = self.header()? else {
                return self.end(&pending).map(|()| None);
            };
            let size = header.entry_size().map_err(|error| self.refuse(&header, format!("has no size: {error}")))?;
            match header.entry_type() {
                EntryType::GNULongName => self.long_name(&header, size, &mut pending)?,
                EntryType::XHeader => self.pax(&header, size, Some(&mut pending))?,
                EntryType::XGlobalHeader => self.pax(&header, size, None)?,
                EntryType::Regular | EntryType::Continuous => {
                    return self.entry(&header, size, pending, false).map(Some);
                }
                EntryType::Directory => return self.entry(&header, size, pending, true).map(Some),
                EntryType::GNUSparse => return self.sparse(&header, size, pending).map(Some),
                other => {
                    return Err(self.refuse(&header, format!("is {}: only files and folders are taken", named(other))));
                }
            }
        }
    }

    /// Reads of the content of the entry that came last; 0 at its end.
    pub fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize, EntryError> {
        let content = &mut self.content;
        while content.map.data.front().is_some_and(|data| data.end <= content.at) {
            content.map.data.pop_front();
        }
        let next = content.map.data.front();
        let is_data = next.is_some_and(|data| data.start <= content.at);
        let end = next.map_or(content.map.size, |data| if is_data { data.end } else { data.start });
        let most = usize::try_from(end - content.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = match is_data && most > 0 {
            true => self.input.read(&mut buffer[..most]).map_err(|error| self.failed(error))?,
            false => {
                buffer[..most].fill(0);
                most
            }
        };
        if read == 0 && most > 0 {
            return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
        }
        self.content.at += read as u64;
        Ok(read)
    }

    fn entry(&mut self, header: &Header, size: u64, pending: Pending, is_folder: bool) -> Result<Entry, EntryError> {
        let bytes = pending.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let refuse = |reason: &str| EntryError::refused(&String::from_utf8_lossy(&bytes), reason);
        let text = std::str::from_utf8(&bytes).map_err(|_| refuse("has a name that is not UTF-8"))?;
        let size = pending.size.unwrap_or(size);
        let path = normal(text, is_folder);
        if path.is_empty() && !is_folder {
            return Err(refuse("has no name"));
        }
        if is_folder && size > 0 {
            return Err(refuse("is a folder with a content of its own"));
        }
        if i64::try_from(size).is_err() {
            return Err(refuse("is larger than any file can be"));
        }
        self.last = shown(path);
        self.expect_content(size);
        Ok(Entry { path: path.to_owned(), size: (!is_folder).then_some(size) })
    }

    /// A file of which the stream has a map and the parts that are no holes.
    fn sparse(&mut self, header: &Header, stored: u64, pending: Pending) -> Result<Entry, EntryError> {
        if pending.size.is_some() {
            return Err(self.refuse(header, "has two sizes"));
        }
        let map = read_map(header, stored, &mut self.input).map_err(|error| match error {
            MapError::Read(error) => self.failed(error),
            MapError::Wrong(reason) => self.refuse(header, reason),
        })?;
        let entry = self.entry(header, map.size, pending, false)?;
        self.expect_content(stored);
        self.content.map = map;
        Ok(entry)
    }

    /// The next header; `None` at tar's mark of the end.
    fn header(&mut self) -> Result<Option<Header>, EntryError> {
        let mut header = Header::new_old();
        self.input.read_exact(header.as_mut_bytes()).map_err(|error| self.failed(error))?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        self.headers += 1;
        if self.headers > MAX_HEADERS {
            return Err(EntryError::Stream(format!("has more than {MAX_HEADERS} entries")));
        }
        let stated = header.cksum().ok();
        if stated != Some(checksum(header.as_bytes())) {
            let after = if self.headers == 1 { "it is none".into() } else { format!("damaged after {:?}", self.last) };
            return Err(EntryError::Stream(format!(
                "is not a tar stream, or a damaged one: a header is wrong ({after})"
            )));
        }
        Ok(Some(header))
    }

    fn long_name(&mut self, header: &Header, size: u64, pending: &mut Pending) -> Result<(), EntryError> {
        let mut name = self.small_content(header, size, MAX_NAME_BYTES)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        self.take_name(header, name, pending)
    }

    /// Takes path and size from a pax header; a global one, for which there is nothing `pending`, may have neither.
    fn pax(&mut self, header: &Header, size: u64, mut pending: Option<&mut Pending>) -> Result<(), EntryError> {
        let content = self.small_content(header, size, MAX_PAX_BYTES)?;
        for record in PaxExtensions::new(&content) {
            let record = record.map_err(|error| self.refuse(header, format!("has a damaged pax header: {error}")))?;
            let key = record.key().map_err(|_| self.refuse(header, "has a pax header that is not text"))?;
            match (key, pending.as_deref_mut()) {
                ("path", Some(pending)) => self.take_name(header, record.value_bytes().to_vec(), pending)?,
                ("size", Some(pending)) => {
                    let size = record.value().ok().and_then(|text| text.parse().ok());
                    pending.size = Some(size.ok_or_else(|| self.refuse(header, "has a pax size that is no number"))?);
                }
                ("path" | "size", None) => return Err(self.refuse(header, "gives one path or size to all entries")),
                (key, _) if key.starts_with("GNU.sparse.") => {
                    return Err(self.refuse(
                        header,
                        "is a sparse file in pax format: expected GNU's own (tar --format=gnu --sparse), or none",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take_name(&self, header: &Header, name: Vec<u8>, pending: &mut Pending) -> Result<(), EntryError> {
        match pending.path.replace(name) {
            None => Ok(()),
            Some(_) => Err(self.refuse(header, "has two names")),
        }
    }

    /// Reads the content of a header that belongs to the next entry.
    fn small_content(&mut self, header: &Header, size: u64, most: u64) -> Result<Vec<u8>, EntryError> {
        if size > most {
            return Err(self.refuse(header, format!("has a header of {size} bytes, expected at most {most}")));
        }
        let mut content = vec![0; size as usize];
        self.expect_content(size);
        self.input.read_exact(&mut content).map_err(|error| self.failed(error))?;
        self.content = Content::default();
        self.skip_content()?;
        Ok(content)
    }

    fn expect_content(&mut self, size: u64) {
        self.content = Content { at: 0, map: SparseMap { size, data: std::iter::once(0..size).collect() } };
        self.padding = (size.next_multiple_of(BLOCK_BYTES as u64) - size) as usize;
    }

    fn skip_content(&mut self) -> Result<(), EntryError> {
        let mut buffer = [0; 8 * 1024];
        // Holes take no time: what is stored is read as if there were none.
        while let Some(data) = self.content.map.data.front() {
            self.content.at = self.content.at.max(data.start);
            self.read_content(&mut buffer)?;
        }
        self.content = Content::default();
        let padding = std::mem::take(&mut self.padding);
        self.input.read_exact(&mut buffer[..padding]).map_err(|error| self.failed(error))
    }

    /// Reads what follows the mark of the end, which shows that what was compressed ended well, too.
    fn end(&mut self, pending: &Pending) -> Result<(), EntryError> {
        if pending.path.is_some() || pending.size.is_some() {
            return Err(EntryError::Stream("ends with a header that no entry follows".into()));
        }
        let (mut buffer, mut bytes) = ([0; 8 * 1024], 0);
        loop {
            let read = self.input.read(&mut buffer).map_err(|error| self.failed(error))?;
            bytes += read as u64;
            if buffer[..read].iter().any(|byte| *byte != 0) || bytes > MAX_TRAILER_BYTES {
                return Err(EntryError::Stream("goes on after tar's mark of its end".into()));
            }
            if read == 0 {
                return Ok(());
            }
        }
    }

    fn refuse(&self, header: &Header, reason: impl Into<String>) -> EntryError {
        EntryError::refused(&String::from_utf8_lossy(&header.path_bytes()), reason)
    }

    fn failed(&self, error: io::Error) -> EntryError {
        let source = match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "the archive ends in the middle: it was cut"),
            _ => error,
        };
        EntryError::Read { entry: self.last.clone(), source }
    }
}

/// The sum of all bytes, with the field that holds it taken for spaces.
fn checksum(header: &[u8; BLOCK_BYTES]) -> u32 {
    let field = 148..156;
    let all = header.iter().enumerate();
    all.map(|(at, byte)| if field.contains(&at) { u32::from(b' ') } else { u32::from(*byte) }).sum()
}

/// The path without what `tar -c .` puts in front and what a folder has behind.
fn normal(path: &str, is_folder: bool) -> &str {
    let mut path = path.strip_suffix('/').filter(|_| is_folder && path != "/").unwrap_or(path);
    while let Some(rest) = path.strip_prefix("./") {
        path = rest;
    }
    if is_folder && path == "." { "" } else { path }
}

fn shown(path: &str) -> String {
    path.chars().take(SHOWN_CHARS).collect()
}

fn named(entry_type: EntryType) -> String {
    match entry_type {
        EntryType::Link => "a hard link".into(),
        EntryType::Symlink | EntryType::GNULongLink => "a symbolic link".into(),
        EntryType::Char | EntryType::Block => "a device".into(),
        EntryType::Fifo => "a pipe".into(),
        other => format!("of type {:?}", char::from(other.as_byte())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_tar_puts_around_them_and_nothing_else() {
        assert_eq!(normal("./db/full/", true), "db/full");
        assert_eq!(normal("./", true), "");
        assert_eq!(normal("././db", true), "db");
        assert_eq!(normal("db/full/", false), "db/full/");
        assert_eq!(normal("/db", true), "/db");
        assert_eq!(normal("/", true), "/");
        assert_eq!(normal("../db", false), "../db");
        assert_eq!(normal("db//", true), "db/");
    }
}
