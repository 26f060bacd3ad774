//! One compressor thread's work: a frame of tar stream becomes an independent zstd frame with its two digests.

use std::sync::OnceLock;

use polkashots_shared::ids::Sha256;
use zstd::zstd_safe::{CParameter, compress_bound};

use crate::error::ArchiveError;
use crate::reader::Content;

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

/// A full frame of zeros, compressed once for all threads: what makes holes cost nothing to speak of.
#[derive(Debug, Default)]
pub struct ZeroFrame(OnceLock<(Vec<u8>, Digests)>);

/// Compresses frames with one reused zstd context.
pub struct FrameCompressor<'a> {
    context: zstd::bulk::Compressor<'static>,
    zero_frame: &'a ZeroFrame,
    frame_size: u32,
}

impl<'a> FrameCompressor<'a> {
    /// A compressor at `level`; each frame carries its content size and zstd's own checksum, so that stock tools check it.
    pub fn new(level: i32, frame_size: u32, zero_frame: &'a ZeroFrame) -> std::io::Result<Self> {
        let mut context = zstd::bulk::Compressor::new(level)?;
        context.set_parameter(CParameter::ContentSizeFlag(true))?;
        context.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self { context, zero_frame, frame_size })
    }

    /// Compresses frame number `frame` of `length` bytes from `input` into `output`, which is overwritten.
    pub fn compress(
        &mut self,
        frame: usize,
        (content, length): (Content, u32),
        input: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Result<Digests, ArchiveError> {
        if content == Content::Bytes {
            return self.compress_bytes(frame, &input[..length as usize], output);
        }
        if let Some((compressed, digests)) = self.zero_frame.0.get().filter(|_| length == self.frame_size) {
            output.clear();
            output.extend_from_slice(compressed);
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

    fn compress_bytes(&mut self, frame: usize, input: &[u8], output: &mut Vec<u8>) -> Result<Digests, ArchiveError> {
        output.clear();
        output.reserve(compress_bound(input.len()));
        self.context.compress_to_buffer(input, output).map_err(|source| ArchiveError::Compress { frame, source })?;
        Ok(Digests {
            uncompressed_size: input.len() as u32,
            sha256: Sha256::of(output),
            content_sha256: Sha256::of(input),
        })
    }
}
