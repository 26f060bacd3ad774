//! The one stage that reads files: fills frames with tar stream, and leaves out the holes of sparse files.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, SeekFrom, fadvise, seek};

use crate::error::ArchiveError;
use crate::layout::{Layout, Placed};
use crate::walk::{FileState, Opener, Tree};

/// How far ahead of the reader the system is asked to read.
const READ_AHEAD_BYTES: u64 = 16 * 1024 * 1024;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The buffer's bytes.
    Bytes,
    /// Zeros only, out of holes; the buffer was not touched.
    Zeros,
}

/// Reads the tar stream of a tree, frame after frame.
#[derive(Debug)]
pub struct FrameReader<'a> {
    tree: &'a Tree,
    layout: &'a Layout,
    opener: Opener<'a>,
    /// The entry that the stream stands in.
    entry: usize,
    open: Option<OpenFile>,
    position: u64,
}

impl<'a> FrameReader<'a> {
    /// A reader at the start of the stream.
    pub fn new(tree: &'a Tree, layout: &'a Layout) -> Self {
        Self { tree, layout, opener: tree.opener(), entry: 0, open: None, position: 0 }
    }

    /// Reads on up to `end` of the stream into `buffer`, whose length becomes that of the frame unless it is all holes.
    pub fn read_frame(&mut self, end: u64, buffer: &mut Vec<u8>) -> Result<Content, ArchiveError> {
        let length = (end - self.position) as usize;
        let mut frame = FrameBuffer { buffer, length, touched: false, zeros: Vec::new() };
        let start = self.position;
        while self.position < end {
            let at = (self.position - start) as usize;
            let done = self.read_some(end, at, &mut frame)?;
            self.position += done as u64;
        }
        self.finish_entries()?;
        Ok(frame.finish())
    }

    /// Puts the next stretch of one kind (header, data, hole, padding) at `at` of the frame; returns its length.
    fn read_some(&mut self, end: u64, at: usize, frame: &mut FrameBuffer<'_>) -> Result<usize, ArchiveError> {
        self.finish_entries()?;
        let left = (end - self.position) as usize;
        let layout = self.layout;
        let Some(entry) = layout.entries.get(self.entry) else {
            return Ok(frame.zeros(at, left));
        };
        let content_start = entry.content_start();
        if self.position < content_start {
            let from = (self.position - entry.start) as usize;
            let header = &entry.header()[from..];
            return Ok(frame.copy(at, &header[..header.len().min(left)]));
        }
        let offset = self.position - content_start;
        if offset >= entry.size() {
            let padding = (entry.end() - self.position) as usize;
            return Ok(frame.zeros(at, padding.min(left)));
        }
        let wanted = offset..entry.size().min(offset + left as u64);
        self.read_file(entry, wanted, at, frame)
    }

    fn read_file(
        &mut self,
        entry: &Placed,
        wanted: Range<u64>,
        at: usize,
        frame: &mut FrameBuffer<'_>,
    ) -> Result<usize, ArchiveError> {
        let tree = self.tree;
        let file = self.open_entry(entry)?;
        let in_chain_dir = || tree.full_path(&entry.path);
        let stretch = file.stretch(&wanted).map_err(|error| ArchiveError::io("read", in_chain_dir(), error))?;
        let length = (stretch.end.min(wanted.end) - wanted.start) as usize;
        if stretch.is_hole {
            return Ok(frame.zeros(at, length));
        }
        let target = frame.slice(at, length);
        file.file.read_exact_at(target, wanted.start).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Changed {
                path: in_chain_dir(),
                expected_bytes: entry.size(),
                found_bytes: file.file.metadata().map_or(0, |metadata| metadata.len()),
            },
            _ => ArchiveError::io("read", in_chain_dir(), error),
        })?;
        Ok(length)
    }

    fn open_entry(&mut self, entry: &Placed) -> Result<&mut OpenFile, ArchiveError> {
        if self.open.is_none() {
            let state = entry.file.ok_or(ArchiveError::Stopped)?;
            let file = self.opener.open(&entry.path, &state)?;
            self.open = Some(OpenFile::new(file, state));
        }
        self.open.as_mut().ok_or(ArchiveError::Stopped)
    }

    /// Leaves every entry whose end is reached, after a last look at its file.
    fn finish_entries(&mut self) -> Result<(), ArchiveError> {
        let layout = self.layout;
        while let Some(entry) = layout.entries.get(self.entry) {
            if self.position < entry.end() {
                break;
            }
            if let Some(state) = &entry.file {
                self.open_entry(entry)?;
                let open = self.open.take().ok_or(ArchiveError::Stopped)?;
                self.opener.check(&entry.path, state, &open.file)?;
            }
            self.entry += 1;
        }
        Ok(())
    }
}

/// A frame being filled; zeros are written only once something else is.
struct FrameBuffer<'a> {
    buffer: &'a mut Vec<u8>,
    length: usize,
    touched: bool,
    zeros: Vec<Range<usize>>,
}

impl FrameBuffer<'_> {
    fn copy(&mut self, at: usize, bytes: &[u8]) -> usize {
        self.slice(at, bytes.len()).copy_from_slice(bytes);
        bytes.len()
    }

    fn zeros(&mut self, at: usize, length: usize) -> usize {
        self.zeros.push(at..at + length);
        length
    }

    fn slice(&mut self, at: usize, length: usize) -> &mut [u8] {
        if !self.touched {
            self.touched = true;
            self.buffer.resize(self.length, 0);
        }
        &mut self.buffer[at..at + length]
    }

    fn finish(self) -> Content {
        if !self.touched {
            return Content::Zeros;
        }
        for zeros in self.zeros {
            self.buffer[zeros].fill(0);
        }
        Content::Bytes
    }
}

/// A stretch of a file that is all data or all hole.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    start: u64,
    end: u64,
    is_hole: bool,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    size: u64,
    current: Stretch,
    /// Up to where the system was asked to read ahead.
    asked: u64,
}

impl OpenFile {
    fn new(file: File, state: FileState) -> Self {
        // Advice is only advice: where the system refuses it, reading is slower and still right.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        let end = if state.sparse { 0 } else { state.size };
        Self { file, size: state.size, current: Stretch { start: 0, end, is_hole: false }, asked: 0 }
    }

    /// The stretch that holds the first byte of `wanted`.
    fn stretch(&mut self, wanted: &Range<u64>) -> io::Result<Stretch> {
        if !(self.current.start..self.current.end).contains(&wanted.start) {
            self.current = find_stretch(&self.file, wanted.start, self.size)?;
        }
        if !self.current.is_hole {
            self.read_ahead(wanted.end);
        }
        Ok(self.current)
    }

    fn read_ahead(&mut self, from: u64) {
        let until = (from + READ_AHEAD_BYTES).min(self.size).min(self.current.end.max(from));
        let start = self.asked.max(from);
        if let Some(length) = until.checked_sub(start).and_then(std::num::NonZeroU64::new) {
            let _ = fadvise(&self.file, start, Some(length), Advice::WillNeed);
            self.asked = until;
        }
    }
}

fn find_stretch(file: &File, start: u64, size: u64) -> io::Result<Stretch> {
    use rustix::io::Errno;
    let data = match seek(file, SeekFrom::Data(start)) {
        Ok(data) => data,
        // Past the last data, or a file that shrank, which the check after the file's last byte finds.
        Err(Errno::NXIO) => return Ok(Stretch { start, end: size, is_hole: true }),
        // A filesystem that knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Stretch { start, end: size, is_hole: false }),
        Err(error) => return Err(error.into()),
    };
    if data > start {
        return Ok(Stretch { start, end: data.min(size), is_hole: true });
    }
    let hole = seek(file, SeekFrom::Hole(start))?;
    Ok(Stretch { start, end: hole.min(size), is_hole: false })
}
