//! Everything that can be wrong with what people give us: a clear error, the documented exit code, nothing left behind.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::{Host, config_text, unpack};

/// A host that snapshots the fixture relay's RocksDB in `node/`.
fn relay() -> Result<(tempfile::TempDir, Host)> {
    let node = tempfile::tempdir()?;
    unpack("relay400-rocksdb", node.path())?;
    let host = Host::with_target(node.path(), "fixture_relay", "rocksdb")?;
    Ok((node, host))
}

/// Runs the service until the newest tick of the target has failed, and gives the reason.
fn failure_of_a_tick(host: &Host) -> Result<String> {
    let running = host.start()?;
    host.run(&["trigger", "relay"])?.succeeded()?;
    let failed =
        |status: &Value| status["targets"][0]["failures"].as_array().is_some_and(|failures| !failures.is_empty());
    let idle = |status: &Value| status["held"].as_array().is_some_and(Vec::is_empty);
    let status = host.wait_for("a failure that leaves nothing", |status| failed(status) && idle(status))?;
    ensure!(running.terminate()? == 0);
    let archives = std::fs::read_dir(host.path("bucket/relay"))?.flatten();
    for name in archives.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        ensure!(name.ends_with(".failed.json"), "{name} was left behind");
    }
    Ok(status["targets"][0]["failures"][0]["reason"].as_str().context("a reason")?.to_owned())
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_nearest() -> Result<()> {
    let (node, host) = relay()?;
    host.write_config(&config_text(node.path(), "fixture_relay", "rocksdb").replace("pruning", "prunning"))?;
    for command in [&["run"][..], &["config", "check"], &["status"], &["trigger", "relay"]] {
        host.run(command)?
            .failed(2, &["polkashots.toml:15", "\"prunning\"", "did you mean \"pruning\"?", "known keys"])?;
    }
    Ok(())
}

#[test]
fn an_absent_config_file_is_named_with_the_way_out() -> Result<()> {
    let (_node, host) = relay()?;
    host.run(&["run", "--config", "nowhere.toml"])?.failed(2, &["nowhere.toml", "hint: ", "--config FILE"])?;
    Ok(())
}

#[test]
fn a_path_that_is_no_database_is_refused_before_and_while_running() -> Result<()> {
    let (_node, host) = relay()?;
    std::fs::create_dir(host.path("empty"))?;
    host.run(&["inspect", "empty"])?.failed(4, &["empty", "not a chain database", "expected"])?;
    host.run(&["inspect", "nowhere"])?.failed(4, &["nowhere"])?;
    host.write_config(&config_text(&host.path("empty"), "fixture_relay", "rocksdb"))?;
    let checked = host.run(&["config", "check"])?.failed(1, &["1 of 1 targets"])?;
    ensure!(checked.out.contains("not a chain database"), "{}", checked.out);
    let reason = failure_of_a_tick(&host)?;
    ensure!(reason.contains("not a chain database"), "{reason}");
    Ok(())
}

#[test]
fn a_rocksdb_given_as_paritydb_is_told_so() -> Result<()> {
    let (node, host) = relay()?;
    host.write_config(&config_text(node.path(), "fixture_relay", "paritydb"))?;
    let checked = host.run(&["config", "check"])?.failed(1, &[])?;
    ensure!(checked.out.contains("holds a rocksdb database, not paritydb"), "{}", checked.out);
    let reason = failure_of_a_tick(&host)?;
    ensure!(reason.contains("holds a rocksdb database, not paritydb"), "{reason}");
    Ok(())
}

#[test]
fn a_genesis_of_another_chain_is_refused() -> Result<()> {
    let (node, host) = relay()?;
    host.write_config(&config_text(node.path(), "polkadot", "rocksdb"))?;
    let checked = host.run(&["config", "check"])?.failed(1, &[])?;
    ensure!(checked.out.contains("0x2bf152f3") && checked.out.contains("0x91b171bb"), "{}", checked.out);
    let reason = failure_of_a_tick(&host)?;
    ensure!(reason.contains("0x2bf152f3") && reason.contains("0x91b171bb"), "{reason}");
    Ok(())
}

#[test]
fn a_damaged_database_is_named() -> Result<()> {
    let node = tempfile::tempdir()?;
    unpack("relay400-paritydb", node.path())?;
    std::fs::write(node.path().join("paritydb/full/metadata"), "version=8\n")?;
    let host = Host::with_target(node.path(), "fixture_relay", "paritydb")?;
    let inspected = host.run(&["inspect", &node.path().display().to_string()])?;
    inspected.failed(1, &["paritydb/full", "damaged"])?;
    let reason = failure_of_a_tick(&host)?;
    ensure!(reason.contains("paritydb/full") && reason.contains("damaged"), "{reason}");
    Ok(())
}

#[test]
fn keys_that_cannot_be_used_are_named_with_the_way_out() -> Result<()> {
    let (_node, host) = relay()?;
    let key = host.path("keys/polkashots.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644))?;
    host.run(&["run"])?.failed(1, &["keys/polkashots.key", "0644", "chmod 600"])?;
    std::fs::write(&key, "not a key\n")?;
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600))?;
    host.run(&["run"])?.failed(1, &["keys/polkashots.key"])?;
    std::fs::remove_file(&key)?;
    host.run(&["run"])?.failed(1, &["keys/polkashots.key", "hint: ", "polkashots keygen"])?;
    Ok(())
}

#[test]
fn a_wrong_password_is_told_from_a_missing_one() -> Result<()> {
    let (node, host) = relay()?;
    std::fs::write(host.path("right"), "correct horse\n")?;
    std::fs::write(host.path("wrong"), "battery staple\n")?;
    std::fs::write(host.path("none"), "\n")?;
    host.run(&["keygen", "--out", "sealed", "--password-file", "right"])?.succeeded()?;
    let with = |password: &str| {
        let text = config_text(node.path(), "fixture_relay", "rocksdb");
        host.write_config(&text.replace("\"keys/polkashots.key\"", &format!("\"sealed/polkashots.key\"{password}")))
    };
    with("")?;
    host.run(&["config", "check"])?.failed(1, &["sealed/polkashots.key", "encrypted", "no password"])?;
    with("\npassword_file = \"wrong\"")?;
    host.run(&["config", "check"])?.failed(1, &["sealed/polkashots.key", "wrong password"])?;
    with("\npassword_file = \"none\"")?;
    host.run(&["config", "check"])?.failed(1, &["none", "first line is empty"])?;
    with("\npassword_file = \"right\"")?;
    host.run(&["config", "check"])?.succeeded()?;
    Ok(())
}

#[test]
fn keygen_overwrites_nothing() -> Result<()> {
    let (_node, host) = relay()?;
    let before = std::fs::read(host.path("keys/polkashots.key"))?;
    host.run(&["keygen", "--out", "keys"])?.failed(1, &["not overwritten", "hint: "])?;
    ensure!(std::fs::read(host.path("keys/polkashots.key"))? == before);
    Ok(())
}

#[test]
fn a_second_run_on_one_state_directory_names_the_first() -> Result<()> {
    let (_node, host) = relay()?;
    let running = host.start()?;
    host.run(&["run"])?.failed(1, &["state", &format!("pid {}", running.pid()), "hint: "])?;
    ensure!(host.status()?["running_pid"] == running.pid());
    ensure!(running.terminate()? == 0);
    ensure!(host.status()?["running_pid"].is_null());
    Ok(())
}

#[test]
fn an_unknown_target_is_refused_with_the_known_ones() -> Result<()> {
    let (_node, host) = relay()?;
    host.run(&["trigger", "relya"])?.failed(4, &["\"relya\"", "did you mean relay?", "known targets: relay"])?;
    Ok(())
}

#[test]
fn a_clock_before_the_newest_snapshot_is_told() -> Result<()> {
    let (_node, host) = relay()?;
    std::fs::create_dir_all(host.path("bucket/relay"))?;
    std::fs::write(host.path("bucket/relay/20990101-000000.manifest.json"), "{}")?;
    host.run(&["trigger", "relay"])?.failed(1, &["clock", "20990101-000000", "hint: "])?;
    Ok(())
}

#[test]
fn a_store_directory_that_vanished_is_named() -> Result<()> {
    let (_node, host) = relay()?;
    std::fs::remove_dir(host.path("bucket"))?;
    host.run(&["run"])?.failed(1, &["bucket", "hint: "])?;
    ensure!(!host.path("bucket").exists(), "a missing disk must not be papered over");
    Ok(())
}

#[test]
fn the_demo_touches_no_foreign_folder() -> Result<()> {
    let (_node, host) = relay()?;
    host.run(&["demo", "--dir", ".", "--no-serve"])?.failed(2, &["not empty", "nothing was touched", "--dir DIR"])?;
    ensure!(!Path::new(&host.path("node")).exists());
    Ok(())
}
