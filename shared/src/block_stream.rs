//! Walks an export of blocks as it streams by: a count, then that many SCALE-encoded signed blocks.
//!
//! Nothing is believed: the count, every block's number, the chain of parent hashes from genesis to the finalized block, and
//! that nothing follows the last one. Memory is bounded whatever the lengths in the stream say: only hashes are kept.
//! Source of the format: `SignedBlock<Block<Header<u32, BlakeTwo256>, OpaqueExtrinsic>>` of the Polkadot SDK.

use std::io::{self, ErrorKind, Read};

use crate::ids::{BlockHash, BlockRef};
use blake2::Digest;
use blake2::digest::consts::U32;

type Blake2b256 = blake2::Blake2b<U32>;

/// No header has more digest items than this.
const MAX_DIGEST_ITEMS: u64 = 1024;
const CHUNK_BYTES: usize = 64 * 1024;

/// What an export must hold: blocks 1 to `last`, each the child of the one before, the first one of `genesis`.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The hash of block 0.
    pub genesis: BlockHash,
    /// The last block.
    pub last: BlockRef,
}

/// Says why a stream is not the export that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It ended, or could not be read.
    #[error("block {number}: {source}")]
    Read {
        /// The block that was being read, from 1.
        number: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Its header says another count.
    #[error("its header says {found} blocks, expected {expected}")]
    Count {
        /// The count in the header.
        found: u64,
        /// The count asked for.
        expected: u64,
    },
    /// It ends too early.
    #[error("it ends in block {number} of {expected}")]
    Short {
        /// The block that is missing or cut, from 1.
        number: u64,
        /// How many there should be.
        expected: u64,
    },
    /// A block is not what SCALE or the chain says it must be.
    #[error("block {number}: {reason}")]
    Block {
        /// Its place, from 1.
        number: u64,
        /// What is wrong.
        reason: String,
    },
    /// Something follows the last block.
    #[error("bytes follow its last block")]
    Trailing,
}

/// Reads the whole stream and checks it against `range`.
pub fn check(reader: impl Read, range: &Range) -> Result<(), StreamError> {
    let expected = u64::from(range.last.height);
    let mut walker = Walker { reader, hasher: None, number: 1, expected };
    let mut count = [0; 8];
    walker.fill(&mut count)?;
    let found = u64::from_le_bytes(count);
    if found != expected {
        return Err(StreamError::Count { found, expected });
    }
    let mut parent = range.genesis;
    for number in 1..=expected {
        walker.number = number;
        parent = walker.block(parent)?;
    }
    if parent != range.last.hash {
        let reason = format!("its hash is {parent}, expected {} as the database says", range.last.hash);
        return Err(walker.wrong(reason));
    }
    walker.end()
}

struct Walker<R> {
    reader: R,
    /// Present while a header is read.
    hasher: Option<Blake2b256>,
    number: u64,
    expected: u64,
}

impl<R: Read> Walker<R> {
    /// Reads one block and returns its hash.
    fn block(&mut self, parent: BlockHash) -> Result<BlockHash, StreamError> {
        self.hasher = Some(Blake2b256::new());
        self.header(parent)?;
        let hash = self.hasher.take().map(|hasher| BlockHash(hasher.finalize().into()));
        for _ in 0..self.compact("number of extrinsics")? {
            self.bytes("length of an extrinsic")?;
        }
        match self.byte()? {
            0 => {}
            1 => {
                for _ in 0..self.compact("number of justifications")? {
                    self.skip(4)?;
                    self.bytes("length of a justification")?;
                }
            }
            other => return Err(self.wrong(format!("expected 0 or 1 before justifications, found {other}"))),
        }
        hash.ok_or_else(|| self.wrong("has no header".into()))
    }

    fn header(&mut self, parent: BlockHash) -> Result<(), StreamError> {
        let mut found = [0; 32];
        self.fill(&mut found)?;
        if BlockHash(found) != parent {
            return Err(self.wrong(format!("its parent is {}, expected {parent}", BlockHash(found))));
        }
        let number = self.compact("number")?;
        if number != self.number {
            return Err(self.wrong(format!("its number is {number}")));
        }
        // The state's root and the extrinsics' root.
        self.skip(64)?;
        let items = self.compact("number of digest items")?;
        if items > MAX_DIGEST_ITEMS {
            return Err(self.wrong(format!("{items} digest items, expected at most {MAX_DIGEST_ITEMS}")));
        }
        for _ in 0..items {
            self.digest_item()?;
        }
        Ok(())
    }

    fn digest_item(&mut self) -> Result<(), StreamError> {
        match self.byte()? {
            // Other.
            0 => self.bytes("length of a digest item"),
            // Consensus, Seal, PreRuntime: an engine's id and its bytes.
            4..=6 => {
                self.skip(4)?;
                self.bytes("length of a digest item")
            }
            // RuntimeEnvironmentUpdated.
            8 => Ok(()),
            other => Err(self.wrong(format!("unknown digest item {other}"))),
        }
    }

    /// Skips a length and that many bytes.
    fn bytes(&mut self, what: &'static str) -> Result<(), StreamError> {
        let length = self.compact(what)?;
        self.skip(length)
    }

    /// Reads a compact number in its shortest form, as SCALE demands.
    fn compact(&mut self, what: &'static str) -> Result<u64, StreamError> {
        let first = self.byte()?;
        let longer = match first & 0b11 {
            0b00 => return Ok(u64::from(first >> 2)),
            0b01 => 1,
            0b10 => 3,
            _ => usize::from(first >> 2) + 4,
        };
        if longer > 8 {
            return Err(self.wrong(format!("{what} has {longer} bytes, expected at most 8")));
        }
        let mut bytes = [0; 8];
        self.fill(&mut bytes[..longer])?;
        let high = u64::from_le_bytes(bytes);
        let (value, least) = match first & 0b11 {
            0b01 => ((high << 6) | u64::from(first >> 2), 1 << 6),
            0b10 => ((high << 6) | u64::from(first >> 2), 1 << 14),
            _ => (high, if longer == 4 { 1 << 30 } else { 1 << (8 * (longer - 1)) }),
        };
        if value < least {
            return Err(self.wrong(format!("{what} is not in its shortest form")));
        }
        Ok(value)
    }

    fn byte(&mut self) -> Result<u8, StreamError> {
        let mut byte = [0];
        self.fill(&mut byte)?;
        Ok(byte[0])
    }

    fn skip(&mut self, mut left: u64) -> Result<(), StreamError> {
        let mut chunk = [0; CHUNK_BYTES];
        while left > 0 {
            let now = left.min(CHUNK_BYTES as u64) as usize;
            self.fill(&mut chunk[..now])?;
            left -= now as u64;
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), StreamError> {
        self.reader.read_exact(buffer).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => StreamError::Short { number: self.number, expected: self.expected },
            _ => StreamError::Read { number: self.number, source },
        })?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&*buffer);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), StreamError> {
        let mut byte = [0];
        let read = self.reader.read(&mut byte);
        match read.map_err(|source| StreamError::Read { number: self.number, source })? {
            0 => Ok(()),
            _ => Err(StreamError::Trailing),
        }
    }

    fn wrong(&self, reason: String) -> StreamError {
        StreamError::Block { number: self.number, reason }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, Result};

    use super::*;

    /// Blocks 1 to 400 as the node that made them exported them.
    const EXPORT: &[u8] = include_bytes!("../../tests/fixtures/relay400.blocks.scale");

    /// Where each block begins, its hash, and the range, as the stream itself says.
    fn range() -> Result<Range> {
        let genesis = BlockHash(EXPORT[8..40].try_into()?);
        let last = u64::from_le_bytes(EXPORT[..8].try_into()?);
        let mut walker = Walker { reader: &EXPORT[8..], hasher: None, number: 1, expected: last };
        let mut hash = genesis;
        for number in 1..=last {
            walker.number = number;
            hash = walker.block(hash)?;
        }
        Ok(Range { genesis, last: BlockRef { height: last.try_into()?, hash } })
    }

    fn error(bytes: &[u8], range: &Range) -> Result<String> {
        Ok(check(bytes, range).err().context("was accepted")?.to_string())
    }

    #[test]
    fn an_export_of_a_real_node_is_accepted() -> Result<()> {
        let range = range()?;
        assert!(range.last.height > 300, "{range:?}");
        check(EXPORT, &range)?;
        Ok(())
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "a random test prints its seed")]
    fn a_cut_export_is_short_wherever_it_is_cut() -> Result<()> {
        let range = range()?;
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for length in
            std::iter::repeat_with(|| random.usize(0..EXPORT.len())).take(50).chain([0, 7, 8, EXPORT.len() - 1])
        {
            let error = error(&EXPORT[..length], &range)?;
            assert!(error.starts_with("it ends in block "), "cut at {length}: {error}");
        }
        Ok(())
    }

    #[test]
    fn a_count_that_is_not_the_range_is_refused() -> Result<()> {
        let range = range()?;
        let longer = Range { last: BlockRef { height: range.last.height + 1, ..range.last }, ..range };
        let expected = format!("its header says {} blocks, expected {}", range.last.height, longer.last.height);
        assert_eq!(error(EXPORT, &longer)?, expected);
        Ok(())
    }

    #[test]
    fn another_chain_another_head_and_trailing_bytes_are_refused() -> Result<()> {
        let range = range()?;
        let foreign = Range { genesis: BlockHash([7; 32]), ..range };
        assert!(error(EXPORT, &foreign)?.starts_with("block 1: its parent is "));
        let other_head = Range { last: BlockRef { hash: BlockHash([7; 32]), ..range.last }, ..range };
        assert!(error(EXPORT, &other_head)?.contains("as the database says"));
        let longer = [EXPORT, b"\0"].concat();
        assert_eq!(error(&longer, &range)?, "bytes follow its last block");
        Ok(())
    }

    #[test]
    fn a_changed_byte_in_a_header_breaks_the_chain() -> Result<()> {
        let range = range()?;
        let mut changed = EXPORT.to_vec();
        changed[8 + 32 + 1 + 5] ^= 1;
        assert!(error(&changed, &range)?.starts_with("block 2: its parent is "));
        Ok(())
    }

    #[test]
    fn lengths_that_lie_take_no_memory() -> Result<()> {
        let range = range()?;
        // Block 1 with a digest item of 2^62 bytes: only what is there is read.
        let mut lying = EXPORT[..8 + 32 + 1 + 64].to_vec();
        lying.extend([4, 0, 0b0001_0011, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f]);
        lying.resize(lying.len() + 1_000_000, 0);
        assert!(error(&lying, &range)?.starts_with("it ends in block 1"));
        Ok(())
    }
}
