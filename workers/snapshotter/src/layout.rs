//! The tar stream as a plan: where each header, each file and each frame lies, before a byte is read.
//!
//! The plan depends on paths, sizes and the frame size only, so the same tree gives the same stream.

use polkashots_shared::tar_header::{BLOCK_BYTES as BLOCK, tar_header};

use crate::walk::{Entry, EntryKind, FileState};

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
    let header = tar_header(&entry.path, file.map(|state| state.size));
    Placed { path: entry.path.clone(), file, header: header.into(), start }
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
}
