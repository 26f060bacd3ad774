//! One compressor thread's work: a frame of tar stream becomes an independent zstd frame with its two digests, and, where
//! that is asked for, independent lz4 blocks.

use std::sync::OnceLock;

use polkashots_shared::ids::Sha256;
use zstd::zstd_safe::{CParameter, compress_bound};

use crate::error::ArchiveError;
use crate::lz4;
use crate::reader::Content;
use crate::settings::Settings;

/// The digests and sizes of one compressed frame.
#[derive(Debug, Clone, Copy)]
pub struct Digests {
    /// Bytes of tar stream in it.
    pub uncompressed_size: u32,
    /// The SHA-256 of the compressed frame.
    pub sha256: Sha256,
    /// The SHA-256 of the tar stream in it.
    pub content_sha256: Sha256,
}

/// The compressed forms of one frame.
#[derive(Debug, Clone, Default)]
pub struct Compressed {
    /// An independent zstd frame.
    pub zstd: Vec<u8>,
    /// Independent lz4 blocks; empty where no lz4 is asked for.
    pub lz4: Vec<u8>,
}

/// A full frame of zeros, compressed once for all threads: what makes holes cost nothing to speak of.
#[derive(Debug, Default)]
pub struct ZeroFrame(OnceLock<(Compressed, Digests)>);

/// Compresses frames with one reused zstd context.
pub struct FrameCompressor<'a> {
    context: zstd::bulk::Compressor<'static>,
    zero_frame: &'a ZeroFrame,
    frame_size: u32,
    with_lz4: bool,
}

impl<'a> FrameCompressor<'a> {
    /// A compressor at the settings' level; each frame carries its content size and zstd's own checksum, so that stock tools check it.
    pub fn new(settings: &Settings, with_lz4: bool, zero_frame: &'a ZeroFrame) -> std::io::Result<Self> {
        let mut context = zstd::bulk::Compressor::new(settings.level)?;
        context.set_parameter(CParameter::ContentSizeFlag(true))?;
        context.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self { context, zero_frame, frame_size: settings.frame_size, with_lz4 })
    }

    /// Compresses frame number `frame` of `length` bytes from `input` into `output`, which is overwritten.
    pub fn compress(
        &mut self,
        frame: usize,
        (content, length): (Content, u32),
        input: &mut Vec<u8>,
        output: &mut Compressed,
    ) -> Result<Digests, ArchiveError> {
        if content == Content::Bytes {
            return self.compress_bytes(frame, &input[..length as usize], output);
        }
        if let Some((compressed, digests)) = self.zero_frame.0.get().filter(|_| length == self.frame_size) {
            output.zstd.clone_from(&compressed.zstd);
            output.lz4.clone_from(&compressed.lz4);
            return Ok(*digests);
        }
        input.clear();
        input.resize(length as usize, 0);
        let digests = self.compress_bytes(frame, input, output)?;
        if length == self.frame_size {
            // Two threads may both be first; what they found is the same.
            let _ = self.zero_frame.0.set((output.clone(), digests));
        }
        Ok(digests)
    }

    fn compress_bytes(&mut self, frame: usize, input: &[u8], output: &mut Compressed) -> Result<Digests, ArchiveError> {
        let failed = |source| ArchiveError::Compress { frame, source };
        let Compressed { zstd, lz4 } = output;
        zstd.clear();
        zstd.reserve(compress_bound(input.len()));
        self.context.compress_to_buffer(input, zstd).map_err(failed)?;
        if self.with_lz4 {
            lz4::blocks(input, lz4).map_err(failed)?;
        }
        Ok(Digests {
            uncompressed_size: input.len() as u32,
            sha256: Sha256::of(zstd),
            content_sha256: Sha256::of(input),
        })
    }
}
