//! Hostile snapshots: one per attack, each refused, with nothing outside the destination touched and no byte of a file written.
//!
//! Most are signed by the pinned key: a publisher that was taken over must not be able to write outside either.

use std::path::Path;

use crate::common::{Bucket, Snapshot, refused, tree};
use anyhow::{Context as _, Result};
use polkashots_importer::{ErrorKind, Key, RestoreRequest};
use polkashots_shared::frames::FileEntry;
use polkashots_shared::ids::{BlockHash, Sha256};
use polkashots_shared::minisign::SecretKey;

type Expectation = (&'static str, fn(&mut RestoreRequest));
type Attack = (&'static str, fn(&mut Snapshot), &'static str);

fn rename(snapshot: &mut Snapshot, path: &'static str) {
    snapshot.frames = Box::new(move |index| index.files[0].path = path.into());
}

/// Name, attack, and what the refusal says.
const ATTACKS: &[Attack] = &[
    ("absolute path", |s| rename(s, "/tmp/polkashots-escape"), "is absolute"),
    ("parent path", |s| rename(s, "db/../../escape"), ".. segment"),
    ("empty segment", |s| rename(s, "db//x"), "empty"),
    ("nul in a name", |s| rename(s, "db/a\0b"), "control character"),
    ("newline in a name", |s| rename(s, "db/a\nb"), "control character"),
    ("name that is not UTF-8", |s| s.json = Box::new(|json| not_utf8(json)), "invalid unicode"),
    ("sparse bomb", |s| s.frames = Box::new(sparse_bomb), "frames hold"),
    ("backslash in a name", |s| rename(s, "db/..\\x"), "backslash"),
    ("keystore inside", |s| rename(s, "db/keystore/aura"), "keystore"),
    ("network inside", |s| rename(s, "db/network/secret_ed25519"), "network"),
    ("other top folder", |s| rename(s, "keystore/aura"), "keystore"),
    ("other database's folder", |s| rename(s, "paritydb/full/x"), "not inside db/"),
    ("our own folder", |s| rename(s, ".polkashots/db.lock"), "not inside db/"),
    ("duplicate entry", |s| s.frames = Box::new(|i| i.files[1].path = i.files[0].path.clone()), "twice"),
    ("case collision", |s| rename(s, "db/full/current"), "upper and lower case"),
    ("file where a folder is", |s| rename(s, "db/full"), "is a file and a folder"),
    ("frame offset", |s| s.frames = Box::new(|i| i.frames[3].offset += 1), "frame 3 starts at"),
    ("frames out of order", |s| s.frames = Box::new(|i| i.frames.swap(1, 2)), "frame 1 starts at"),
    ("frame size", |s| s.frames = Box::new(|i| i.frames[0].size = u32::MAX), "frame 0 has"),
    ("frame of no bytes", |s| s.frames = Box::new(|i| i.frames[0].size = 0), "frame 0 has 0"),
    ("frame unpacks to too much", |s| s.frames = Box::new(|i| i.frames[0].uncompressed_size = u32::MAX), "unpacks to"),
    ("frame missing", |s| s.frames = Box::new(|i| i.frames.truncate(5)), "frames hold"),
    ("no frames", |s| s.frames = Box::new(|i| i.frames.clear()), "has 0 frames"),
    ("file beyond the stream", |s| s.frames = Box::new(|i| i.files[0].size = u64::MAX), "leaves the stream"),
    ("files overlap", |s| s.frames = Box::new(|i| i.files[2].offset = i.files[1].offset), "overlaps"),
    ("file without a header", |s| s.frames = Box::new(|i| i.files[0].offset = 0), "overlaps"),
    ("file off the grid", |s| s.frames = Box::new(|i| i.files[0].offset += 1), "multiple of 512"),
    ("files out of order", |s| s.frames = Box::new(|i| i.files.swap(0, 1)), "overlaps"),
    ("other uncompressed size", |s| s.frames = Box::new(|i| i.uncompressed_size += 512), "frames hold"),
    (
        "frames of another snapshot",
        |s| s.frames = Box::new(|i| i.version = "20200101-000000".parse().expect("legal")),
        "describes",
    ),
    ("newer frames schema", |s| s.frames = Box::new(|i| i.schema = 2), "update polkashots"),
    ("frame digest", |s| s.frames = Box::new(|i| i.frames[2].sha256 = Sha256([1; 32])), "frame 2"),
    ("zip bomb", |s| s.frames = Box::new(bomb), "frames take"),
    ("more files than declared", |s| s.manifest = Box::new(|m| m.files -= 1), "the manifest says"),
    ("more bytes than declared", |s| s.manifest = Box::new(|m| m.disk_required = 4096), "declares"),
    ("larger artifact than its frames", |s| s.manifest = Box::new(|m| m.artifacts[0].size += 1), "seek table"),
    ("manifest names a path", |s| s.manifest = Box::new(|m| m.chain.id = "../../etc".into()), "name of a folder"),
    ("hidden chain folder", |s| s.manifest = Box::new(|m| m.chain.id = ".ssh".into()), "name of a folder"),
    ("built-in chain's folder", |s| s.manifest = Box::new(|m| m.chain.id = "polkadot".into()), "expected genesis"),
    ("built-in chain's name", |s| s.manifest = Box::new(|m| m.chain.name = "polkadot".into()), "expected genesis"),
    ("newer manifest schema", |s| s.manifest = Box::new(|m| m.schema = 2), "update polkashots"),
    (
        "manifest of another target",
        |s| s.manifest = Box::new(|m| m.permalink = "test/other".parse().expect("legal")),
        "no target",
    ),
    (
        "artifact is a local file",
        |s| s.manifest = Box::new(|m| m.artifacts[0].url = "/etc/passwd".into()),
        "relative path",
    ),
    (
        "artifact above the bucket",
        |s| s.manifest = Box::new(|m| m.artifacts[0].url = "../../x".into()),
        "relative path",
    ),
    ("frames index is replaced", |s| s.manifest = Box::new(|m| frames_of(m).sha256 = Sha256([2; 32])), "expected"),
    ("frames index is larger", |s| s.manifest = Box::new(|m| frames_of(m).size -= 1), "larger than"),
    ("no frames index", |s| s.manifest = Box::new(|m| m.artifacts[0].frames = None), "no tar.zst archive"),
    ("one frame is changed", |s| s.tamper = Box::new(|a| a[40_000] ^= 1), "SHA-256"),
    ("archive is cut", |s| s.tamper = Box::new(|a| a.truncate(100_000)), "100000 bytes"),
    ("archive is longer", |s| s.tamper = Box::new(|a| a.push(0)), "the signed manifest says"),
];

/// Puts a byte that no text has into the first file's name.
fn not_utf8(json: &mut [u8]) {
    let name = b"CURRENT";
    let at = json.windows(name.len()).position(|window| window == name).expect("a file of that name");
    json[at] = 0xff;
}

/// States a file of a pebibyte, which would be one hole.
fn sparse_bomb(index: &mut polkashots_shared::frames::FramesIndex) {
    index.files.last_mut().expect("a file").size = 1 << 50;
    index.uncompressed_size = 1 << 51;
}

fn frames_of(manifest: &mut polkashots_shared::manifest::Manifest) -> &mut polkashots_shared::manifest::FileRef {
    manifest.artifacts[0].frames.as_mut().expect("a frames index")
}

/// States frames of the largest size for an archive that has not so many bytes.
fn bomb(index: &mut polkashots_shared::frames::FramesIndex) {
    let last = index.frames.last().expect("a frame").clone();
    for _ in 0..1000 {
        let offset = index.frames.last().map_or(0, |frame| frame.offset + u64::from(frame.size));
        index.frames.push(polkashots_shared::frames::Frame { offset, uncompressed_size: 64 << 20, ..last.clone() });
    }
    index.uncompressed_size += 1000 * (64 << 20);
}

/// The names of all hostile snapshots.
pub fn attack_names() -> impl Iterator<Item = &'static str> {
    ATTACKS.iter().map(|(name, _, _)| *name)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_is_refused_and_touches_nothing() -> Result<()> {
    let mut wrong = Vec::new();
    for (name, attack, expected) in ATTACKS {
        let parent = tempfile::tempdir()?;
        let mut bucket = Bucket::new()?;
        let mut snapshot = Snapshot::new(tree(30));
        attack(&mut snapshot);
        bucket.publish(&snapshot).with_context(|| format!("publish {name}"))?;
        let request = bucket.request(&bucket.source(), &parent.path().join("chain"));
        let error = refused(&request).await.with_context(|| name.to_string())?.to_string();
        if !error.contains(expected) {
            wrong.push(format!("{name}: expected {expected:?} in: {error}"));
        }
        nothing_but_staging(parent.path()).with_context(|| name.to_string())?;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Sees that nothing is in `parent` but a staging folder, whose files hold only zeros or what was verified.
fn nothing_but_staging(parent: &Path) -> Result<()> {
    let good = tree(30);
    let mut folders = vec![parent.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.symlink_metadata()?.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(parent)?.display().to_string();
            anyhow::ensure!(relative.starts_with("chain/.polkashots/"), "{relative} was written");
            if let Some(inside) = relative.strip_prefix("chain/.polkashots/db.partial/")
                && inside.starts_with("db/")
            {
                let right = good.get(inside).with_context(|| format!("{inside} was made"))?;
                let found = std::fs::read(&path)?;
                let is_verified = found.iter().zip(right).all(|(found, right)| *found == 0 || found == right);
                anyhow::ensure!(is_verified, "{inside} holds unverified bytes");
            }
        }
    }
    Ok(())
}

/// Links and devices cannot be told by a frames index, and the tar stream's own headers are never believed.
#[tokio::test(flavor = "multi_thread")]
async fn links_and_devices_in_the_tar_stream_make_nothing() -> Result<()> {
    for kind in [b'1', b'2', b'3', b'4', b'6'] {
        let mut bucket = Bucket::new()?;
        let mut snapshot = Snapshot::new(tree(37));
        snapshot.header = Box::new(move |header| {
            header[156] = kind;
            header[157..169].copy_from_slice(b"/etc/passwd\0");
        });
        bucket.publish(&snapshot)?;
        let chain = tempfile::tempdir()?;
        crate::common::restored(&bucket.request(&bucket.source(), chain.path())).await?;
        assert_eq!(crate::common::read_tree(chain.path())?, tree(37), "entries of type {}", char::from(kind));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_frame_that_unpacks_to_more_than_stated_is_not_written() -> Result<()> {
    let mut bucket = Bucket::new()?;
    let mut snapshot = Snapshot::new(tree(30));
    // The frame is replaced by one of the right size and digest that holds more than the index says.
    let (_, honest) = snapshot.pack()?;
    let largest = honest.frames.iter().enumerate().max_by_key(|(_, frame)| frame.size).context("a frame")?;
    let (number, start, wanted) = (largest.0, largest.1.offset as usize, largest.1.size as usize);
    let mut bomb = zstd::bulk::compress(&vec![7; 64 << 20], 19)?;
    anyhow::ensure!(bomb.len() + 8 <= wanted, "the bomb has {} bytes, the frame {wanted}", bomb.len());
    bomb.extend(0x184D_2A50_u32.to_le_bytes());
    bomb.extend(((wanted - bomb.len() - 4) as u32).to_le_bytes());
    bomb.resize(wanted, 0);
    let digest = Sha256::of(&bomb);
    snapshot.archive = Box::new(move |archive| archive[start..start + wanted].copy_from_slice(&bomb));
    snapshot.frames = Box::new(move |index| index.frames[number].sha256 = digest);
    bucket.publish(&snapshot)?;
    let parent = tempfile::tempdir()?;
    let error = refused(&bucket.request(&bucket.source(), &parent.path().join("chain"))).await?;
    assert!(error.to_string().contains("does not unpack"), "{error}");
    nothing_but_staging(parent.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frames_index_with_millions_of_entries_is_refused_while_it_is_read() -> Result<()> {
    let mut bucket = Bucket::new()?;
    let mut snapshot = Snapshot::new(tree(30));
    snapshot.frames = Box::new(|index| {
        let entry = |number: u64| FileEntry { path: format!("db/{number}"), offset: 512 * number, size: 0 };
        index.files = (0..4_000_001).map(entry).collect();
    });
    bucket.publish(&snapshot)?;
    let parent = tempfile::tempdir()?;
    let error = refused(&bucket.request(&bucket.source(), &parent.path().join("chain"))).await?;
    assert!(error.to_string().contains("more than 4000000 entries"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_keys_that_are_not_right_are_refused() -> Result<()> {
    let bucket = Bucket::with(&tree(31))?;
    let chain = tempfile::tempdir()?;
    let says = async |request: &RestoreRequest, expected: &str| -> Result<()> {
        let error = refused(request).await?;
        assert!(error.to_string().contains(expected), "expected {expected:?} in: {error}");
        Ok(())
    };
    let mut request = bucket.request(&bucket.source(), chain.path());
    request.trust.keys.clear();
    says(&request, "no public key is pinned").await?;
    let other = SecretKey::generate()?;
    request.trust.keys = vec![Key::Text(other.public_key().to_base64())];
    says(&request, "signed by key").await?;
    request.trust.keys = vec![Key::Text("not a key".into())];
    says(&request, "not a minisign key").await?;
    request.trust.keys = vec![Key::Text(other.public_key().to_base64()), bucket.public_key()];
    let manifest = bucket.path("testnet-rocksdb-prune/20261122-040000.manifest.json");
    let signed = std::fs::read_to_string(&manifest)?;
    std::fs::write(&manifest, signed.replace("\"height\": 396", "\"height\": 397"))?;
    says(&request, "does not match").await?;
    std::fs::write(&manifest, vec![b' '; 2 << 20])?;
    says(&request, "larger than 1048576 bytes").await?;
    std::fs::write(&manifest, signed)?;
    crate::common::restored(&request).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_too_low_or_of_another_chain_is_refused() -> Result<()> {
    let bucket = Bucket::with(&tree(32))?;
    let chain = tempfile::tempdir()?;
    let cases: [Expectation; 5] = [
        ("at most 24 h", |r| r.trust.max_age = Some(std::time::Duration::from_secs(86400))),
        ("expected at least 397", |r| r.trust.min_height = Some(397)),
        ("expected genesis", |r| r.trust.genesis = Some(BlockHash([8; 32]))),
        ("expected chain kusama", |r| r.trust.chain = Some("kusama".into())),
        ("no target \"dot/paritydb\"", |r| r.name = Some("dot/paritydb".into())),
    ];
    for (expected, change) in cases {
        let mut request = bucket.request(&bucket.source(), chain.path());
        request.clock =
            std::sync::Arc::new(polkashots_shared::clock::ManualClock::at(crate::common::at("2026-11-23T05:00:00Z")));
        change(&mut request);
        let error = refused(&request).await?.to_string();
        assert!(error.contains(expected), "expected {expected:?} in: {error}");
    }
    assert_eq!(std::fs::read_dir(chain.path())?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_snapshot_than_accepted_before_is_refused() -> Result<()> {
    let mut bucket = Bucket::with(&tree(33))?;
    let replayed = bucket.path("testnet-rocksdb-prune/20261122-040000.manifest.json").display().to_string();
    let next = Snapshot { version: "20261123-040000".parse()?, height: 500, ..Snapshot::new(tree(34)) };
    bucket.publish(&next)?;
    let chain = tempfile::tempdir()?;
    crate::common::restored(&bucket.request(&bucket.source(), chain.path())).await?;
    std::fs::remove_dir_all(chain.path().join("db"))?;
    let mut request = bucket.request(&replayed, chain.path());
    let error = refused(&request).await?;
    assert!(error.to_string().contains("--allow-older"), "{error}");
    request.trust.allow_older = true;
    crate::common::restored(&request).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn links_at_the_destination_are_not_followed() -> Result<()> {
    let bucket = Bucket::with(&tree(35))?;
    let parent = tempfile::tempdir()?;
    let (chain, outside) = (parent.path().join("chain"), parent.path().join("outside"));
    std::fs::create_dir_all(&chain)?;
    std::fs::create_dir_all(&outside)?;
    let request = bucket.request(&bucket.source(), &chain);
    std::os::unix::fs::symlink(&outside, chain.join(".polkashots"))?;
    let error = refused(&request).await?;
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    std::fs::remove_file(chain.join(".polkashots"))?;
    std::fs::create_dir(chain.join(".polkashots"))?;
    std::os::unix::fs::symlink(&outside, chain.join(".polkashots/db.partial"))?;
    crate::common::restored(&request).await?;
    assert_eq!(std::fs::read_dir(&outside)?.count(), 0);
    assert_eq!(crate::common::read_tree(&chain)?, tree(35));
    std::fs::remove_dir_all(chain.join("db"))?;
    std::os::unix::fs::symlink(parent.path().join("nowhere"), chain.join("db"))?;
    let error =
        polkashots_importer::restore(&request, &polkashots_importer::NoProgress).await.err().context("refused")?;
    assert!(error.to_string().contains("leads nowhere"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_too_small_is_refused_before_anything_is_written() -> Result<()> {
    let mut bucket = Bucket::new()?;
    let mut snapshot = Snapshot::new(tree(36));
    snapshot.manifest = Box::new(|manifest| manifest.disk_required = 1 << 60);
    bucket.publish(&snapshot)?;
    let chain = tempfile::tempdir()?;
    let error = refused(&bucket.request(&bucket.source(), chain.path())).await?;
    assert_eq!(error.kind(), ErrorKind::Space, "{error}");
    assert_eq!(std::fs::read_dir(chain.path())?.count(), 0);
    Ok(())
}
