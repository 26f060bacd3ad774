use polkashots_shared::frames::FileEntry;
use polkashots_shared::ids::Sha256;

use super::*;

fn frame(offset: u64, size: u32, uncompressed_size: u32) -> Frame {
    let digest = Sha256([0; 32]);
    Frame { offset, size, uncompressed_size, sha256: digest, content_sha256: digest }
}

fn plan(frames: &[(u32, u32)], files: &[(u64, u64)]) -> Plan {
    let mut offset = 0;
    let mut content = 0;
    let mut plan = Plan {
        frames: Vec::new(),
        content_starts: Vec::new(),
        folders: vec!["db".into()],
        directories: Vec::new(),
        files: Vec::new(),
        artifact_size: 0,
        disk_limit: u64::MAX,
    };
    for (size, uncompressed) in frames {
        plan.frames.push(frame(offset, *size, *uncompressed));
        plan.content_starts.push(content);
        offset += u64::from(*size);
        content += u64::from(*uncompressed);
    }
    for (number, (offset, size)) in files.iter().enumerate() {
        plan.files.push(PlannedFile { path: format!("db/{number}"), offset: *offset, size: *size });
    }
    plan
}

#[test]
fn pieces_cover_every_byte_of_every_file_once() {
    let seed = fastrand::u64(..);
    println_seed(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..200 {
        let mut end = 0_u64;
        let mut files = Vec::new();
        for _ in 0..random.usize(0..12) {
            let offset = end.next_multiple_of(TAR_BLOCK) + TAR_BLOCK;
            let size = if random.bool() { 0 } else { random.u64(0..5000) };
            files.push((offset, size));
            end = offset + size;
        }
        let mut left = end + 1024;
        let mut frames = Vec::new();
        while left > 0 {
            let size = random.u64(1..3000).min(left);
            frames.push((10, size as u32));
            left -= size;
        }
        let plan = plan(&frames, &files);
        let mut done = vec![0_u64; files.len()];
        for index in 0..plan.frames.len() {
            for piece in plan.pieces(index) {
                assert_eq!(piece.file_offset, done[piece.file], "seed {seed}");
                let in_stream = plan.content_starts[index] + piece.content.start as u64;
                assert_eq!(in_stream, plan.files[piece.file].offset + piece.file_offset, "seed {seed}");
                done[piece.file] += piece.content.len() as u64;
            }
        }
        let sizes: Vec<u64> = files.iter().map(|(_, size)| *size).collect();
        assert_eq!(done, sizes, "seed {seed}");
    }
}

fn println_seed(seed: u64) {
    // Captured, and shown when the test fails.
    #[expect(clippy::print_stdout, reason = "a random test prints its seed")]
    {
        println!("seed {seed}");
    }
}

fn index(directories: &[&str], files: &[&str]) -> FramesIndex {
    let files = files.iter().map(|path| FileEntry { path: (*path).into(), offset: 512, size: 0 }).collect();
    FramesIndex {
        schema: 1,
        target: "t".parse().expect("legal"),
        version: "20261122-040000".parse().expect("legal"),
        artifact: "20261122-040000.tar.zst".into(),
        uncompressed_size: 0,
        frames: vec![],
        directories: directories.iter().map(|path| (*path).into()).collect(),
        files,
    }
}

#[test]
fn folders_that_only_files_imply_are_made() {
    let folders = paths::check(&index(&["db"], &["db/full/parachains/db/CURRENT"]), "db");
    let expected = ["db", "db/full", "db/full/parachains", "db/full/parachains/db"].map(String::from);
    assert_eq!(folders, Ok(expected.to_vec()));
}

#[test]
fn paths_that_could_mean_another_place_are_refused() {
    for bad in [
        "/db/x",
        "db/../x",
        "db//x",
        "db/./x",
        "db/x/",
        "db/",
        "db/a\0b",
        "db/a\nb",
        "db/a\u{7f}",
        "db\\x",
        "other/x",
        "paritydb/x",
        "db/keystore/x",
        "db/full/network/secret",
        "db/KeyStore/x",
        "",
        ".",
        "..",
        "db",
    ] {
        assert!(paths::check(&index(&["db"], &[bad]), "db").is_err(), "file {bad:?} was accepted");
    }
    let deep = format!("db{}", "/a".repeat(40));
    let long = format!("db/{}", "a".repeat(256));
    for bad in ["/db", "db/..", "keystore", "db/keystore", deep.as_str(), long.as_str()] {
        assert!(paths::check(&index(&[bad], &["db/x"]), "db").is_err(), "folder {bad:?} was accepted");
    }
}

#[test]
fn paths_that_contradict_one_another_are_refused() {
    for (directories, files) in [
        (vec!["db"], vec!["db/x", "db/x"]),
        (vec!["db", "db"], vec![]),
        (vec!["db", "db/x"], vec!["db/x"]),
        (vec!["db"], vec!["db/x", "db/x/y"]),
        (vec!["db"], vec!["db/x", "db/X"]),
        (vec!["db", "db/full", "db/FULL"], vec![]),
    ] {
        assert!(paths::check(&index(&directories, &files), "db").is_err(), "{files:?} was accepted");
    }
}
