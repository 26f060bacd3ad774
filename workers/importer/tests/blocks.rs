//! The import of blocks: by a stand-in for a node, which notes what it is fed, and by a real one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use polkashots_importer::blocks::{BlocksError, BlocksRequest, ImportedBlocks, import_blocks};
use polkashots_importer::{Key, NoProgress};
use polkashots_shared::ids::{BlockRef, DatabaseKind, Sha256};
use polkashots_shared::manifest::{Block, Manifest};
use polkashots_shared::minisign::SecretKey;
use polkashots_shared::target::Format;
use polkashots_shared::testkit::published_blocks;
use polkashots_shared::testkit::skip::node_or_skip;

const GENESIS: &str = "0x2bf152f3b51e75ab07b70ba78a7509dfc97d27fed409f1fe0d619333f35988d5";
const HEAD: &str = "0xb483f45853f54a05f39512661e516564807b66de9485a6370293c3fe443213eb";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn export() -> Result<Vec<u8>> {
    Ok(std::fs::read(fixture("relay400.blocks.scale"))?)
}

/// A bucket with a signed export of the fixture's 400 blocks, and a node to import them.
struct Host {
    dir: tempfile::TempDir,
    request: BlocksRequest,
    key: SecretKey,
}

impl Host {
    /// The node is `script`; `$FOLDER` in it is the host's folder.
    fn new(script: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let node = dir.path().join("node");
        let folder = dir.path().display();
        std::fs::write(&node, format!("#!/bin/bash\nFOLDER={folder}\necho \"$@\" >> $FOLDER/arguments\n{script}\n"))?;
        std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o755))?;
        let key = SecretKey::generate()?;
        let (bucket, base_path) = (dir.path().join("bucket"), dir.path().join("data"));
        let mut request = BlocksRequest::new(bucket.display().to_string(), None, node, base_path);
        request.trust.keys = vec![Key::Text(key.public_key().to_base64())];
        let host = Self { dir, request, key };
        host.publish(|_, _| {})
    }

    /// Publishes the export; `change` may break archive or manifest before it is signed.
    fn publish(mut self, change: impl Fn(&mut Vec<u8>, &mut Manifest)) -> Result<Self> {
        let mut archive = Vec::new();
        for frame in export()?.chunks(100_000) {
            archive.extend(zstd::bulk::compress(frame, 3)?);
        }
        let head = BlockRef { height: 400, hash: HEAD.parse()? };
        let mut manifest = published_blocks::manifest("relay-rocksdb", head, &archive, export()?.len() as u64);
        change(&mut archive, &mut manifest);
        let path = published_blocks::publish(&self.dir.path().join("bucket"), &self.key, &manifest, &archive)?;
        self.request.source = path.display().to_string();
        Ok(self)
    }

    async fn import(&self) -> Result<ImportedBlocks, BlocksError> {
        import_blocks(&self.request, &NoProgress).await
    }

    async fn refusal(&self) -> Result<BlocksError> {
        self.import().await.err().context("it was imported")
    }

    fn file(&self, name: &str) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.dir.path().join(name))?)
    }

    fn node_ran(&self) -> bool {
        self.dir.path().join("arguments").exists()
    }
}

/// A node that keeps what it is fed and has the head that it should have.
fn honest() -> String {
    let head = format!("{{\"best_hash\": \"{HEAD}\", \"best_number\": 400, \"genesis_hash\": \"{GENESIS}\"}}");
    format!("if [ $1 = import-blocks ]; then cat > $FOLDER/fed; else echo '{head}'; fi")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_fed_what_was_published_and_asked_for_its_head() -> Result<()> {
    let host = Host::new(&honest())?;
    let imported = host.import().await?;
    assert_eq!((imported.best.height, imported.best.hash.to_string().as_str()), (400, HEAD));
    assert!(host.file("fed")? == export()?, "the node was fed something else");
    let data = host.request.base_path.display();
    let common = format!("--chain fixture --base-path {data} --database rocksdb");
    let expected = format!("import-blocks --binary {common}\nchain-info {common}\n");
    assert_eq!(String::from_utf8(host.file("arguments")?)?, expected);
    assert_eq!(std::fs::read_dir(&host.request.base_path)?.count(), 0, "the archive was left behind");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_unverified_reaches_the_node() -> Result<()> {
    let changed = Host::new(&honest())?.publish(|archive, _| archive[5000] ^= 1)?;
    let refused = changed.refusal().await?;
    assert!(matches!(refused, BlocksError::Digest { .. }), "{refused}");

    let other_head = Host::new(&honest())?.publish(|_, manifest| {
        let block = BlockRef { height: 400, hash: manifest.chain.genesis_hash };
        manifest.block = Block::new(block, block);
    })?;
    let refused = other_head.refusal().await?;
    assert!(refused.to_string().contains("20261122-040000.blocks.zst: block 400: its hash is"), "{refused}");

    let longer = Host::new(&honest())?.publish(|archive, manifest| {
        archive.extend(zstd::bulk::compress(b"more", 1).expect("compresses"));
        manifest.artifacts[0].size = archive.len() as u64;
        manifest.artifacts[0].sha256 = Sha256::of(archive);
    })?;
    let refused = longer.refusal().await?;
    assert!(refused.to_string().contains("bytes follow its last block"), "{refused}");

    let mut stranger = Host::new(&honest())?;
    stranger.request.trust.keys = vec![Key::Text(SecretKey::generate()?.public_key().to_base64())];
    let refused = stranger.refusal().await?;
    assert!(matches!(refused, BlocksError::Resolve(_) | BlocksError::Trust(_)), "{refused}");

    let none = Host::new(&honest())?.publish(|_, manifest| manifest.artifacts[0].format = Format::TarLz4)?;
    let refused = none.refusal().await?;
    assert!(refused.to_string().contains("snapshot relay-rocksdb/20261122-040000 has no blocks.zst"), "{refused}");
    for host in [changed, other_head, longer, stranger, none] {
        assert!(!host.node_ran(), "a node was started");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_believed_by_its_head_and_not_by_its_exit_code() -> Result<()> {
    let idle = honest().replace("cat > $FOLDER/fed", "true").replace("400,", "0,");
    let refused = Host::new(&idle)?.refusal().await?;
    assert!(refused.to_string().contains(&format!("its best block is 0 {HEAD}, expected 400 {HEAD}")), "{refused}");
    let failing = "head -c 1000 >/dev/null; echo database is locked >&2; exit 1";
    let refused = Host::new(failing)?.refusal().await?.to_string();
    assert!(refused.contains("import-blocks ended with exit status: 1: database is locked"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_is_killed_at_the_deadline() -> Result<()> {
    let mut host = Host::new("exec sleep 1000")?;
    host.request.deadline = Duration::from_millis(500);
    let refused = host.refusal().await?;
    assert!(matches!(refused, BlocksError::Deadline { .. }), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_node_imports_what_was_published() -> Result<()> {
    let Some(node) = node_or_skip("a_real_node_imports_what_was_published") else { return Ok(()) };
    let mut host = Host::new("exit 1")?;
    let spec = zstd::decode_all(&std::fs::read(fixture("fixture_relay.json.zst"))?[..])?;
    let spec_path = host.dir.path().join("spec.json");
    std::fs::write(&spec_path, spec)?;
    host.request.binary = node;
    host.request.chain = Some(spec_path.display().to_string());
    host.request.database = Some(DatabaseKind::ParityDb);
    let imported = host.import().await?;
    assert_eq!((imported.best.height, imported.best.hash.to_string().as_str()), (400, HEAD));
    let again = host.import().await?;
    assert_eq!(again.best, imported.best, "an import that is done again changes nothing");
    assert!(host.request.base_path.join("chains/fixture_relay/paritydb/full").is_dir());
    Ok(())
}
