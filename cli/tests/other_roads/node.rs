//! A real node reads what was restored: it exports the same blocks as from the original.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use polkashots_shared::testkit::skip::node_or_skip;

use crate::support::unpack;
use crate::{CHAIN, Published};

/// What both fixtures have finalized.
const FINALIZED: u32 = 396;

#[test]
fn a_real_node_exports_the_same_blocks_from_the_restored_database() -> Result<()> {
    const TEST: &str = "a_real_node_exports_the_same_blocks_from_the_restored_database";
    let Some(binary) = node_or_skip(TEST) else { return Ok(()) };
    for kind in ["rocksdb", "paritydb"] {
        let published = Published::of(kind, "")?;
        let spec = published.host.path("spec.json");
        let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/fixture_relay.json.zst");
        std::fs::write(&spec, zstd::decode_all(std::fs::File::open(packed)?)?)?;
        let original = published.host.path("original");
        let chain = original.join("chains").join(CHAIN);
        std::fs::create_dir_all(&chain)?;
        unpack(&format!("relay400-{kind}"), &chain)?;
        let site = published.site();
        let restore =
            ["restore", &site, "relay/db", "--base-path", "restored", "--key", "keys/polkashots.pub", "--json"];
        published.host.run(&restore)?.succeeded()?;
        let expected = export(&binary, &spec, &original, kind)?;
        let found = export(&binary, &spec, &published.host.path("restored"), kind)?;
        ensure!(expected.starts_with(&u64::from(FINALIZED).to_le_bytes()), "{kind}: the node exported something else");
        ensure!(found == expected, "{kind}: the restored database has other blocks than the original");
    }
    Ok(())
}

fn export(binary: &Path, spec: &Path, base_path: &Path, kind: &str) -> Result<Vec<u8>> {
    let file = base_path.join("blocks");
    let output = Command::new(binary)
        .args(["export-blocks", "--binary", "--database", kind, "--from", "1", "--to", &FINALIZED.to_string()])
        .arg("--chain")
        .arg(spec)
        .arg("--base-path")
        .arg(base_path)
        .arg(&file)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(&file).with_context(|| file.display().to_string())
}
