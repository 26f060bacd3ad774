//! The tar stream as a plan: where each header, each file and each frame lies, before a byte is read.
//!
//! The plan depends on paths, sizes and the frame size only, so the same tree gives the same stream. Headers are ustar
//! (with GNU's base-256 sizes beyond 8 GiB and GNU's long-name entry beyond 255 characters), mode 0644 or 0755, owner
//! 0:0 without names, time 0.

use tar::{EntryType, Header};

use crate::walk::{Entry, EntryKind, FileState};

/// The unit of a tar stream, in bytes.
const BLOCK: u64 = 512;
/// A tar stream ends with two blocks of zeros.
const END_OF_ARCHIVE: u64 = 2 * BLOCK;

/// One entry with its place in the tar stream.
#[derive(Debug)]
pub struct Placed {
    /// The entry's path.
    pub path: String,
    /// The file's state; `None` for a directory.
    pub file: Option<FileState>,
    /// Its header blocks.
    header: Box<[u8]>,
    /// Where its header starts.
    pub start: u64,
}

impl Placed {
    /// Its header blocks.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// Where its first byte of content lies.
    pub fn content_start(&self) -> u64 {
        self.start + self.header.len() as u64
    }

    /// Its size in bytes; 0 for a directory.
    pub fn size(&self) -> u64 {
        self.file.map_or(0, |state| state.size)
    }

    /// Where its padding ends and the next header starts.
    pub fn end(&self) -> u64 {
        self.content_start() + self.size().next_multiple_of(BLOCK)
    }
}

/// A tar stream and its cuts into frames.
#[derive(Debug)]
pub struct Layout {
    /// The entries, in the order of the stream.
    pub entries: Vec<Placed>,
    /// Bytes of the stream, with its two blocks at the end.
    pub size: u64,
    /// Where each frame ends; the last is `size`.
    pub frame_ends: Vec<u64>,
}

impl Layout {
    /// Plans the stream of `entries`, which are sorted, in frames of at most `frame_size` bytes.
    ///
    /// A file of at least a quarter of a frame starts a frame of its own and ends with one, so that a file that did not
    /// change from one snapshot to the next keeps identical frames, wherever it lies.
    pub fn plan(entries: &[Entry], frame_size: u32) -> Self {
        let mut placed = Vec::with_capacity(entries.len());
        let mut cuts = Cuts { ends: Vec::new(), start: 0, frame_size: u64::from(frame_size) };
        let mut end = 0;
        for entry in entries {
            let next = place(entry, end);
            end = next.end();
            cuts.entry(&next);
            placed.push(next);
        }
        let size = end + END_OF_ARCHIVE;
        cuts.fill_to(size);
        cuts.cut(size);
        Self { entries: placed, size, frame_ends: cuts.ends }
    }
}

struct Cuts {
    ends: Vec<u64>,
    start: u64,
    frame_size: u64,
}

impl Cuts {
    fn entry(&mut self, entry: &Placed) {
        let large = entry.size() >= self.frame_size / 4;
        if large {
            self.cut(entry.start);
        }
        self.fill_to(entry.end());
        if large {
            self.cut(entry.end());
        }
    }

    /// Cuts full frames until the open one is not longer than a frame may be.
    fn fill_to(&mut self, end: u64) {
        while end - self.start > self.frame_size {
            self.cut(self.start + self.frame_size);
        }
    }

    fn cut(&mut self, end: u64) {
        if end > self.start {
            self.ends.push(end);
            self.start = end;
        }
    }
}

fn place(entry: &Entry, start: u64) -> Placed {
    let file = match entry.kind {
        EntryKind::Directory => None,
        EntryKind::File(state) => Some(state),
    };
    Placed { path: entry.path.clone(), file, header: header(&entry.path, file.as_ref()).into(), start }
}

fn header(path: &str, file: Option<&FileState>) -> Vec<u8> {
    let (entry_type, mode, name) = match file {
        Some(_) => (EntryType::Regular, 0o644, path.to_owned()),
        None => (EntryType::Directory, 0o755, format!("{path}/")),
    };
    let mut header = plain_header(entry_type, mode, file.map_or(0, |state| state.size));
    let mut blocks = Vec::new();
    if header.set_path(&name).is_err() {
        blocks = long_name(&name);
        // The name field of what follows a long name is not read.
        header.as_old_mut().name[..4].copy_from_slice(b"long");
    }
    header.set_cksum();
    blocks.extend_from_slice(header.as_bytes());
    blocks
}

fn plain_header(entry_type: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// GNU's entry that carries the name of the next one.
fn long_name(name: &str) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(name.len() as u64 + 1);
    header.as_old_mut().name[..13].copy_from_slice(b"././@LongLink");
    header.set_cksum();
    let mut blocks = header.as_bytes().to_vec();
    blocks.extend_from_slice(name.as_bytes());
    // At least one NUL ends the name.
    blocks.resize((blocks.len() + 1).next_multiple_of(BLOCK as usize), 0);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_lengths(layout: &Layout) -> Vec<u64> {
        let starts = std::iter::once(0).chain(layout.frame_ends.iter().copied());
        starts.zip(&layout.frame_ends).map(|(start, end)| end - start).collect()
    }

    fn file(path: &str, size: u64) -> Entry {
        Entry { path: path.into(), kind: EntryKind::File(FileState::for_tests(size)) }
    }

    #[test]
    fn large_files_have_frames_of_their_own() {
        let dir = Entry { path: "db".into(), kind: EntryKind::Directory };
        let entries = [dir, file("db/a", 100), file("db/b", 10_000), file("db/c", 100), file("db/d", 1024)];
        let layout = Layout::plan(&entries, 4096);
        assert_eq!(frame_lengths(&layout), [1536, 4096, 4096, 2560, 1024, 1536, 1024]);
        assert_eq!(layout.frame_ends.last(), Some(&layout.size));
    }

    #[test]
    fn an_empty_stream_is_its_end() {
        let layout = Layout::plan(&[], 4096);
        assert_eq!((layout.size, frame_lengths(&layout)), (1024, vec![1024]));
    }

    #[test]
    fn sizes_beyond_eight_gibibytes_and_long_names_read_back() -> anyhow::Result<()> {
        let long = format!("db/{}", "x".repeat(240));
        let longer = format!("db/{0}/{0}", "y".repeat(240));
        for path in ["db/full/000001.sst", &long, &longer] {
            let state = FileState::for_tests(0);
            let stream = header(path, Some(&state));
            let mut archive = tar::Archive::new(&stream[..]);
            let entry = archive.entries()?.next().expect("one entry")?;
            assert_eq!(entry.path()?.to_str(), Some(path));
            assert_eq!(entry.header().mode()?, 0o644);
        }
        let huge = header("db/huge", Some(&FileState::for_tests(9 << 30)));
        assert_eq!(Header::from_byte_slice(&huge).entry_size()?, 9 << 30);
        Ok(())
    }
}
