//! The journal of a restore: which frames are on disk for good.
//!
//! An append-only file: a header that binds it to one manifest, then one record per frame. A record is appended and
//! fsynced only after the frame's data was; whatever a crash leaves at the end is ignored.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use polkashots_shared::ids::Sha256;

use crate::durable;

const MAGIC: &[u8; 16] = b"polkashots-jrn1\n";
const HEADER_BYTES: usize = 16 + 32;
/// A frame's number and its complement, so that zeros are no record.
const RECORD_BYTES: usize = 8;

/// An open journal.
#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    /// Makes an empty journal for the manifest of that digest, durably.
    pub fn create(path: &Path, manifest: Sha256) -> io::Result<Self> {
        let header: Vec<u8> = MAGIC.iter().chain(&manifest.0).copied().collect();
        durable::write_file(path, &header)?;
        let file = OpenOptions::new().append(true).custom_flags(durable::no_follow()).open(path)?;
        Ok(Self(file))
    }

    /// Opens the journal of the manifest of that digest and marks its frames in a list of `frames`; `None` where there is none.
    ///
    /// What a crash left behind the last whole record is cut off.
    pub fn open(path: &Path, manifest: Sha256, frames: usize) -> io::Result<Option<(Self, Vec<bool>)>> {
        let Some((done, valid)) = read(path, manifest, frames)? else { return Ok(None) };
        let file = OpenOptions::new().append(true).custom_flags(durable::no_follow()).open(path)?;
        file.set_len((HEADER_BYTES + valid * RECORD_BYTES) as u64)?;
        Ok(Some((Self(file), done)))
    }

    /// Which frames a journal has, without opening it for more.
    pub fn peek(path: &Path, manifest: Sha256, frames: usize) -> io::Result<Option<Vec<bool>>> {
        Ok(read(path, manifest, frames)?.map(|(done, _)| done))
    }

    /// Records frames whose data is durable, durably.
    pub fn append(&mut self, frames: &[usize]) -> io::Result<()> {
        let record = |frame: &usize| {
            let number = *frame as u32;
            [number.to_le_bytes(), (!number).to_le_bytes()].concat()
        };
        let bytes: Vec<u8> = frames.iter().flat_map(record).collect();
        self.0.write_all(&bytes)?;
        self.0.sync_data()
    }
}

fn read(path: &Path, manifest: Sha256, frames: usize) -> io::Result<Option<(Vec<bool>, usize)>> {
    let most = HEADER_BYTES + RECORD_BYTES * frames.saturating_mul(4).saturating_add(1024);
    let bytes = match durable::read_limited(path, most as u64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some((header, records)) = bytes.split_at_checked(HEADER_BYTES) else { return Ok(None) };
    if header[..MAGIC.len()] != *MAGIC || header[MAGIC.len()..] != manifest.0 {
        return Ok(None);
    }
    Ok(Some(read_records(records, frames)))
}

/// Reads records up to the first that is none; gives the frames and how many records were read.
fn read_records(records: &[u8], frames: usize) -> (Vec<bool>, usize) {
    let mut done = vec![false; frames];
    let mut valid = 0;
    for record in records.chunks_exact(RECORD_BYTES) {
        let number = u32::from_le_bytes([record[0], record[1], record[2], record[3]]);
        let check = u32::from_le_bytes([record[4], record[5], record[6], record[7]]);
        match done.get_mut(number as usize) {
            Some(slot) if check == !number => *slot = true,
            _ => break,
        }
        valid += 1;
    }
    (done, valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: Sha256 = Sha256([7; 32]);

    fn numbers(done: &[bool]) -> Vec<usize> {
        done.iter().enumerate().filter_map(|(number, done)| done.then_some(number)).collect()
    }

    #[test]
    fn what_a_crash_leaves_at_the_end_is_ignored() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("journal");
        let mut journal = Journal::create(&path, MANIFEST)?;
        journal.append(&[3, 0])?;
        for garbage in [&[0_u8; 8][..], &[0; 4096], &[5, 0, 0, 0], &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]] {
            let mut bytes = std::fs::read(&path)?;
            bytes.extend_from_slice(garbage);
            std::fs::write(&path, bytes)?;
            let (_, done) = Journal::open(&path, MANIFEST, 10)?.expect("a journal");
            assert_eq!(numbers(&done), [0, 3]);
        }
        let (mut journal, _) = Journal::open(&path, MANIFEST, 10)?.expect("a journal");
        journal.append(&[9])?;
        let (_, done) = Journal::open(&path, MANIFEST, 10)?.expect("a journal");
        assert_eq!(numbers(&done), [0, 3, 9]);
        Ok(())
    }

    #[test]
    fn a_journal_of_another_manifest_or_of_none_is_not_used() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("journal");
        assert!(Journal::open(&path, MANIFEST, 10)?.is_none());
        Journal::create(&path, MANIFEST)?;
        assert!(Journal::open(&path, Sha256([8; 32]), 10)?.is_none());
        std::fs::write(&path, b"polka")?;
        assert!(Journal::open(&path, MANIFEST, 10)?.is_none());
        Ok(())
    }
}
