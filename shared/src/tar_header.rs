//! The header blocks of our tar streams, which depend on an entry's path and size only.
//!
//! They are ustar, with GNU's base-256 sizes beyond 8 GiB and GNU's long-name entry beyond 255 characters, mode 0644 or
//! 0755, owner 0:0 without names, time 0. So an archive's stream can be made again from the files that were restored.

use tar::{EntryType, Header};

/// The unit of a tar stream, in bytes.
pub const BLOCK_BYTES: u64 = 512;

/// The header blocks of the file at `path` with `size` bytes; of the directory at `path` where there is no size.
pub fn tar_header(path: &str, size: Option<u64>) -> Vec<u8> {
    let (entry_type, mode, name) = match size {
        Some(_) => (EntryType::Regular, 0o644, path.to_owned()),
        None => (EntryType::Directory, 0o755, format!("{path}/")),
    };
    let mut header = plain_header(entry_type, mode, size.unwrap_or_default());
    let mut blocks = Vec::new();
    if header.set_path(&name).is_err() {
        blocks = long_name(&name);
        // The name field of what follows a long name is not read.
        header.as_old_mut().name[..4].copy_from_slice(b"long");
    }
    header.set_cksum();
    blocks.extend_from_slice(header.as_bytes());
    blocks
}

fn plain_header(entry_type: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// GNU's entry that carries the name of the next one.
fn long_name(name: &str) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(name.len() as u64 + 1);
    header.as_old_mut().name[..13].copy_from_slice(b"././@LongLink");
    header.set_cksum();
    let mut blocks = header.as_bytes().to_vec();
    blocks.extend_from_slice(name.as_bytes());
    // At least one NUL ends the name.
    blocks.resize((blocks.len() + 1).next_multiple_of(BLOCK_BYTES as usize), 0);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_beyond_eight_gibibytes_and_long_names_read_back() -> anyhow::Result<()> {
        let long = format!("db/{}", "x".repeat(240));
        let longer = format!("db/{0}/{0}", "y".repeat(240));
        for path in ["db/full/000001.sst", &long, &longer] {
            let stream = tar_header(path, Some(0));
            let mut archive = tar::Archive::new(&stream[..]);
            let entry = archive.entries()?.next().expect("one entry")?;
            assert_eq!(entry.path()?.to_str(), Some(path));
            assert_eq!(entry.header().mode()?, 0o644);
        }
        let huge = tar_header("db/huge", Some(9 << 30));
        assert_eq!(Header::from_byte_slice(&huge).entry_size()?, 9 << 30);
        Ok(())
    }
}
