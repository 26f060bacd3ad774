//! A disk that fills up while the service copies, stores or restores: said in words, nothing half-written, and done once there is room.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use polkashots_shared::testkit::skip::skipped;
use serde_json::Value;

use crate::support::{Host, is_published, unpack};

/// A memory filesystem of a given size, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one at `path`, or says that `test` is skipped.
    fn mount(test: &str, path: PathBuf, size: &str) -> Result<Option<Self>> {
        std::fs::create_dir_all(&path)?;
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"], &path)?;
        if !mounted {
            skipped(test, "mounting a tmpfs needs root");
            return Ok(None);
        }
        Ok(Some(Self(path)))
    }

    fn grow(&self, size: &str) -> Result<()> {
        ensure!(mount(&["-o", &format!("remount,size={size}")], &self.0)?, "remount failed");
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A folder that stays mounted is all that could be left.
        let _ended = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(options: &[&str], path: &Path) -> Result<bool> {
    Ok(Command::new("mount").args(options).arg(path).output()?.status.success())
}

fn relay() -> Result<(tempfile::TempDir, Host)> {
    let node = tempfile::tempdir()?;
    unpack("relay400-rocksdb", node.path())?;
    let host = Host::with_target(node.path(), "fixture_relay", "rocksdb")?;
    Ok((node, host))
}

fn trigger(host: &Host) -> Result<String> {
    let triggered: Value = serde_json::from_str(&host.run(&["trigger", "relay", "--json"])?.succeeded()?.out)?;
    Ok(triggered["version"].as_str().context("no version")?.to_owned())
}

/// Every object that can be seen in the bucket.
fn objects(host: &Host) -> Result<Vec<String>> {
    let Ok(entries) = std::fs::read_dir(host.path("bucket/relay")) else { return Ok(Vec::new()) };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[test]
fn a_store_that_is_full_holds_the_snapshot_back_until_there_is_room() -> Result<()> {
    let (_node, host) = relay()?;
    let test = "a_store_that_is_full_holds_the_snapshot_back_until_there_is_room";
    let Some(disk) = SmallDisk::mount(test, host.path("bucket"), "1m")? else { return Ok(()) };
    let version = trigger(&host)?;
    let running = host.start()?;
    let waits = |queue: &Value| queue["subscription"] == "snapshotter.volume-snapshot-ready" && queue["delayed"] == 1;
    host.wait_for("a snapshotter that tries again", |status| {
        status["queue"].as_array().is_some_and(|queues| queues.iter().any(waits))
    })?;
    ensure!(objects(&host)?.is_empty(), "something half-written can be seen: {:?}", objects(&host)?);
    disk.grow("64m")?;
    host.wait_for("the snapshot", |status| is_published(status, &version))?;
    ensure!(objects(&host)?.contains(&format!("{version}.manifest.json")));
    ensure!(running.terminate()? == 0);
    Ok(())
}

#[test]
fn a_state_directory_without_room_for_a_copy_fails_the_tick_in_numbers() -> Result<()> {
    let (_node, host) = relay()?;
    let test = "a_state_directory_without_room_for_a_copy_fails_the_tick_in_numbers";
    let Some(_disk) = SmallDisk::mount(test, host.path("state"), "3m")? else { return Ok(()) };
    let version = trigger(&host)?;
    let running = host.start()?;
    let failed = |status: &Value| status["targets"][0]["failures"].as_array().is_some_and(|all| !all.is_empty());
    let idle = |status: &Value| status["held"].as_array().is_some_and(Vec::is_empty);
    let status = host.wait_for("a failure that leaves nothing", |status| failed(status) && idle(status))?;
    let reason = status["targets"][0]["failures"][0]["reason"].as_str().context("a reason")?;
    ensure!(reason.contains("not enough disk space") && reason.contains("bytes free"), "{reason}");
    ensure!(objects(&host)? == [format!("{version}.failed.json")], "{:?}", objects(&host)?);
    ensure!(running.terminate()? == 0);
    Ok(())
}

#[test]
fn a_base_path_without_room_is_said_so_before_anything_is_fetched() -> Result<()> {
    let (_node, host) = relay()?;
    let test = "a_base_path_without_room_is_said_so_before_anything_is_fetched";
    let Some(disk) = SmallDisk::mount(test, host.path("fresh"), "1m")? else { return Ok(()) };
    let version = trigger(&host)?;
    let running = host.start()?;
    host.wait_for("the snapshot", |status| is_published(status, &version))?;
    let site = format!("http://{}/", running.address);
    let restore = ["restore", &site, "relay/db", "--base-path", "fresh", "--key", "keys/polkashots.pub"];
    host.run(&restore)?.failed(1, &["fresh", "bytes of disk are needed"])?;
    ensure!(std::fs::read_dir(&disk.0)?.count() == 0, "something was written");
    disk.grow("64m")?;
    host.run(&restore)?.succeeded()?;
    ensure!(running.terminate()? == 0);
    Ok(())
}
