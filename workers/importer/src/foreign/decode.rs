//! Decompression of somebody else's archive, told apart by its first bytes: zstd, lz4 or none.

use std::io::{self, Cursor, Read};

/// What a decoder may be asked to look back, as a power of two: 128 MiB, which is also the most that `zstd -d` accepts.
const MAX_WINDOW_LOG: u32 = 27;
const MAGIC_BYTES: usize = 4;
const ZSTD: [u8; MAGIC_BYTES] = [0x28, 0xb5, 0x2f, 0xfd];
const LZ4: [u8; MAGIC_BYTES] = [0x04, 0x22, 0x4d, 0x18];
const LZ4_LEGACY: [u8; MAGIC_BYTES] = [0x02, 0x21, 0x4c, 0x18];
/// The beginnings of compressions that are not understood, and their names.
const OTHERS: [(&[u8], &str); 4] = [
    (&[0x1f, 0x8b], "gzip"),
    (b"BZh", "bzip2"),
    (&[0xfd, b'7', b'z', b'X'], "xz"),
    (&LZ4_LEGACY, "lz4's legacy format"),
];

/// The input without its compression.
///
/// # Errors
///
/// Where the first bytes are those of a compression that is not understood.
pub fn decoded<R: Read + 'static>(mut input: R) -> io::Result<Box<dyn Read>> {
    let magic = read_magic(&mut input)?;
    if let Some((_, name)) = OTHERS.iter().find(|(start, _)| magic.starts_with(start)) {
        return Err(invalid(format!("the archive is compressed by {name}: expected zstd, lz4 or none")));
    }
    let is_lz4 = magic == LZ4;
    let is_zstd = magic == ZSTD || is_skippable(&magic);
    let input = Cursor::new(magic).chain(input);
    if is_lz4 {
        return Ok(Box::new(Lz4Frames::new(input)));
    }
    if !is_zstd {
        return Ok(Box::new(input));
    }
    let mut decoder = zstd::Decoder::new(input)?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(Box::new(decoder))
}

/// One lz4 frame after the other, and what may be skipped between them; an end inside a frame is an error.
struct Lz4Frames<R: Read> {
    state: Option<State<R>>,
}

enum State<R: Read> {
    Between(R),
    Inside(Box<lz4::Decoder<io::Chain<Cursor<Vec<u8>>, R>>>),
}

impl<R: Read> Lz4Frames<R> {
    fn new(input: R) -> Self {
        Self { state: Some(State::Between(input)) }
    }

    /// Goes to the next frame; `None` at the end of the input.
    fn enter(mut input: R) -> io::Result<Option<State<R>>> {
        loop {
            let magic = read_magic(&mut input)?;
            if magic.is_empty() {
                return Ok(None);
            }
            if is_skippable(&magic) {
                let mut size = [0; 4];
                input.read_exact(&mut size)?;
                let size = u64::from(u32::from_le_bytes(size));
                if io::copy(&mut input.by_ref().take(size), &mut io::sink())? < size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            if magic != LZ4 {
                return Err(invalid("something that is not lz4 follows an lz4 frame".into()));
            }
            let decoder = lz4::Decoder::new(Cursor::new(magic).chain(input))?;
            return Ok(Some(State::Inside(Box::new(decoder))));
        }
    }
}

impl<R: Read> Read for Lz4Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // After an error or the end there is no state, and nothing comes any more.
            let mut decoder = match self.state.take() {
                None => return Ok(0),
                Some(State::Inside(decoder)) => decoder,
                Some(State::Between(input)) => {
                    self.state = Self::enter(input)?;
                    continue;
                }
            };
            let read = decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                self.state = Some(State::Inside(decoder));
                return Ok(read);
            }
            let (input, finished) = decoder.finish();
            finished.map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            self.state = Some(State::Between(input.into_inner().1));
        }
    }
}

/// The first four bytes, or fewer where the input ends before.
fn read_magic(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut magic = Vec::with_capacity(MAGIC_BYTES);
    input.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic)?;
    Ok(magic)
}

/// True for the beginning of a frame that both formats skip.
fn is_skippable(magic: &[u8]) -> bool {
    matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18])
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Gives one byte at a time, as a slow connection may.
    struct Dripping(Cursor<Vec<u8>>);

    impl Read for Dripping {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    fn lz4_frame(content: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = lz4::EncoderBuilder::new().build(Vec::new())?;
        encoder.write_all(content)?;
        let (frame, finished) = encoder.finish();
        finished.map(|()| frame)
    }

    fn read_all(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        decoded(Cursor::new(bytes.to_vec()))?.read_to_end(&mut content)?;
        let mut again = Vec::new();
        decoded(Dripping(Cursor::new(bytes.to_vec())))?.read_to_end(&mut again)?;
        assert_eq!(content, again, "the size of the reads makes a difference");
        Ok(content)
    }

    fn content() -> Vec<u8> {
        (0..200_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect()
    }

    #[test]
    fn frames_of_both_kinds_follow_one_another_with_what_is_skipped_between_them() -> io::Result<()> {
        let content = content();
        let skipped = [&[0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let twice = [&content[..], &content[..]].concat();
        for frame in [lz4_frame(&content)?, zstd::bulk::compress(&content, 1)?] {
            assert!(read_all(&frame)? == content);
            assert!(read_all(&[&frame[..], &skipped, &frame, &skipped].concat())? == twice);
        }
        assert_eq!(read_all(b"db/full/CURRENT")?, b"db/full/CURRENT");
        assert_eq!(read_all(b"")?, b"");
        Ok(())
    }

    #[test]
    fn what_is_cut_anywhere_is_an_error() -> io::Result<()> {
        for frame in [lz4_frame(&content())?, zstd::bulk::compress(&content(), 1)?] {
            for end in (4..frame.len()).step_by(frame.len() / 50 + 1).chain([frame.len() - 1]) {
                let found = decoded(Cursor::new(frame[..end].to_vec()))?.read_to_end(&mut Vec::new());
                assert!(found.is_err(), "{end} of {} bytes were enough", frame.len());
            }
        }
        Ok(())
    }

    #[test]
    fn other_compressions_are_named() {
        for (start, name) in OTHERS {
            let bytes = [start, &[0; 100]].concat();
            let error = decoded(Cursor::new(bytes)).err().expect("not understood");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn damage_behind_an_lz4_frame_is_noticed() -> io::Result<()> {
        let mut bytes = lz4_frame(&content())?;
        bytes.extend(b"what is this?");
        assert!(read_all(&bytes).is_err());
        Ok(())
    }
}
