//! A change of the signing key, as its host and a validator with the old key pinned live through it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::{Host, is_published, request, unpack};

#[test]
fn who_pinned_the_old_key_restores_what_the_announced_one_signed() -> Result<()> {
    let node = tempfile::tempdir()?;
    unpack("relay400-rocksdb", node.path())?;
    let host = Host::with_target(node.path(), "fixture_relay", "rocksdb")?;
    let rotate = ["keygen", "--out", "new", "--rotate-from", "keys/polkashots.key", "--json"];
    let new: Value = serde_json::from_str(&host.run(&rotate)?.succeeded()?.out)?;
    let config = std::fs::read_to_string(host.path("polkashots.toml"))?;
    let signing = "secret_key = \"new/polkashots.key\"\nold_public_keys = [\"keys/polkashots.pub\"]";
    host.write_config(&config.replace("secret_key = \"keys/polkashots.key\"", signing))?;
    std::fs::copy(host.path("new/keys.json"), host.path("bucket/keys.json"))?;

    let triggered: Value = serde_json::from_str(&host.run(&["trigger", "relay/db", "--json"])?.succeeded()?.out)?;
    let running = host.start()?;
    let version = triggered["version"].as_str().context("no version")?;
    host.wait_for("the snapshot", |status| is_published(status, version))?;
    let about = request(&running.address, "GET", "/about/", &[])?;
    let key = new["key"].as_str().context("no key")?;
    ensure!(String::from_utf8_lossy(&about.body).contains(key), "the new key is not on the page");
    ensure!(request(&running.address, "GET", "/keys.json", &[])?.status == 200, "no announcement on the site");

    let site = format!("http://{}/", running.address);
    let restore = ["restore", &site, "relay/db", "--base-path", "fresh", "--key", "keys/polkashots.pub", "--json"];
    let restored: Value = serde_json::from_str(&host.run(&restore)?.succeeded()?.out)?;
    ensure!(restored["outcome"] == "restored", "{restored:#}");
    Ok(())
}
