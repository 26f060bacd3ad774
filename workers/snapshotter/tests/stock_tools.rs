//! What we publish, read with tools that everybody has.

mod common;

use anyhow::Result;
use common::{Host, shell, tree, version};
use polkashots_shared::ids::{DatabaseKind, Sha256};

#[tokio::test]
async fn zstd_and_tar_give_the_tree_without_what_must_stay() -> Result<()> {
    let host = Host::with_base_path()?;
    host.run().await?;
    let mut expected = tree(&host.chain_dir())?;
    expected.retain(|path, _| {
        let stays = ["LOCK", "LOG", "LOG.old.17"].map(|name| format!("db/full/{name}"));
        let beside_full = ["db/db_version", "db/metadata"];
        path.starts_with("db") && !stays.contains(path) && !beside_full.contains(&path.as_str())
    });
    assert!(expected.contains_key("db/full/db_version") && expected.contains_key("db/full/empty-folder"));
    assert_eq!(tree(&host.unpack()?)?, expected);
    Ok(())
}

#[tokio::test]
async fn tar_lists_neither_owner_nor_time_nor_odd_modes() -> Result<()> {
    let host = Host::with_base_path()?;
    host.run().await?;
    let listed = shell(host.dir.path(), "zstd -d -q | TZ=UTC tar --numeric-owner -tv", &host.object(".tar.zst")?)?;
    assert!(listed.lines().count() > 5, "{listed}");
    let mut names = Vec::new();
    for line in listed.lines() {
        let mode = if line.ends_with('/') { "drwxr-xr-x 0/0" } else { "-rw-r--r-- 0/0" };
        assert!(line.starts_with(mode) && line.contains(" 1970-01-01 00:00 "), "{line}");
        names.push(line.rsplit(' ').next().unwrap_or_default().trim_end_matches('/').to_owned());
    }
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(names[0], "db");
    Ok(())
}

#[tokio::test]
async fn zstd_list_and_test_read_every_frame_and_the_seek_table() -> Result<()> {
    let host = Host::with_base_path()?;
    host.run().await?;
    let bucket = host.bucket()?;
    let file = format!("{}.tar.zst", version());
    let listed = shell(&bucket, &format!("zstd --list -v {file} && zstd -t {file}"), b"")?;
    let frames = host.frames_index()?.frames.len();
    assert!(listed.contains(&format!("# Zstandard Frames: {frames}")), "{listed}");
    assert!(listed.contains("# Skippable Frames: 1"), "{listed}");
    assert!(listed.contains("Check: XXH64"), "{listed}");
    Ok(())
}

#[tokio::test]
async fn sha256sum_checks_every_published_file() -> Result<()> {
    let host = Host::with_base_path()?;
    host.run().await?;
    let checked = shell(&host.bucket()?, &format!("sha256sum --strict -c {}.SHA256SUMS", version()), b"")?;
    let expected = [".frames.json.zst", ".tar.zst"].map(|suffix| format!("{}{suffix}: OK", version()));
    assert_eq!(checked.lines().collect::<Vec<_>>(), expected);
    Ok(())
}

#[tokio::test]
async fn two_runs_are_byte_identical_whatever_the_threads() -> Result<()> {
    let mut host = Host::with_base_path()?;
    host.run().await?;
    let first = host.store.objects();
    for threads in [1, 5] {
        host.store = Default::default();
        host.target.compression.threads = threads;
        host.run().await?;
        let second = host.store.objects();
        assert!(first.keys().eq(second.keys()));
        for (key, object) in &first {
            assert_eq!(object.bytes, second[key].bytes, "{key} differs with {threads} threads");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_frames_index_describes_the_artifact() -> Result<()> {
    let host = Host::with_base_path()?;
    host.run().await?;
    let (archive, index, manifest) = (host.object(".tar.zst")?, host.frames_index()?, host.manifest()?);
    let (mut offset, mut stream) = (0, Vec::new());
    for frame in &index.frames {
        assert_eq!(frame.offset, offset);
        let compressed = &archive[offset as usize..][..frame.size as usize];
        assert_eq!(Sha256::of(compressed), frame.sha256);
        let content = zstd::decode_all(compressed)?;
        assert_eq!((content.len(), Sha256::of(&content)), (frame.uncompressed_size as usize, frame.content_sha256));
        stream.extend(content);
        offset += u64::from(frame.size);
    }
    assert_eq!(archive[offset as usize..][..4], 0x184D_2A5E_u32.to_le_bytes());
    let artifact = &manifest.artifacts[0];
    assert_eq!((artifact.size, artifact.sha256), (archive.len() as u64, Sha256::of(&archive)));
    assert_eq!(
        (stream.len() as u64, index.uncompressed_size),
        (artifact.uncompressed_size, artifact.uncompressed_size)
    );
    for file in &index.files {
        let content = &stream[file.offset as usize..][..file.size as usize];
        assert_eq!(content, std::fs::read(host.chain_dir().join(&file.path))?, "{}", file.path);
    }
    assert_eq!(manifest.files, index.files.len() as u64);
    assert!(index.directories.iter().any(|path| path == "db/full/empty-folder"));
    Ok(())
}

#[tokio::test]
async fn the_manifest_says_what_the_database_and_the_target_say() -> Result<()> {
    let host = Host::with_base_path()?;
    host.run().await?;
    let manifest = host.manifest()?;
    assert_eq!(manifest.created_at, host.ready().taken_at);
    assert_eq!((manifest.block.height, manifest.block.best_height), (396, 400));
    assert_eq!(manifest.chain, host.target.chain);
    assert_eq!(manifest.database.kind, DatabaseKind::RocksDb);
    let content: usize = tree(&host.unpack()?)?.values().flatten().map(Vec::len).sum();
    assert!(manifest.disk_required > content as u64);
    assert!(manifest.tool.starts_with("polkashots "));
    for (key, object) in host.store.objects() {
        assert!(object.headers.cache_control.contains("immutable"), "{key}");
    }
    Ok(())
}
