//! The consistency check finds nothing in the tree as it is, and each of many small breakages at its file and line.

mod breakage;
mod overlays;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use polkashots::check::{Code, Tree, check};

use crate::breakage::Breakage;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_tree_as_it_is_has_no_inconsistency() -> Result<()> {
    let tree = Tree::read(&top())?;
    ensure!(tree.len() > 60, "only {} files were read", tree.len());
    let findings: Vec<_> = check(&tree, &Code::declared()).iter().map(ToString::to_string).collect();
    ensure!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    Ok(())
}

#[test]
fn every_breakage_is_found_at_its_file_and_line() -> Result<()> {
    let breakages = Breakage::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check/breakages"))?;
    ensure!(breakages.len() >= 60, "only {} breakages", breakages.len());
    let (tree, code) = (Tree::read(&top())?, Code::declared());
    let found = breakages.iter().map(|breakage| breakage.is_found(&tree, &code).with_context(|| breakage.name.clone()));
    let missed: Vec<_> = found.filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(missed.is_empty(), "{} of {} breakages:\n{}", missed.len(), breakages.len(), missed.join("\n"));
    Ok(())
}

#[test]
fn a_folder_that_is_no_checkout_is_refused_with_the_way_out() -> Result<()> {
    let empty = tempfile::tempdir()?;
    let error = Tree::read(empty.path()).expect_err("there is nothing").to_string();
    ensure!(error.contains("terraform/") && error.contains("top of a checkout"), "{error}");
    Ok(())
}
