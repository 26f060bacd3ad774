//! The seek table of the zstd seekable format: a skippable frame at the end that lists the sizes of all others.
//!
//! Source of the format: `contrib/seekable_format/zstd_seekable_compression_format.md` in the zstd repository. The
//! per-frame checksums are left out; the frames index has SHA-256s.

use polkashots_shared::frames::Frame;

use crate::error::ArchiveError;

const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// The format's limit.
const MAX_FRAMES: usize = 0x0800_0000;
/// Number of frames, descriptor, magic.
const FOOTER_BYTES: usize = 9;
const ENTRY_BYTES: usize = 8;

/// The bytes of the skippable frame that lists `frames`.
pub fn seek_table(frames: &[Frame]) -> Result<Vec<u8>, ArchiveError> {
    if frames.len() >= MAX_FRAMES {
        return Err(ArchiveError::TooManyFrames { frames: frames.len(), max_frames: MAX_FRAMES });
    }
    let payload_bytes = frames.len() * ENTRY_BYTES + FOOTER_BYTES;
    let mut table = Vec::with_capacity(ENTRY_BYTES + payload_bytes);
    table.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    table.extend_from_slice(&(payload_bytes as u32).to_le_bytes());
    for frame in frames {
        table.extend_from_slice(&frame.size.to_le_bytes());
        table.extend_from_slice(&frame.uncompressed_size.to_le_bytes());
    }
    table.extend_from_slice(&(frames.len() as u32).to_le_bytes());
    table.push(0);
    table.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    Ok(table)
}

#[cfg(test)]
mod tests {
    use polkashots_shared::ids::Sha256;

    use super::*;

    #[test]
    fn the_table_is_laid_out_as_the_format_says() {
        let digest = Sha256([0; 32]);
        let frame = Frame { offset: 0, size: 7, uncompressed_size: 9, sha256: digest, content_sha256: digest };
        let table = seek_table(&[frame]).expect("one frame");
        let expected = "5e2a4d18 11000000 07000000 09000000 01000000 00 b1ea928f".replace(' ', "");
        assert_eq!(hex::encode(table), expected);
    }
}
