//! How archives are compressed, checked once.

use polkashots_shared::frames::MAX_FRAME_BYTES;
use polkashots_shared::target::Compression;

use crate::error::ArchiveError;

/// Levels beyond 19 need windows that stock tools refuse by default.
const LEVELS: std::ops::RangeInclusive<i32> = 1..=19;
const MIN_FRAME_BYTES: u32 = 256 * 1024;
/// Threads beyond these are used only when asked for, so that memory stays below 256 MiB with default frames.
const MAX_DEFAULT_THREADS: usize = 8;
const MAX_THREADS: usize = 256;

/// Checked compression settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// zstd level.
    pub level: i32,
    /// Most bytes of tar stream in one frame.
    pub frame_size: u32,
    /// Compressor threads.
    pub threads: usize,
}

impl Settings {
    /// Checks a target's settings; 0 threads become one per core, at most 8.
    pub fn new(compression: &Compression) -> Result<Self, ArchiveError> {
        let Compression { level, frame_size_bytes: frame_size, threads } = *compression;
        let wrong = |setting, found: String, expected| Err(ArchiveError::Setting { setting, found, expected });
        if !LEVELS.contains(&level) {
            return wrong("level", level.to_string(), "1 to 19");
        }
        if !(MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&frame_size) {
            return wrong("frame_size_bytes", frame_size.to_string(), "262144 (256 KiB) to 67108864 (64 MiB)");
        }
        if threads > MAX_THREADS {
            return wrong("threads", threads.to_string(), "0 (one per core) to 256");
        }
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_DEFAULT_THREADS));
        Ok(Self { level, frame_size, threads: if threads == 0 { cores() } else { threads } })
    }

    /// Frames in flight at most: one being compressed per thread, one being read, one being stored, and some that wait.
    /// With lz4 each takes half as much memory again, so fewer wait.
    pub fn slots(&self, with_lz4: bool) -> usize {
        let waiting = if with_lz4 { self.threads.div_ceil(4) } else { self.threads };
        self.threads + waiting + 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_bounds_are_refused_by_name() {
        let good = Compression::default();
        assert!(Settings::new(&good).is_ok_and(|settings| settings.threads >= 1));
        for (name, bad) in [
            ("compression.level is 20", Compression { level: 20, ..good.clone() }),
            ("compression.level is 0", Compression { level: 0, ..good.clone() }),
            ("compression.frame_size_bytes is 1", Compression { frame_size_bytes: 1, ..good.clone() }),
            ("compression.threads is 257", Compression { threads: 257, ..good.clone() }),
        ] {
            let error = Settings::new(&bad).expect_err(name);
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
}
