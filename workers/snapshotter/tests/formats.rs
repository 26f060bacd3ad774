//! The optional formats: `.tar.lz4` and the tree, read as their consumers read them.

mod common;

use anyhow::{Context, Result};
use common::{Host, noise, shell, tree, version};
use polkashots_shared::ids::{DatabaseKind, Sha256};
use polkashots_shared::manifest::Artifact;
use polkashots_shared::names;
use polkashots_shared::ports::object_store::ObjectStore;
use polkashots_shared::target::{Format, Node};
use polkashots_shared::testkit::skip::program_or_skip;
use polkashots_shared::tree::sums_from_bytes;

fn host_with(formats: &[Format]) -> Result<Host> {
    let mut host = Host::with_base_path()?;
    host.target.formats = [&[Format::TarZst], formats].concat();
    Ok(host)
}

fn artifact(host: &Host, format: Format) -> Result<Artifact> {
    Ok(host.manifest()?.artifact(format).context("the manifest does not name it")?.clone())
}

#[tokio::test]
async fn lz4_holds_the_same_stream_and_checks_itself() -> Result<()> {
    const TEST: &str = "lz4_holds_the_same_stream_and_checks_itself";
    if program_or_skip(TEST, "lz4").is_none() || program_or_skip(TEST, "zstd").is_none() {
        return Ok(());
    }
    let host = host_with(&[Format::TarLz4])?;
    host.run().await?;
    let (lz4, named) = (host.object(".tar.lz4")?, artifact(&host, Format::TarLz4)?);
    assert_eq!((named.size, named.sha256), (lz4.len() as u64, Sha256::of(&lz4)));
    assert_eq!(named.file, format!("{}.tar.lz4", version()));
    let bucket = host.bucket()?;
    let compare = format!("cmp <(lz4 -q -d -c {0}.tar.lz4) <(zstd -q -d -c {0}.tar.zst)", version());
    shell(&bucket, &compare, b"")?;
    let frames = shell(&bucket, &format!("lz4 --list {}.tar.lz4", version()), b"")?;
    assert!(frames.lines().any(|line| line.split_whitespace().next() == Some("1")), "one frame: {frames}");
    let mut damaged = lz4.clone();
    damaged[lz4.len() / 2] ^= 1;
    assert!(shell(&bucket, "lz4 -q -d -c > /dev/null", &damaged).is_err(), "a changed byte was not noticed");
    assert!(shell(&bucket, "lz4 -q -d -c > /dev/null", &lz4[..lz4.len() - 5]).is_err(), "a cut was not noticed");
    Ok(())
}

#[tokio::test]
async fn every_format_is_byte_identical_whatever_the_threads() -> Result<()> {
    let mut host = Host::new(DatabaseKind::ParityDb)?;
    host.target.formats = vec![Format::TarZst, Format::TarLz4, Format::Tree];
    host.file("paritydb/full/table_00_15", &noise(3, 1_500_000))?;
    std::fs::File::create(host.chain_dir().join("paritydb/full/index_00_16"))?.set_len(3 << 20)?;
    host.run().await?;
    let first = host.store.objects();
    assert!(first.keys().any(|key| key.ends_with(".tar.lz4")) && first.keys().any(|key| key.ends_with("/index_00_16")));
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
async fn the_tree_is_the_database_and_its_lists_say_so() -> Result<()> {
    let mut host = host_with(&[Format::Tree])?;
    host.target.node = Some(Node { name: "polkadot".into(), version: "1.25.1".into() });
    host.run().await?;
    let bucket = host.bucket()?;
    let folder = bucket.join(version().to_string());
    let expected = tree(&host.unpack()?.join("db"))?;
    let files: Vec<&String> = expected.iter().filter(|(_, content)| content.is_some()).map(|(path, _)| path).collect();
    let list = std::fs::read_to_string(folder.join("files.txt"))?;
    let mut listed: Vec<&str> = list.lines().collect();
    assert!(listed.is_sorted() && list.ends_with('\n'), "{list}");
    listed.sort_unstable();
    assert_eq!(listed, files);
    for path in files {
        assert_eq!(Some(std::fs::read(folder.join(path))?), expected[path], "{path}");
    }
    let size: usize = expected.values().flatten().map(Vec::len).sum();
    let meta = String::from_utf8(host.object(".meta.txt")?)?;
    assert_eq!(meta, format!("size: {size}\nlastBlock: 396\nversion: 1.25.1\n"));
    let named = artifact(&host, Format::Tree)?;
    assert_eq!(named.uncompressed_size, size as u64);
    let checked = shell(&bucket, &format!("sha256sum --strict -c {}", named.file), b"")?;
    let sums = sums_from_bytes(&host.object(names::TREE_SUMS_SUFFIX)?, version())?;
    assert_eq!((checked.lines().count(), sums.len()), (listed.len() + 2, listed.len() + 2));
    assert!(!checked.contains("LOCK") && !checked.contains("keystore"), "{checked}");
    shell(&bucket, &format!("sha256sum --strict -c {}.SHA256SUMS", version()), b"")?;
    Ok(())
}

#[tokio::test]
async fn a_tree_that_was_half_sent_is_finished_and_never_replaced() -> Result<()> {
    let host = host_with(&[Format::Tree])?;
    host.run().await?;
    let whole = host.store.objects();
    for gone in [".manifest.json", ".tree.SHA256SUMS", "/full/CURRENT", "/full/000007.sst"] {
        host.store.delete(&names::object_key(&host.target.id, version(), gone)).await?;
    }
    host.run().await?;
    assert_eq!(keys_and_bytes(&host.store.objects()), keys_and_bytes(&whole));
    host.store.delete(&names::manifest_key(&host.target.id, version())).await?;
    for suffix in [".tar.zst", ".frames.json.zst"] {
        host.store.delete(&names::object_key(&host.target.id, version(), suffix)).await?;
    }
    host.file("db/full/CURRENT", b"MANIFEST-000005\n")?;
    let (text, permanent) = host.refusal().await?;
    assert!(permanent && text.contains("/full/CURRENT") && text.contains("objects are never replaced"), "{text}");
    Ok(())
}

fn keys_and_bytes(
    objects: &std::collections::BTreeMap<String, polkashots_shared::testkit::StoredObject>,
) -> Vec<(&String, &bytes::Bytes)> {
    objects.iter().map(|(key, object)| (key, &object.bytes)).collect()
}

#[tokio::test]
async fn names_that_a_file_list_cannot_say_are_refused() -> Result<()> {
    for (name, reason) in [("db/#1", "comment"), ("db/files.txt", "own list"), ("db/full/x ", "blank")] {
        let host = host_with(&[Format::Tree])?;
        host.file(name, b"")?;
        let (text, permanent) = host.refusal().await?;
        assert!(permanent && text.contains(name) && text.contains(reason), "{text}");
        assert!(!host.store.keys().contains(&names::manifest_key(&host.target.id, version())));
    }
    Ok(())
}
