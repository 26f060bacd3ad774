//! A published snapshot of blocks, written into a directory store as a snapshotter and a publisher would leave it.

use std::io;
use std::path::{Path, PathBuf};

use crate::chain::Chain;
use crate::ids::{BlockRef, DatabaseKind, Sha256, Version};
use crate::manifest::{Artifact, Block, Database, Manifest};
use crate::minisign::{SecretKey, sign};
use crate::names;
use crate::target::Format;

/// The genesis of the relay chain whose databases and blocks are in `tests/fixtures`.
const GENESIS: &str = "0x2bf152f3b51e75ab07b70ba78a7509dfc97d27fed409f1fe0d619333f35988d5";

/// A manifest of `target` on the fixtures' chain up to `head`, with one artifact: the `blocks.zst` that `archive` is.
///
/// # Panics
///
/// If `target` is not a target id.
#[must_use]
pub fn manifest(target: &str, head: BlockRef, archive: &[u8], uncompressed_size: u64) -> Manifest {
    let version: Version = "20261122-040000".parse().expect("a version");
    let file = format!("{version}.blocks.zst");
    Manifest {
        schema: 1,
        target: target.parse().expect("a target id"),
        permalink: "relay/db".parse().expect("a permalink"),
        version,
        created_at: version.time(),
        chain: Chain {
            name: "fixture".into(),
            id: "fixture_relay".into(),
            genesis_hash: GENESIS.parse().expect("a hash"),
        },
        database: Database { kind: DatabaseKind::RocksDb, pruning: "archive".into(), warp_gap: false },
        block: Block::new(head, head),
        node: None,
        artifacts: vec![Artifact {
            format: Format::BlocksZst,
            file: file.clone(),
            url: file,
            size: archive.len() as u64,
            sha256: Sha256::of(archive),
            uncompressed_size,
            frames: None,
        }],
        disk_required: 0,
        files: 0,
        tool: "test".into(),
    }
}

/// Writes archive, manifest and signature into the folder `bucket`. Gives the path of the manifest.
///
/// # Errors
///
/// If they cannot be signed or written.
pub fn publish(bucket: &Path, key: &SecretKey, manifest: &Manifest, archive: &[u8]) -> io::Result<PathBuf> {
    std::fs::create_dir_all(bucket.join(manifest.target.as_str()))?;
    let path = bucket.join(names::manifest_key(&manifest.target, manifest.version));
    let bytes = manifest.to_bytes();
    let signature = sign(key, &bytes, "test").map_err(io::Error::other)?;
    std::fs::write(bucket.join(manifest.key_of(&manifest.artifacts[0].file)), archive)?;
    std::fs::write(format!("{}{}", path.display(), names::SIGNATURE_SUFFIX), signature)?;
    std::fs::write(&path, bytes)?;
    Ok(path)
}
