//! The export of blocks: by a stand-in for a node, which does what a real one does rarely, and by a real one.
#![expect(clippy::print_stdout, reason = "the figure is what the test shows")]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use polkashots_shared::ids::{BlockHash, BlockRef, DatabaseKind};
use polkashots_shared::target::Format;
use polkashots_shared::testkit::skip::node_or_skip;
use polkashots_snapshotter::blocks::Exporter;

use common::{Host, shell, tree};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn export() -> Result<Vec<u8>> {
    Ok(std::fs::read(fixture("relay400.blocks.scale"))?)
}

fn hash(text: &str) -> Result<BlockHash> {
    Ok(text.parse()?)
}

/// A host of the fixture's chain whose node is `script`; `$EXPORT` in it is a true export of blocks 1 to 400.
fn host(script: &str) -> Result<Host> {
    let mut host = Host::with_base_path()?;
    let genesis = hash("0x2bf152f3b51e75ab07b70ba78a7509dfc97d27fed409f1fe0d619333f35988d5")?;
    let head = hash("0xb483f45853f54a05f39512661e516564807b66de9485a6370293c3fe443213eb")?;
    host.target.chain.name = "fixture".into();
    host.target.chain.genesis_hash = genesis;
    host.target.formats.push(Format::BlocksZst);
    host.identity.genesis_hash = genesis;
    host.identity.finalized = BlockRef { height: 400, hash: head };
    let binary = host.dir.path().join("node");
    let export = fixture("relay400.blocks.scale");
    let (export, folder) = (export.display(), host.dir.path().display());
    let script = format!(
        "#!/bin/bash\nEXPORT={export}\nFOLDER={folder}\necho $$ > $FOLDER/pid.new\nmv $FOLDER/pid.new $FOLDER/pid\n{script}\n"
    );
    shell(host.dir.path(), "cat > node && chmod +x node", script.as_bytes())?;
    host.exporter = Some(Exporter { binary, chain: None, deadline: Duration::from_secs(60) });
    Ok(host)
}

fn assert_no_manifest(host: &Host) {
    assert!(host.store.keys().iter().all(|key| !key.ends_with(".manifest.json") && !key.ends_with(".blocks.zst")));
    assert_eq!(host.store.pending_uploads(), 0, "an upload was left behind");
}

/// The process that the script was, and all that it started, are gone or nobody but a corpse.
async fn assert_killed(host: &Host) -> Result<()> {
    let pid = std::fs::read_to_string(host.dir.path().join("pid"))?;
    let gone = async {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        while alive_in_group(pid.trim()).unwrap_or(true) {
            pause.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.context("something of the node lives on")
}

fn alive_in_group(group: &str) -> Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        let Ok(stat) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        if fields.get(2) == Some(&group) && fields.first() != Some(&"Z") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn checked_blocks_are_an_artifact_like_any_other() -> Result<()> {
    let noise = "head -c 20000000 /dev/zero | tr '\\0' x >&2; echo Essential task failed >&2";
    let host = host(&format!("echo \"$@\" > $FOLDER/arguments; {noise}; cat $EXPORT; {noise}"))?;
    let before = tree(&host.chain_dir())?;
    host.run().await.map_err(anyhow::Error::from)?;
    assert_eq!(tree(&host.chain_dir())?, before, "the claim was changed");
    let manifest = host.manifest()?;
    let artifact =
        manifest.artifacts.iter().find(|artifact| artifact.format == Format::BlocksZst).context("artifact")?;
    let stored = host.object(".blocks.zst")?;
    assert_eq!((artifact.size, artifact.uncompressed_size), (stored.len() as u64, export()?.len() as u64));
    let bucket = host.bucket()?;
    shell(&bucket, "sha256sum -c --quiet *.SHA256SUMS && zstd -dqc *.blocks.zst > ../blocks", b"")?;
    assert!(std::fs::read(bucket.join("../blocks"))? == export()?, "the stored blocks are not the export");
    let arguments = std::fs::read_to_string(host.dir.path().join("arguments"))?;
    let base_path =
        arguments.split("--base-path ").nth(1).and_then(|rest| rest.split(' ').next()).context("base path")?;
    let expected = format!(
        "export-blocks --binary --chain fixture --base-path {base_path} --database rocksdb --from 1 --to 400\n"
    );
    assert_eq!(arguments, expected);
    assert!(Path::new(base_path).starts_with(host.chain_dir()) && !Path::new(base_path).exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_made_again_is_the_same() -> Result<()> {
    let host = host("cat $EXPORT")?;
    host.run().await.map_err(anyhow::Error::from)?;
    let first = host.object(".blocks.zst")?;
    let manifest = host.store.keys().into_iter().find(|key| key.ends_with(".manifest.json")).context("manifest")?;
    polkashots_shared::ports::object_store::ObjectStore::delete(&host.store, &manifest).await?;
    host.run().await.map_err(anyhow::Error::from)?;
    assert_eq!(host.object(".blocks.zst")?, first);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_export_is_refused_whatever_the_exit_code_says() -> Result<()> {
    let host = host("head -c 100000 $EXPORT; echo all is well >&2")?;
    let (reason, permanent) = host.refusal().await?;
    assert!(permanent && reason.contains("it ends in block ") && reason.contains("all is well"), "{reason}");
    assert_no_manifest(&host);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_an_empty_database_is_refused() -> Result<()> {
    let host = host("head -c 8 /dev/zero")?;
    let (reason, permanent) = host.refusal().await?;
    assert!(permanent && reason.contains("its header says 0 blocks, expected 400"), "{reason}");
    assert_no_manifest(&host);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_crashes_is_quoted_and_may_be_run_again() -> Result<()> {
    for (script, status) in [("exit 3", "exit status: 3"), ("kill -SEGV $$", "signal: 11")] {
        let host = host(&format!("head -c 100000 $EXPORT; echo database is locked >&2; {script}"))?;
        let (reason, permanent) = host.refusal().await?;
        assert!(!permanent && reason.contains(status) && reason.contains("database is locked"), "{reason}");
        assert_no_manifest(&host);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_export_of_a_node_that_fails_afterwards_is_not_believed() -> Result<()> {
    let host = host("cat $EXPORT; exit 1")?;
    let (reason, permanent) = host.refusal().await?;
    assert!(!permanent && reason.contains("exit status: 1"), "{reason}");
    assert_no_manifest(&host);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_is_killed_at_the_deadline_with_all_that_it_started() -> Result<()> {
    let mut host = host("head -c 100000 $EXPORT; sleep 1000 & sleep 1000")?;
    if let Some(exporter) = &mut host.exporter {
        exporter.deadline = Duration::from_secs(1);
    }
    let (reason, permanent) = host.refusal().await?;
    assert!(permanent && reason.contains("was not done within 1s"), "{reason}");
    assert_no_manifest(&host);
    assert_killed(&host).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_dropped_kills_its_node() -> Result<()> {
    let host = host("cat $EXPORT; sleep 1000 & sleep 1000")?;
    let started = async {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        while !host.dir.path().join("pid").exists() {
            pause.tick().await;
        }
    };
    tokio::select! {
        ended = host.run() => ensure!(false, "ended: {ended:?}"),
        () = started => {}
    }
    assert_killed(&host).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_there_is_named() -> Result<()> {
    let mut host = host("")?;
    if let Some(exporter) = &mut host.exporter {
        exporter.binary = "/no/such/node".into();
    }
    let (reason, permanent) = host.refusal().await?;
    assert!(permanent && reason.contains("run /no/such/node") && reason.contains("--node-binary"), "{reason}");
    host.exporter = None;
    let (reason, permanent) = host.refusal().await?;
    assert!(permanent && reason.contains("POLKASHOTS_NODE_BINARY"), "{reason}");
    Ok(())
}

/// Block 1 with an extrinsic that says it has 2 GiB and has one: neither is ever held in memory.
#[tokio::test(flavor = "multi_thread")]
async fn gigabytes_go_by_in_bounded_memory() -> Result<()> {
    // Parent, number 1, roots, no digest items, one extrinsic of 2^31 bytes.
    let head = r"\x04\x03\x00\x00\x00\x80";
    let script =
        format!("head -c 41 $EXPORT; head -c 64 /dev/zero; printf '\\x00{head}'; head -c 1073741824 /dev/zero");
    let host = host(&script)?;
    let before = peak_kib()?;
    let (reason, permanent) = host.refusal().await?;
    let grown = peak_kib()? - before;
    println!("peak memory grew by {grown} KiB");
    assert!(permanent && reason.contains("it ends in block 1 of 400"), "{reason}");
    assert!(grown < 200 * 1024, "{grown} KiB");
    Ok(())
}

fn peak_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_node_exports_what_it_imported() -> Result<()> {
    let Some(node) = node_or_skip("a_real_node_exports_what_it_imported") else { return Ok(()) };
    for (kind, name) in [(DatabaseKind::RocksDb, "relay400-rocksdb"), (DatabaseKind::ParityDb, "relay400-paritydb")] {
        let mut host = host("")?;
        let database = host.chain_dir();
        std::fs::remove_dir_all(&database)?;
        std::fs::create_dir_all(&database)?;
        let archive = std::fs::read(fixture(&format!("{name}.tar.zst")))?;
        shell(&database, "zstd -dqc | tar -x", &archive)?;
        let spec = std::fs::read(fixture("fixture_relay.json.zst"))?;
        shell(host.dir.path(), "zstd -dqc > spec.json", &spec)?;
        host.target.database = kind;
        host.target.chain.id = "fixture_relay".into();
        host.identity.database = kind;
        let finalized = hash("0xdacede6f824cdfd77e1eadb02299af09af006e7dd43a7e2bb61d1d44e431cab3")?;
        host.identity.finalized = BlockRef { height: 396, hash: finalized };
        let chain = Some(host.dir.path().join("spec.json").display().to_string());
        host.exporter = Some(Exporter { binary: node.clone(), chain, deadline: Duration::from_secs(120) });
        let before = tree(&database)?;
        host.run()
            .await
            .map_err(|error| anyhow::anyhow!("{name}: {}", polkashots_shared::worker::error_chain(&error)))?;
        assert!(tree(&database)? == before, "{name}: the claim was changed");
        let blocks = zstd::decode_all(&host.object(".blocks.zst")?[..])?;
        assert_eq!(blocks[..8], 396_u64.to_le_bytes());
        assert!(export()?[8..].starts_with(&blocks[8..]), "{name}: not the blocks that were imported");
    }
    Ok(())
}
