//! What an auditor does, with stock tools only, on what the demo published.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use polkashots_shared::manifest::Manifest;
use polkashots_shared::names;
use polkashots_shared::testkit::skip::program_or_skip;

use crate::support::polkashots;

const TEST: &str = "stock_tools_accept_everything_that_the_demo_published";

#[test]
fn stock_tools_accept_everything_that_the_demo_published() -> Result<()> {
    if ["minisign", "sha256sum", "zstd", "tar", "diff"].iter().any(|tool| program_or_skip(TEST, tool).is_none()) {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let demo = folder.path().join("demo");
    let output = polkashots().arg("demo").arg("--dir").arg(&demo).arg("--no-serve").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bucket = demo.join("bucket");
    let key = find(&demo, ".pub")?.pop().context("the demo made no public key")?;

    let signatures = find(&bucket, names::SIGNATURE_SUFFIX)?;
    ensure!(
        signatures.len() == 9,
        "a manifest's and a sums' signature of four targets and the index's: {signatures:?}"
    );
    for signature in &signatures {
        let signed = signature.with_extension("");
        run(Command::new("minisign").arg("-Vm").arg(&signed).arg("-p").arg(&key))?;
    }
    for sums in find(&bucket, ".SHA256SUMS")? {
        let target = sums.parent().context("a folder")?;
        run(Command::new("sha256sum").args(["--strict", "-c"]).arg(&sums).current_dir(target))?;
    }
    for manifest in find(&bucket, names::MANIFEST_SUFFIX)? {
        unpack_and_compare(&manifest, &demo, folder.path())?;
    }
    Ok(())
}

/// `zstd -d | tar -x` gives the same tree as our own restore.
fn unpack_and_compare(manifest: &Path, demo: &Path, scratch: &Path) -> Result<()> {
    let target = manifest.parent().context("a folder")?;
    let manifest = Manifest::from_bytes(&std::fs::read(manifest)?)?;
    let archive = target.join(&manifest.artifacts[0].file);
    run(Command::new("zstd").arg("--list").arg(&archive))?;
    let unpacked = scratch.join(manifest.target.as_str());
    std::fs::create_dir(&unpacked)?;
    let pipe = "set -e; zstd -dc -- \"$1\" | tar -x -C \"$2\"";
    run(Command::new("sh").args(["-c", pipe, "sh"]).arg(&archive).arg(&unpacked))?;
    let chain = demo.join("restored").join(manifest.target.as_str()).join("chains").join(&manifest.chain.id);
    let database = manifest.database.kind.folder();
    run(Command::new("diff").arg("-r").arg(unpacked.join(database)).arg(chain.join(database)))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
    Ok(())
}

/// Every file below `folder` whose name ends in `suffix`.
fn find(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(find(&entry.path(), suffix)?);
        } else if entry.file_name().to_string_lossy().ends_with(suffix) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
