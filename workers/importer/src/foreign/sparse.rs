//! GNU tar's own sparse files (`tar --sparse`, type `S`): a map in the header says where in the file the stored bytes belong.
//!
//! Archives of ParityDB databases are often made so, as most of its files are holes.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

/// Most pieces of one file.
const MAX_PIECES: usize = 500_000;

/// A file's size, and which parts of it are in the stream, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SparseMap {
    /// The size with all holes, in bytes.
    pub size: u64,
    /// The parts that are stored one behind the other.
    pub data: VecDeque<Range<u64>>,
}

/// Says why there is no map.
#[derive(Debug)]
pub enum MapError {
    /// The stream does not go on.
    Read(io::Error),
    /// The map is wrong.
    Wrong(String),
}

/// Reads the map that is in `header` and in the blocks behind it; `stored` bytes of content follow those.
pub fn read_map(header: &Header, stored: u64, input: &mut impl Read) -> Result<SparseMap, MapError> {
    let wrong = |reason: &str| MapError::Wrong(format!("has a map of its holes that is wrong: {reason}"));
    let gnu = header.as_gnu().ok_or_else(|| wrong("it is not GNU's"))?;
    let size = gnu.real_size().map_err(|_| wrong("it has no size"))?;
    let mut map = SparseMap { size, data: VecDeque::new() };
    add(&mut map, &gnu.sparse).map_err(wrong)?;
    let mut is_extended = gnu.is_extended();
    while is_extended {
        let mut more = GnuExtSparseHeader::new();
        input.read_exact(more.as_mut_bytes()).map_err(MapError::Read)?;
        add(&mut map, more.sparse()).map_err(wrong)?;
        is_extended = more.is_extended();
    }
    match map.data.iter().map(|data| data.end - data.start).sum::<u64>() == stored {
        true => Ok(map),
        false => Err(wrong("it is not of the bytes that are stored")),
    }
}

fn add(map: &mut SparseMap, pieces: &[GnuSparseHeader]) -> Result<(), &'static str> {
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        let number = |number: io::Result<u64>| number.map_err(|_| "a piece has no place");
        let (start, length) = (number(piece.offset())?, number(piece.length())?);
        let end = start.checked_add(length).filter(|end| *end <= map.size).ok_or("a piece is beyond the end")?;
        if map.data.back().is_some_and(|last| start < last.end) {
            return Err("its pieces overlap");
        }
        if map.data.len() >= MAX_PIECES {
            return Err("it has too many pieces");
        }
        if length > 0 {
            map.data.push_back(start..end);
        }
    }
    Ok(())
}
