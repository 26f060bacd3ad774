//! A manifest or a tree's list of digests from outside: refused with a reason, or the same after writing and reading it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use polkashots_shared::manifest::Manifest;
use polkashots_shared::tree;

fuzz_target!(|data: &[u8]| {
    if let Ok(manifest) = Manifest::from_bytes(data) {
        let again = Manifest::from_bytes(&manifest.to_bytes());
        assert_eq!(again.expect("what was accepted is accepted again"), manifest);
        let version = manifest.version.to_string();
        for file in manifest.referenced_files() {
            assert!(file.file.starts_with(&version) && !file.file.contains('/'), "{:?} leads elsewhere", file.file);
        }
    }
    let version = "20261122-040000".parse().expect("a version");
    if let Ok(files) = tree::sums_from_bytes(data, version) {
        let again = tree::sums_from_bytes(&tree::sums_to_bytes(&files), version);
        assert_eq!(again.expect("what was accepted is accepted again"), files);
        for file in &files {
            assert!(!file.path.split('/').any(|segment| segment == ".."), "{:?} leads elsewhere", file.path);
        }
    }
});
