//! A service that has published a fixture's snapshot, and the commands of whoever restores it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::{Host, Running, Said, is_published, polkashots, unpack};

/// Where restores go, below the host's folder.
pub const BASE_PATH: &str = "restored";
/// The restored database, below the host's folder.
pub const DATABASE: &str = "restored/chains/fixture_relay/db";
const KEY: &str = "keys/polkashots.pub";

pub struct Published {
    pub host: Host,
    /// The newest snapshot.
    pub version: String,
    running: Option<Running>,
    node: tempfile::TempDir,
}

impl Published {
    /// One snapshot of a RocksDB fixture of the relay chain.
    pub fn of(fixture: &str) -> Result<Self> {
        let node = tempfile::tempdir()?;
        unpack(fixture, node.path())?;
        let host = Host::with_target(node.path(), "fixture_relay", "rocksdb")?;
        let mut published = Self { host, version: String::new(), running: None, node };
        published.publish()?;
        Ok(published)
    }

    /// The node has another database from now on, which is published, too.
    pub fn publish_next(&mut self, fixture: &str) -> Result<()> {
        let stopped = self.running.take().context("nothing runs")?.terminate()?;
        ensure!(stopped == 0);
        std::fs::remove_dir_all(self.node.path().join("db"))?;
        unpack(fixture, self.node.path())?;
        self.publish()
    }

    fn publish(&mut self) -> Result<()> {
        let before = self.version.clone();
        while self.version == before {
            let triggered: Value =
                serde_json::from_str(&self.host.run(&["trigger", "relay", "--json"])?.succeeded()?.out)?;
            triggered["version"].as_str().context("no version")?.clone_into(&mut self.version);
        }
        self.running = Some(self.host.start()?);
        self.host.wait_for("the snapshot", |status| is_published(status, &self.version))?;
        Ok(())
    }

    /// The site's address.
    pub fn site(&self) -> Result<String> {
        Ok(format!("http://{}/", self.running.as_ref().context("nothing runs")?.address))
    }

    /// `polkashots restore`, with these flags more.
    pub fn restore(&self, flags: &[&str]) -> Result<Said> {
        let site = self.site()?;
        let mut args = vec!["restore", &site, "relay/db", "--base-path", BASE_PATH, "--key", KEY];
        args.extend(flags);
        self.host.run(&args)
    }

    /// The same, which must succeed; gives what it printed.
    pub fn restored(&self, flags: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.restore(&[flags, &["--json"]].concat())?.succeeded()?.out)?)
    }

    /// `polkashots verify` of the restored database.
    pub fn verify(&self) -> Result<Said> {
        let site = self.site()?;
        self.host.run(&["verify", &site, "relay/db", "--key", KEY, "--base-path", BASE_PATH, "--json"])
    }
}

/// The highest block of the database at `path`, as `polkashots inspect` reads it from its bytes.
pub fn best_height(path: &Path) -> Result<u64> {
    let output = polkashots().arg("inspect").arg(path).arg("--json").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let inspected: Value = serde_json::from_slice(&output.stdout)?;
    inspected["best"]["height"].as_u64().with_context(|| format!("no height: {inspected:#}"))
}
