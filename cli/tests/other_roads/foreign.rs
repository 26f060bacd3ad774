//! Somebody else's archives of a real database, as this command takes them: only where that was allowed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use polkashots_shared::testkit::skip::program_or_skip;

use crate::support::polkashots;
use crate::{CHAIN, has_the_head_of};

#[test]
fn an_unsigned_archive_of_each_kind_opens_with_the_head_of_the_fixture() -> Result<()> {
    let test = "an_unsigned_archive_of_each_kind_opens_with_the_head_of_the_fixture";
    if ["zstd", "lz4", "bash"].iter().any(|program| program_or_skip(test, program).is_none()) {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    for kind in ["rocksdb", "paritydb"] {
        let fixture = format!("{}/../tests/fixtures/relay400-{kind}.tar.zst", env!("CARGO_MANIFEST_DIR"));
        for (ending, recipe) in [("tar.zst", "cat"), ("tar", "zstd -d"), ("tar.lz4", "zstd -d | lz4")] {
            let archive = folder.path().join(format!("somebody-{kind}.{ending}"));
            let made = Command::new("bash")
                .args(["-eu", "-o", "pipefail", "-c", &format!("cat \"$1\" | {recipe} >\"$2\""), "bash", &fixture])
                .arg(&archive)
                .status()?;
            ensure!(made.success(), "{recipe} failed");
            let base_path = folder.path().join(format!("{kind}-{ending}"));
            let said = restore(&archive, &base_path, &["--allow-unsigned", "--json"])?;
            ensure!(said.0 == Some(0) && said.1.contains("\"outcome\": \"unsigned\""), "{said:?}");
            has_the_head_of(&base_path, kind)?;
            let again = restore(&archive, &base_path, &["--allow-unsigned"])?;
            ensure!(again.0 == Some(0) && again.1.contains("already, left untouched"), "{again:?}");
            std::fs::remove_dir_all(&base_path)?;
        }
    }
    Ok(())
}

#[test]
fn an_unsigned_archive_is_refused_without_the_flag_and_with_a_keystore_inside() -> Result<()> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let folder = tempfile::tempdir()?;
    let base_path = folder.path().join("node");
    let said = restore(&fixtures.join("relay400-rocksdb.tar.zst"), &base_path, &[])?;
    ensure!(said.0 == Some(3) && said.1.contains("--allow-unsigned (POLKASHOTS_ALLOW_UNSIGNED=true)"), "{said:?}");
    ensure!(!base_path.exists(), "something was made");
    let said = restore(&fixtures.join("relay400-rocksdb-basepath.tar.zst"), &base_path, &["--allow-unsigned"])?;
    ensure!(said.0 == Some(3) && said.1.contains("chains/fixture_relay/network"), "{said:?}");
    ensure!(!base_path.join("chains").join(CHAIN).join("db").exists(), "a database is visible");
    Ok(())
}

/// Runs the command; gives its exit code and what it said.
fn restore(archive: &Path, base_path: &Path, more: &[&str]) -> Result<(Option<i32>, String)> {
    let output = polkashots()
        .arg("restore")
        .arg(archive)
        .args(["--chain", CHAIN, "--quiet", "--base-path"])
        .arg(base_path)
        .args(more)
        .output()
        .context("run polkashots")?;
    Ok((output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
}
