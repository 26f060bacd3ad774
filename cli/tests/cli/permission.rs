//! A user who may not: the path is named with the way out, and secrets beside the database are nobody's business.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::{Host, NOBODY, give, is_published, unpack};

/// A host whose service runs as an unprivileged user, and the node's folder, which that user may read.
fn unprivileged() -> Result<(tempfile::TempDir, Host)> {
    let node = tempfile::tempdir()?;
    unpack("relay400-rocksdb", node.path())?;
    let mut host = Host::with_target(node.path(), "fixture_relay", "rocksdb")?;
    host.drop_privileges()?;
    if rustix::process::geteuid().is_root() {
        give(node.path(), NOBODY)?;
    }
    Ok((node, host))
}

/// Takes a file or folder from the unprivileged user.
fn forbid(path: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(0), Some(0))?;
    }
    Ok(fs::set_permissions(path, Permissions::from_mode(0o000))?)
}

/// Lets the test's own clean-up in again.
fn allow(path: &Path) -> Result<()> {
    Ok(fs::set_permissions(path, Permissions::from_mode(0o755))?)
}

#[test]
fn a_database_file_that_may_not_be_read_is_named_with_the_way_out() -> Result<()> {
    let (node, host) = unprivileged()?;
    let manifest = fs::read_to_string(node.path().join("db/full/CURRENT"))?;
    let manifest = node.path().join("db/full").join(manifest.trim_end());
    forbid(&manifest)?;
    let running = host.start()?;
    host.run(&["trigger", "relay"])?.succeeded()?;
    let failed = |status: &Value| status["targets"][0]["failures"].as_array().is_some_and(|all| !all.is_empty());
    let status = host.wait_for("a failure", failed)?;
    let reason = status["targets"][0]["failures"][0]["reason"].as_str().context("a reason")?.to_owned();
    ensure!(running.terminate()? == 0);
    for word in ["MANIFEST-", "Permission denied", "user who may read the database"] {
        ensure!(reason.contains(word), "{word:?} is not said: {reason}");
    }
    host.run(&["inspect", &node.path().display().to_string()])?.failed(1, &["MANIFEST-", "Permission denied"])?;
    Ok(())
}

#[test]
fn keystore_and_network_that_nobody_may_read_are_in_nobodys_way() -> Result<()> {
    let (node, host) = unprivileged()?;
    let secrets = ["keystore", "network"].map(|name| node.path().join(name));
    for folder in &secrets {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("secret"), "SECRET")?;
        forbid(folder)?;
    }
    let triggered: Value = serde_json::from_str(&host.run(&["trigger", "relay", "--json"])?.succeeded()?.out)?;
    let running = host.start()?;
    let version = triggered["version"].as_str().context("no version")?;
    host.wait_for("the snapshot", |status| is_published(status, version))?;
    ensure!(running.terminate()? == 0);
    secrets.iter().try_for_each(|folder| allow(folder))
}

#[test]
fn a_secret_key_that_may_not_be_read_is_named() -> Result<()> {
    let (_node, host) = unprivileged()?;
    forbid(&host.path("keys/polkashots.key"))?;
    host.run(&["run"])?.failed(1, &["keys/polkashots.key", "Permission denied"])?;
    Ok(())
}

#[test]
fn a_store_that_may_not_be_written_is_named_with_the_way_out() -> Result<()> {
    let (_node, host) = unprivileged()?;
    forbid(&host.path("bucket"))?;
    host.run(&["run"])?.failed(1, &["bucket", "access"])?;
    allow(&host.path("bucket"))
}

#[test]
fn a_base_path_that_may_not_be_written_is_named_and_left_alone() -> Result<()> {
    let (_node, host) = unprivileged()?;
    let triggered: Value = serde_json::from_str(&host.run(&["trigger", "relay", "--json"])?.succeeded()?.out)?;
    let running = host.start()?;
    let version = triggered["version"].as_str().context("no version")?;
    host.wait_for("the snapshot", |status| is_published(status, version))?;
    let site = format!("http://{}/", running.address);
    fs::create_dir(host.path("fresh"))?;
    forbid(&host.path("fresh"))?;
    let restore = ["restore", &site, "relay/db", "--base-path", "fresh", "--key", "keys/polkashots.pub"];
    host.run(&restore)?.failed(1, &["fresh", "Permission denied"])?;
    allow(&host.path("fresh"))?;
    ensure!(fs::read_dir(host.path("fresh"))?.count() == 0, "something was written");
    Ok(())
}
