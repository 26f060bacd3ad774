//! The tar stream of a plan, made again from files on disk: headers follow from paths and sizes, the rest is content.

use std::io;

use polkashots_shared::tar_header::{BLOCK_BYTES, tar_header};

use super::Plan;

/// A path up to this many bytes has a header of one block.
const SHORT_PATH_BYTES: usize = 90;

/// Makes the content of frames from files.
#[derive(Debug)]
pub struct TarStream<'a> {
    plan: &'a Plan,
    /// For each file, how many of the listed directories have their header before the file's own.
    directories_before: Vec<usize>,
}

impl<'a> TarStream<'a> {
    /// The stream of `plan`.
    pub fn new(plan: &'a Plan) -> Self {
        let mut directories_before = Vec::with_capacity(plan.files.len());
        let (mut next, mut end) = (0, 0);
        for file in &plan.files {
            let own = header_bytes(&file.path, Some(file.size));
            while let Some(directory) = plan.directories.get(next)
                && end + header_bytes(directory, None) + own <= file.offset
            {
                end += header_bytes(directory, None);
                next += 1;
            }
            directories_before.push(next);
            end = (file.offset + file.size).next_multiple_of(BLOCK_BYTES);
        }
        Self { plan, directories_before }
    }

    /// Puts the content of `frame` into `buffer`; `read` fills a slice with what lies at an offset of a file.
    ///
    /// Says nothing of whether it is right: its SHA-256 does.
    pub fn fill(
        &self,
        frame: usize,
        buffer: &mut Vec<u8>,
        mut read: impl FnMut(usize, u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let start = self.plan.content_starts[frame];
        let size = self.plan.frames[frame].uncompressed_size as usize;
        buffer.clear();
        buffer.resize(size, 0);
        let first = self.plan.files.partition_point(|file| file.offset + file.size <= start);
        for number in first..=self.plan.files.len() {
            let (at, headers) = self.headers_before(number, start + size as u64);
            if at >= start + size as u64 {
                break;
            }
            overlay(buffer, start, at, &headers);
        }
        for piece in self.plan.pieces(frame) {
            read(piece.file, piece.file_offset, &mut buffer[piece.content])?;
        }
        Ok(())
    }

    /// The headers between the file before `number` and `number` itself, and where they start; none where that is at `end`
    /// or behind it.
    fn headers_before(&self, number: usize, end: u64) -> (u64, Vec<u8>) {
        let files = &self.plan.files;
        let previous = number.checked_sub(1).and_then(|previous| files.get(previous));
        let at = previous.map_or(0, |file| (file.offset + file.size).next_multiple_of(BLOCK_BYTES));
        if at >= end {
            return (at, Vec::new());
        }
        let from = number.checked_sub(1).map_or(0, |previous| self.directories_before[previous]);
        let to = self.directories_before.get(number).copied().unwrap_or(self.plan.directories.len());
        let directories = self.plan.directories.get(from..to).unwrap_or_default();
        let mut headers: Vec<u8> = directories.iter().flat_map(|path| tar_header(path, None)).collect();
        if let Some(file) = files.get(number) {
            headers.extend(tar_header(&file.path, Some(file.size)));
        }
        (at, headers)
    }
}

/// Copies what of `bytes`, which lie at `at` of the stream, falls into `buffer`, which lies at `start`.
fn overlay(buffer: &mut [u8], start: u64, at: u64, bytes: &[u8]) {
    let from = at.max(start);
    let to = (at + bytes.len() as u64).min(start + buffer.len() as u64);
    if from < to {
        let target = (from - start) as usize..(to - start) as usize;
        buffer[target].copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
    }
}

fn header_bytes(path: &str, size: Option<u64>) -> u64 {
    match path.len() <= SHORT_PATH_BYTES && size.is_none_or(|size| size < 8 << 30) {
        true => BLOCK_BYTES,
        false => tar_header(path, size).len() as u64,
    }
}
