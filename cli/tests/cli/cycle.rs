//! Whole cycles through the built binary.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::{Host, is_published, polkashots, request, unpack};

fn truth(fixture: &str) -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(format!("{fixture}.json"));
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

fn inspect(path: &Path) -> Result<Value> {
    let output = polkashots().arg("inspect").arg(path).arg("--json").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn is_true_to(inspected: &Value, fixture: &str) -> Result<()> {
    let truth = truth(fixture)?;
    ensure!(inspected["genesis_hash"] == truth["genesis_hash"], "{inspected:#}");
    ensure!(inspected["best"]["height"] == truth["best_number"] && inspected["best"]["hash"] == truth["best_hash"]);
    let finalized = &inspected["finalized"];
    ensure!(finalized["height"] == truth["finalized_number"] && finalized["hash"] == truth["finalized_hash"]);
    ensure!(inspected["database"] == truth["database"] && inspected["warp_gap"] == false);
    Ok(())
}

#[test]
fn the_demo_restores_every_database_true_to_its_node_and_runs_again_in_its_folder() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("demo");
    for round in 1..=2 {
        let output = polkashots().arg("demo").arg("--dir").arg(&dir).arg("--no-serve").output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "round {round}: {out}{err}");
        ensure!(out.contains("What this proved") && out.contains("Where to look"), "{out}");
        for (target, fixture) in [
            ("relay-rocksdb", "relay400-rocksdb"),
            ("relay-paritydb", "relay400-paritydb"),
            ("polkadot-rocksdb", "polkadot-genesis-rocksdb"),
            ("polkadot-paritydb", "polkadot-genesis-paritydb"),
        ] {
            is_true_to(&inspect(&dir.join("restored").join(target))?, fixture)?;
        }
    }
    let index: Value = serde_json::from_slice(&std::fs::read(dir.join("bucket/index.json"))?)?;
    let targets = index["targets"].as_array().context("targets")?;
    ensure!(targets.len() == 4 && targets.iter().all(|target| target["snapshots"].as_array().map(Vec::len) == Some(2)));
    Ok(())
}

#[test]
fn a_trigger_before_the_start_is_published_served_verified_and_restored() -> Result<()> {
    let node = tempfile::tempdir()?;
    unpack("relay400-rocksdb", node.path())?;
    let host = Host::with_target(node.path(), "fixture_relay", "rocksdb")?;
    let triggered: Value = serde_json::from_str(&host.run(&["trigger", "relay/db", "--json"])?.succeeded()?.out)?;
    let running = host.start()?;
    let version = triggered["version"].as_str().context("no version")?;
    host.wait_for("the snapshot", |status| is_published(status, version))?;

    let site = format!("http://{}/", running.address);
    let verify = host.run(&["verify", &site, "relay/db", "--key", "keys/polkashots.pub", "--json"])?.succeeded()?;
    let report: Value = serde_json::from_str(&verify.out)?;
    ensure!(report["manifest"]["block"]["height"] == 396, "{report:#}");
    let restore = ["restore", &site, "relay/db", "--base-path", "fresh", "--key", "keys/polkashots.pub", "--json"];
    let restored: Value = serde_json::from_str(&host.run(&restore)?.succeeded()?.out)?;
    ensure!(restored["outcome"] == "restored", "{restored:#}");
    is_true_to(&inspect(&host.path("fresh"))?, "relay400-rocksdb")?;
    let again: Value = serde_json::from_str(&host.run(&restore)?.succeeded()?.out)?;
    ensure!(again["outcome"] == "already_there", "{again:#}");

    refusals(&host, &site)?;
    let page = request(&running.address, "GET", "/", &[])?;
    ensure!(page.status == 200 && String::from_utf8_lossy(&page.body).contains("relay"));
    let permalink = request(&running.address, "GET", "/relay/db", &[])?;
    ensure!(permalink.status == 302 && permalink.header("cache-control") == Some("no-cache"), "{permalink:?}");
    ensure!(running.terminate()? == 0, "SIGTERM is an orderly end");
    Ok(())
}

/// What is not what was asked for ends with 3, what is not there with 4, and writes nothing.
fn refusals(host: &Host, site: &str) -> Result<()> {
    host.run(&["keygen", "--out", "others"])?.succeeded()?;
    let restore = |key: &str, name: &str, more: &[&str]| {
        let mut args = vec!["restore", site, name, "--base-path", "refused", "--key", key, "--quiet"];
        args.extend(more);
        host.run(&args)
    };
    restore("others/polkashots.pub", "relay/db", &[])?.failed(3, &["key"])?;
    restore("keys/polkashots.pub", "relay/db", &["--min-height", "397"])?.failed(3, &["396", "397"])?;
    restore("keys/polkashots.pub", "relay/db", &["--max-age", "0s"])?.failed(3, &["old"])?;
    restore("keys/polkashots.pub", "relay/nothing", &[])?.failed(4, &["relay/nothing"])?;
    let archives = host.path("refused/chains/fixture_relay/db");
    ensure!(!archives.exists(), "something was written");
    Ok(())
}
