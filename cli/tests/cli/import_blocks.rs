//! `polkashots import-blocks` with a real node, of a `blocks.zst` that was published and signed.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use polkashots_shared::ids::BlockRef;
use polkashots_shared::minisign::SecretKey;
use polkashots_shared::testkit::published_blocks;
use polkashots_shared::testkit::skip::node_or_skip;

use crate::published::best_height;
use crate::support::{Host, Said};

/// A node takes long for each block, so only the first of the fixture's are published.
const HEIGHT: u32 = 30;
const HEAD: &str = "0x8421759fae4767d5573b37f3ff3f2584e7474b99f614373b8245b0b7322a3930";
/// Where they end in the fixture.
const END: usize = 20_014;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

/// Publishes the fixture's blocks in the host's bucket; gives the path of the manifest.
fn publish(host: &Host) -> Result<String> {
    let mut blocks = std::fs::read(fixture("relay400.blocks.scale"))?;
    blocks.truncate(END);
    blocks[..8].copy_from_slice(&u64::from(HEIGHT).to_le_bytes());
    let archive = zstd::encode_all(&blocks[..], 3)?;
    let head = BlockRef { height: HEIGHT, hash: HEAD.parse()? };
    let manifest = published_blocks::manifest("relay", head, &archive, blocks.len() as u64);
    let key = SecretKey::from_file(&host.path("keys/polkashots.key"), None)?;
    let path = published_blocks::publish(&host.path("bucket"), &key, &manifest, &archive)?;
    Ok(path.display().to_string())
}

fn import(host: &Host, manifest: &str, node: &str) -> Result<Said> {
    let mut args = vec!["import-blocks", manifest, "--node-binary", node, "--node-chain", "spec.json"];
    args.extend(["--base-path", "node", "--key", "keys/polkashots.pub"]);
    host.run(&args)
}

#[test]
fn a_real_node_has_the_head_that_was_published() -> Result<()> {
    let Some(node) = node_or_skip("a_real_node_has_the_head_that_was_published") else { return Ok(()) };
    let host = Host::with_target(Path::new("/nowhere"), "fixture_relay", "rocksdb")?;
    std::fs::write(host.path("spec.json"), zstd::decode_all(std::fs::File::open(fixture("fixture_relay.json.zst"))?)?)?;
    let said = import(&host, &publish(&host)?, &node.to_string_lossy())?.succeeded()?.out;
    let head = format!("node       #{HEIGHT} {HEAD}");
    ensure!(said.contains("imported   relay 20261122-040000") && said.contains(&head), "{said}");
    ensure!(best_height(&host.path("node"))? == u64::from(HEIGHT), "the node has other blocks than it says");
    Ok(())
}

#[test]
fn what_a_node_is_not_fed_is_said_with_its_exit_code() -> Result<()> {
    let host = Host::with_target(Path::new("/nowhere"), "fixture_relay", "rocksdb")?;
    let manifest = publish(&host)?;
    let archive = host.path("bucket/relay/20261122-040000.blocks.zst");
    import(&host, &manifest, "/no/such/node")?.failed(2, &["run /no/such/node", "name a node"])?;
    host.run(&["keygen", "--out", "others"])?.succeeded()?;
    let stranger = ["import-blocks", &manifest, "--node-binary", "node", "--base-path", "node", "--key"];
    host.run(&[&stranger[..], &["others/polkashots.pub"]].concat())?.failed(3, &["signed by key"])?;
    let mut bytes = std::fs::read(&archive)?;
    bytes[2000] ^= 1;
    std::fs::write(&archive, bytes)?;
    import(&host, &manifest, "/no/such/node")?.failed(3, &["blocks.zst", "SHA-256"])?;
    std::fs::remove_file(&archive)?;
    import(&host, &manifest, "/no/such/node")?.failed(1, &["blocks.zst"])?;
    Ok(())
}
