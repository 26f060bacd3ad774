//! Copies a file without its holes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::ports::chain_database::ChainDatabaseError;

/// Copies `source` to the new file `target`; what is a hole in the one is a hole in the other.
///
/// Names the source where reading fails, and the target where writing fails, as on a full disk.
pub(super) fn copy(source: &Path, target: &Path) -> Result<(), ChainDatabaseError> {
    let reading = |e: io::Error| ChainDatabaseError::io(source, e);
    let writing = |e: io::Error| ChainDatabaseError::io(target, e);
    let mut input = File::open(source).map_err(reading)?;
    let mut output = File::create_new(target).map_err(writing)?;
    let length = input.metadata().map_err(reading)?.len();
    output.set_len(length).map_err(writing)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut offset = 0;
    while let Some((start, end)) = next_range(&input, offset).map_err(reading)? {
        input.seek(SeekFrom::Start(start)).map_err(reading)?;
        output.seek(SeekFrom::Start(start)).map_err(writing)?;
        let mut range = (&input).take(end - start);
        loop {
            match range.read(&mut buffer).map_err(reading)? {
                0 => break,
                count => output.write_all(&buffer[..count]).map_err(writing)?,
            }
        }
        offset = end;
    }
    Ok(())
}

/// Start and end of the next bytes at or after `offset` that are no hole; `None` behind the last ones.
fn next_range(file: &File, offset: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?;
    Ok(Some((start, end)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        let file = File::create(&source).expect("a file");
        file.set_len(64 * 1024 * 1024).expect("its length");
        file.write_all_at(b"in the middle", 33_000_000).expect("some bytes");
        copy(&source, &target).expect("a copy");
        assert!(std::fs::read(&source).expect("source") == std::fs::read(&target).expect("target"));
        assert!(std::fs::metadata(&target).expect("target").blocks() * 512 < 1024 * 1024);
    }

    #[test]
    fn an_empty_file_is_copied() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        File::create(&source).expect("a file");
        copy(&source, &target).expect("a copy");
        assert_eq!(std::fs::metadata(&target).expect("target").len(), 0);
    }
}
