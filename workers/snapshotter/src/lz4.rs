//! The lz4 frame format, made in parts: a header, independent blocks of any number of threads, an end.
//!
//! All parts of an archive together are *one* lz4 frame, as some readers stop at the end of the first. Each block carries its
//! checksum, so that `lz4 -d` notices damage although our digests are not at hand. Source of the format:
//! `doc/lz4_Frame_format.md` in the lz4 repository; the bytes are the reference library's.

use std::io::{self, Write};

use lz4::liblz4::BlockChecksum;
use lz4::{BlockMode, BlockSize, ContentChecksum, Encoder, EncoderBuilder};

/// Magic, flags, block size, checksum of these.
const HEADER_BYTES: usize = 7;
/// What ends a frame: a block of length 0.
pub const END: [u8; 4] = [0; 4];

/// The first bytes of the frame.
pub fn header() -> io::Result<Vec<u8>> {
    let (mut frame, finished) = encoder(Vec::new())?.finish();
    finished?;
    frame.truncate(HEADER_BYTES);
    Ok(frame)
}

/// The blocks of `input`, which replace what is in `output`. The same input gives the same blocks, wherever it stands.
pub fn blocks(input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    output.clear();
    let mut encoder = encoder(Headless { output, header_left: HEADER_BYTES })?;
    encoder.write_all(input)?;
    let (written, finished) = encoder.finish();
    finished?;
    let blocks = written.output.strip_suffix(&END).map(<[u8]>::len);
    let blocks = blocks.ok_or_else(|| io::Error::other("lz4: the frame has no end mark"))?;
    written.output.truncate(blocks);
    Ok(())
}

fn encoder<W: Write>(output: W) -> io::Result<Encoder<W>> {
    EncoderBuilder::new()
        .block_size(BlockSize::Max4MB)
        .block_mode(BlockMode::Independent)
        .block_checksum(BlockChecksum::BlockChecksumEnabled)
        .checksum(ContentChecksum::NoChecksum)
        .auto_flush(true)
        .level(1)
        .build(output)
}

/// Keeps what is written but for the header.
struct Headless<'a> {
    output: &'a mut Vec<u8>,
    header_left: usize,
}

impl Write for Headless<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = self.header_left.min(bytes.len());
        self.header_left -= skipped;
        self.output.extend_from_slice(&bytes[skipped..]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use anyhow::Result;

    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(length as u64);
        std::iter::repeat_with(|| random.u8(..)).take(length).collect()
    }

    #[test]
    fn parts_made_apart_are_one_frame() -> Result<()> {
        let parts = [vec![7; 5 << 20], noise(4 << 20), Vec::new(), noise(1), vec![0; 300_000]];
        let (mut frame, mut output) = (header()?, Vec::new());
        for part in &parts {
            blocks(part, &mut output)?;
            frame.extend_from_slice(&output);
        }
        frame.extend(END);
        let mut decoder = lz4::Decoder::new(&frame[..])?;
        let mut plain = Vec::new();
        decoder.read_to_end(&mut plain)?;
        assert!(plain == parts.concat());
        decoder.finish().1?;
        Ok(())
    }

    #[test]
    fn a_damaged_block_is_noticed() -> Result<()> {
        let (mut frame, mut output) = (header()?, Vec::new());
        blocks(&noise(1000), &mut output)?;
        output[500] ^= 1;
        frame.extend(output);
        frame.extend(END);
        let read = lz4::Decoder::new(&frame[..])?.read_to_end(&mut Vec::new());
        assert!(read.is_err(), "a changed byte was not noticed");
        Ok(())
    }
}
