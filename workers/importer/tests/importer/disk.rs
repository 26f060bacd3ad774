//! Disks that fill up or refuse.

use std::path::Path;
use std::process::Command;

use crate::common::server::{Faults, Server};
use crate::common::{Bucket, Snapshot, read_tree, refused, restored, tree};
use anyhow::{Context as _, Result, ensure};
use polkashots_importer::{ErrorKind, NoProgress, Phase, Progress, Update, restore};
use polkashots_shared::testkit::skip::skipped;

/// A memory filesystem of a few megabytes, unmounted when dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where the machine does not let this test mount anything, which is said aloud.
    pub fn mount(size: &str) -> Result<Option<Self>> {
        let dir = tempfile::tempdir()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            skipped(std::thread::current().name().unwrap_or("a test"), "mounting a tmpfs needs root");
            return Ok(None);
        }
        Ok(Some(Self(dir)))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn make_read_only(&self) -> Result<()> {
        let made = Command::new("mount").args(["-o", "remount,ro"]).arg(self.path()).status()?;
        ensure!(made.success(), "remount failed");
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What stays mounted keeps its temporary folder, nothing else.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Fills the disk once the transfer begins, after the check for free space.
struct Filler<'a>(&'a Path);

impl Progress for Filler<'_> {
    fn update(&self, update: &Update) {
        let file = self.0.join("filler");
        if update.phase == Phase::Prepare && update.total == update.done && !file.exists() {
            // It fails when the disk is full, which is the point.
            let _ = std::fs::write(file, vec![1; 64 << 20]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_on_the_way_is_named_and_the_restore_continued() -> Result<()> {
    let Some(disk) = SmallDisk::mount("2M")? else { return Ok(()) };
    let tree = tree(50);
    let bucket = Bucket::with(&tree)?;
    let chain = disk.path().join("chain");
    let request = bucket.request(&bucket.source(), &chain);
    let error = restore(&request, &Filler(disk.path())).await.err().context("the disk is full")?;
    ensure!(error.kind() == ErrorKind::Space, "{error}");
    ensure!(!chain.join("db").exists(), "half a database is visible");
    std::fs::remove_file(disk.path().join("filler"))?;
    restored(&request).await?;
    ensure!(read_tree(&chain)? == tree, "another tree");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_too_small_is_said_so_before_anything_is_fetched() -> Result<()> {
    let Some(disk) = SmallDisk::mount("400k")? else { return Ok(()) };
    let bucket = Bucket::with(&tree(51))?;
    let error = refused(&bucket.request(&bucket.source(), &disk.path().join("chain"))).await?;
    ensure!(error.kind() == ErrorKind::Space && error.to_string().contains("bytes of disk are needed"), "{error}");
    ensure!(std::fs::read_dir(disk.path())?.count() == 0, "something was written");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_unfinished_restore_takes_counts_as_room_for_the_next() -> Result<()> {
    let Some(disk) = SmallDisk::mount("700k")? else { return Ok(()) };
    let mut bucket = Bucket::with(&tree(53))?;
    let server = Server::start(bucket.folder.path(), Faults { one_short: true, ..Faults::default() }).await?;
    let request = bucket.request(&server.url(), &disk.path().join("chain"));
    refused(&request).await?;
    let new = tree(54);
    let old = "testnet-rocksdb-prune/20261122-040000.manifest.json";
    bucket.publish(&Snapshot { version: "20261123-040000".parse()?, height: 500, ..Snapshot::new(new.clone()) })?;
    std::fs::remove_file(bucket.path(old))?;
    *server.state.faults.lock().expect("not poisoned") = Faults::default();
    restored(&request).await?;
    ensure!(read_tree(&disk.path().join("chain"))? == new, "another tree");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_cannot_be_written_is_named() -> Result<()> {
    let Some(disk) = SmallDisk::mount("2M,ro")? else { return Ok(()) };
    let bucket = Bucket::with(&tree(52))?;
    let chain = disk.path().join("chain");
    let error = restore(&bucket.request(&bucket.source(), &chain), &NoProgress).await.err().context("read-only")?;
    let text = error.to_string();
    ensure!(error.kind() == ErrorKind::Io && text.contains("chain") && text.contains("Read-only"), "{text}");
    let file = tempfile::NamedTempFile::new()?;
    let error = restore(&bucket.request(&bucket.source(), file.path()), &NoProgress).await.err().context("a file")?;
    ensure!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    Ok(())
}
