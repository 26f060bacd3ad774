//! What `docs/` tells operators to copy: units that systemd takes, YAML that is YAML, flags and variables that there are.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use polkashots_shared::testkit::skip::program_or_skip;
use serde_json::Value;

use crate::support::polkashots;

const PAGES: [&str; 3] = ["README.md", "docs/restore.md", "docs/tutorial-validator.md"];

fn page(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The fenced blocks of that language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let starts = text.match_indices(&fence).map(|(at, _)| &text[at + fence.len()..]);
    starts.filter_map(|rest| rest.split_once("```").map(|(block, _)| block.to_owned())).collect()
}

#[test]
fn systemd_takes_the_units() -> Result<()> {
    let Some(analyze) = program_or_skip("systemd_takes_the_units", "systemd-analyze") else { return Ok(()) };
    let units = blocks(&page("docs/restore.md")?, "ini");
    ensure!(units.len() == 2, "{} units", units.len());
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("polkadot.service.d"))?;
    std::fs::write(folder.path().join("polkadot.service"), "[Service]\nExecStart=/bin/true\n")?;
    for unit in &units {
        let name = unit.lines().next().and_then(|line| line.strip_prefix("# /etc/systemd/system/"));
        let name = name.context("a unit starts with its path")?;
        // Where the tests run, the command is not installed.
        let text = unit.replace("/usr/local/bin/polkashots", env!("CARGO_BIN_EXE_polkashots"));
        std::fs::write(folder.path().join(name), text)?;
    }
    let output = Command::new(analyze)
        .args(["verify", "--man=no", "./polkashots-restore.service", "./polkadot.service"])
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()))
        .current_dir(folder.path())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("polka")).collect();
    ensure!(output.status.success() && ours.is_empty(), "{}: {said}", output.status);
    Ok(())
}

#[test]
fn yaml_is_yaml_and_each_method_of_the_chart_has_its_values() -> Result<()> {
    let mut methods = Vec::new();
    for name in PAGES {
        for block in blocks(&page(name)?, "yaml") {
            let value: Value = serde_saphyr::from_str(&block).with_context(|| format!("{name}: {block}"))?;
            let snapshot = &value["node"]["chainData"]["chainSnapshot"];
            methods.extend(snapshot["method"].as_str().map(str::to_owned));
        }
    }
    methods.sort();
    ensure!(methods == ["gcs", "http-filelist", "http-single-tar-lz4"], "{methods:?}");
    Ok(())
}

#[test]
fn flags_and_variables_that_the_pages_name_exist() -> Result<()> {
    let schema = page("workers/importer/tests/golden/config-schema.json")?;
    for name in PAGES {
        let text = page(name)?;
        let text = text.replace("\\\n", " ");
        for line in text.lines().map(str::trim_start).filter(|line| line.contains("polkashots ")) {
            check_flags(line).with_context(|| format!("{name}: {line}"))?;
        }
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        for variable in words.filter(|word| word.starts_with("POLKASHOTS_") && word.len() > "POLKASHOTS_".len()) {
            ensure!(schema.contains(&format!("\"{variable}\"")), "{name}: no setting of the importer is {variable}");
        }
    }
    Ok(())
}

/// Every flag after `polkashots COMMAND` is one of that command's.
fn check_flags(line: &str) -> Result<()> {
    let said = line.split_once("polkashots ").map_or("", |(_, rest)| rest);
    let said = said.split(['#', '`', '|']).next().unwrap_or_default();
    let mut words = said.split_whitespace();
    let Some(command) = words.next().filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-')) else {
        return Ok(());
    };
    let flags: Vec<&str> = words.filter(|word| word.starts_with("--")).collect();
    if flags.is_empty() {
        return Ok(());
    }
    let output = polkashots().args([command, "--help"]).output()?;
    let help = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "there is no command {command}");
    for flag in flags {
        let flag = flag.split(['=', ',', ')', ';', '.']).next().unwrap_or_default();
        ensure!(help.split([' ', '\n', ',']).any(|word| word == flag), "{command} has no {flag}");
    }
    Ok(())
}
