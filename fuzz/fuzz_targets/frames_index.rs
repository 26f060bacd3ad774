//! A frames index from outside, as the importer reads it: as it is stored, and as JSON that is compressed here.
//!
//! What is accepted may send no byte outside of a file, and no file outside of the database's folder.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use polkashots_shared::frames::FramesIndex;
use polkashots_shared::ids::{DatabaseKind, Sha256};
use polkashots_shared::manifest::{FileRef, Manifest};
use polkashots_shared::target::Format;

#[path = "../../workers/importer/src/plan/mod.rs"]
#[expect(dead_code, reason = "the importer uses all of it")]
mod plan;

static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| {
    Manifest::from_bytes(include_bytes!("../corpus/manifest/relay-rocksdb.json")).expect("a good manifest")
});

fuzz_target!(|data: &[u8]| {
    read(data);
    read(&zstd::encode_all(data, 1).expect("memory"));
});

fn read(stored: &[u8]) {
    let file = "20261122-194356.frames.json.zst".to_owned();
    let sha256 = Sha256::of(stored);
    let reference = FileRef { url: file.clone(), file, size: stored.len() as u64, sha256 };
    if let Ok(index) = plan::read_index(stored, &reference) {
        check(index);
    }
}

fn check(index: FramesIndex) {
    let manifest = fitting(&index);
    let artifact = manifest.artifact(Format::TarZst).expect("an archive");
    let Ok(plan) = plan::Plan::new(index, &manifest, artifact) else { return };
    let top = manifest.database.kind.folder();
    let legal = |segment: &str| !matches!(segment, "" | "." | "..");
    for path in plan.folders.iter().chain(plan.files.iter().map(|file| &file.path)) {
        assert!(path.split('/').next() == Some(top) && path.split('/').all(legal), "{path:?} is outside");
    }
    for frame in 0..plan.frames.len() {
        for piece in plan.pieces(frame) {
            let length = piece.content.len() as u64;
            assert!(piece.file_offset + length <= plan.files[piece.file].size, "a byte beyond its file");
            assert!(piece.content.end <= plan.frames[frame].uncompressed_size as usize, "a byte beyond its frame");
        }
    }
}

/// The manifest that says what the index says, as only then its inner checks are reached.
fn fitting(index: &FramesIndex) -> Manifest {
    const SEEK_TABLE_BYTES: [u64; 2] = [17, 8];
    let mut manifest = MANIFEST.clone();
    manifest.target = index.target.clone();
    manifest.version = index.version;
    manifest.artifacts[0].file = index.artifact.clone();
    manifest.files = index.files.len() as u64;
    if index.directories.first().is_some_and(|top| top == DatabaseKind::ParityDb.folder()) {
        manifest.database.kind = DatabaseKind::ParityDb;
    }
    if let Some(last) = index.frames.last() {
        let table = SEEK_TABLE_BYTES[0] + SEEK_TABLE_BYTES[1] * index.frames.len() as u64;
        let artifact = &mut manifest.artifacts[0];
        artifact.size = last.offset.saturating_add(u64::from(last.size)).saturating_add(table);
        artifact.uncompressed_size = index.uncompressed_size;
        manifest.disk_required = u64::MAX;
    }
    manifest
}
