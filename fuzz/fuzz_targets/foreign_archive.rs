//! Somebody else's tar stream from outside: refused with a reason, or files and folders of one database and nothing else.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;

#[path = "../../workers/importer/src/foreign/entries.rs"]
mod entries;
#[path = "../../workers/importer/src/foreign/layout.rs"]
mod layout;
#[path = "../../workers/importer/src/plan/mod.rs"]
#[expect(dead_code, reason = "the importer uses all of it")]
mod plan;
#[path = "../../workers/importer/src/foreign/sparse.rs"]
mod sparse;

/// No test may take for ever, whatever size a header states.
const MAX_ENTRIES: usize = 10_000;
/// The same for the holes of one file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

fuzz_target!(|data: &[u8]| {
    read(data);
    // Only what has right checksums gets past the first header.
    read(&with_checksums(data));
});

fn read(stream: &[u8]) {
    let mut entries = entries::Entries::new(stream);
    let mut layout = layout::Layout::new(Some("polkadot".to_owned()));
    let mut made = HashSet::new();
    for _ in 0..MAX_ENTRIES {
        let Ok(Some(entry)) = entries.next() else { break };
        let Ok(placed) = layout.place(&entry) else { return };
        let file = placed.file.iter().map(|(path, _)| path);
        for path in placed.folders.iter().chain(file) {
            let legal = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains(char::is_control);
            assert!(path.split('/').all(legal), "{path:?} is outside");
            let top = layout.kind().expect("a database").folder();
            assert!(path.split('/').next() == Some(top), "{path:?} is outside of {top}");
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            assert!(parent.is_none_or(|parent| made.contains(parent)), "{path:?} has no folder");
            assert!(made.insert(path.clone()), "{path:?} is made twice");
        }
        if !content_is_as_stated(&mut entries, &entry) {
            return;
        }
    }
    if let Ok((kind, paths)) = layout.finish() {
        assert!(paths.files().all(|file| made.contains(file)) && paths.folders().all(|folder| made.contains(folder)));
        assert!(paths.folders().any(|folder| folder == kind.folder()));
    }
}

/// False where the stream ends before the content does.
fn content_is_as_stated(entries: &mut entries::Entries<&[u8]>, entry: &entries::Entry) -> bool {
    if entry.size > Some(MAX_FILE_BYTES) {
        return true;
    }
    let (mut buffer, mut bytes) = ([0; 4096], 0);
    loop {
        match entries.read_content(&mut buffer) {
            Err(_) => return false,
            Ok(0) => break,
            Ok(read) => bytes += read as u64,
        }
    }
    assert_eq!(bytes, entry.size.unwrap_or_default(), "{:?} has another size than stated", entry.path);
    true
}

/// Puts the right checksum into every block, which harms contents and helps headers.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut stream = data.to_vec();
    for block in stream.chunks_exact_mut(512).filter(|block| block.iter().any(|byte| *byte != 0)) {
        let mut header = tar::Header::from_byte_slice(block).clone();
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
    stream
}
