//! Tar headers: what we write is read back by another reader as it was meant, whatever the path and the size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use polkashots_shared::tar_header::{BLOCK_BYTES, tar_header};

fuzz_target!(|data: &[u8]| {
    let Some((size, path)) = data.split_first_chunk::<8>() else { return };
    let Ok(path) = std::str::from_utf8(path) else { return };
    let legal = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains(char::is_control);
    if !path.split('/').all(legal) {
        return;
    }
    // Files are not larger than what a system can address: 2^62 bytes is beyond all of them.
    let size = u64::from_le_bytes(*size) >> 2;
    for size in [Some(size), None] {
        let header = tar_header(path, size);
        assert_eq!(header.len() as u64 % BLOCK_BYTES, 0);
        let mut archive = tar::Archive::new(&header[..]);
        let mut entries = archive.entries().expect("an archive");
        let entry = entries.next().expect("one entry").expect("a good header");
        let found = entry.path_bytes();
        assert_eq!(found.strip_suffix(b"/").unwrap_or(&found), path.as_bytes());
        assert_eq!(entry.header().entry_type().is_dir(), size.is_none());
        assert_eq!(entry.header().entry_size().expect("a size"), size.unwrap_or_default());
    }
});
