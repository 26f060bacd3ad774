//! `blocks.zst` of one machine, exported by a real node from the snapshot.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use polkashots_shared::testkit::skip::node_or_skip;
use serde_json::Value;

use crate::support::{Host, config_text, is_published, unpack};

/// The last finalized block of the fixture; what is above may yet be dropped.
const FINALIZED: u64 = 396;
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");

/// A config whose target publishes blocks, exported by `node`.
fn config(database: &Path, node: &Path, spec: &Path) -> String {
    let section = format!(
        "[export_blocks]\nnode_binary = {:?}\nnode_chain = {:?}\n\n",
        node.to_string_lossy(),
        spec.to_string_lossy()
    );
    let formats = "pruning = \"256\"\nformats = [\"blocks.zst\"]";
    section + &config_text(database, "fixture_relay", "rocksdb").replace("pruning = \"256\"", formats)
}

#[test]
fn a_service_publishes_the_blocks_that_its_node_exports() -> Result<()> {
    let Some(node) = node_or_skip("a_service_publishes_the_blocks_that_its_node_exports") else { return Ok(()) };
    let database = tempfile::tempdir()?;
    unpack("relay400-rocksdb", database.path())?;
    let host = Host::with_target(database.path(), "fixture_relay", "rocksdb")?;
    let spec = host.path("spec.json");
    std::fs::write(&spec, zstd::decode_all(std::fs::File::open(format!("{FIXTURES}/fixture_relay.json.zst"))?)?)?;
    host.write_config(&config(database.path(), &node, &spec))?;
    host.run(&["config", "check"])?.succeeded()?;

    let triggered: Value = serde_json::from_str(&host.run(&["trigger", "relay", "--json"])?.succeeded()?.out)?;
    let version = triggered["version"].as_str().context("no version")?;
    let service = host.start()?;
    host.wait_for("the snapshot", |status| is_published(status, version))?;
    ensure!(service.terminate()? == 0);
    let exported = std::fs::File::open(host.path(&format!("bucket/relay/{version}.blocks.zst")))?;
    let (blocks, truth) = (zstd::decode_all(exported)?, std::fs::read(format!("{FIXTURES}/relay400.blocks.scale"))?);
    assert_eq!(blocks[..8], FINALIZED.to_le_bytes());
    assert!(truth[8..].starts_with(&blocks[8..]), "other blocks than the fixture's");
    Ok(())
}

#[test]
fn a_node_that_does_not_run_is_named_before_the_service_starts() -> Result<()> {
    let database = tempfile::tempdir()?;
    let host = Host::with_target(database.path(), "fixture_relay", "rocksdb")?;
    for (node, says) in
        [(Path::new("/nonexistent/polkadot"), "No such file"), (Path::new("/bin/false"), "exit status: 1")]
    {
        host.write_config(&config(database.path(), node, Path::new("spec.json")))?;
        let words = ["export_blocks.node_binary", &node.to_string_lossy(), says, "expected the chain's own node"];
        host.run(&["config", "check"])?.failed(1, &words)?;
    }
    Ok(())
}
