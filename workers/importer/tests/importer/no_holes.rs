//! A filesystem that keeps no holes: exFAT, by its program in user space.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::server::{Faults, Server};
use crate::common::{Bucket, read_tree, restored, tree};
use anyhow::{Context as _, Result, ensure};
use polkashots_importer::{NoProgress, preview, restore};
use polkashots_shared::testkit::skip::{program_or_skip, skipped};

const TEST: &str = "a_filesystem_without_holes_takes_every_file_whole_and_the_restore_is_continued";

/// An image of an exFAT filesystem, mounted; unmounted when dropped.
struct NoHoles {
    folder: PathBuf,
    device: String,
    _dir: tempfile::TempDir,
}

impl NoHoles {
    fn mount(size_bytes: u64) -> Result<Option<Self>> {
        if ["mkfs.exfat", "mount.exfat-fuse", "losetup"].iter().any(|program| program_or_skip(TEST, program).is_none())
        {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let (image, folder) = (dir.path().join("image"), dir.path().join("mounted"));
        std::fs::create_dir(&folder)?;
        std::fs::File::create(&image)?.set_len(size_bytes)?;
        let made = Command::new("mkfs.exfat").arg(&image).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let device = Command::new("losetup").args(["--find", "--show"]).arg(&image).output()?;
        if !device.status.success() {
            skipped(TEST, "a loop device needs root");
            return Ok(None);
        }
        let device = String::from_utf8(device.stdout)?.trim().to_owned();
        let disk = Self { folder, device, _dir: dir };
        let mounted = Command::new("mount.exfat-fuse").arg(&disk.device).arg(&disk.folder).output()?;
        if !mounted.status.success() {
            skipped(TEST, "mounting a filesystem of user space needs root and /dev/fuse");
            return Ok(None);
        }
        Ok(Some(disk))
    }

    fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for NoHoles {
    fn drop(&mut self) {
        // What stays mounted keeps its temporary folder, nothing else.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).stderr(Stdio::null()).status();
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filesystem_without_holes_takes_every_file_whole_and_the_restore_is_continued() -> Result<()> {
    let mut tree = tree(90);
    let mut sparse = vec![0; 6 << 20];
    sparse[3 << 20..(3 << 20) + 10].fill(7);
    tree.insert("db/full/table_00_1".into(), sparse);
    let bucket = Bucket::with(&tree)?;
    // Room for one database and not for two.
    let Some(disk) = NoHoles::mount(10 << 20)? else { return Ok(()) };
    let server = Server::start(bucket.folder.path(), Faults { one_short: true, ..Faults::default() }).await?;
    let chain = disk.path().join("chain");
    let request = bucket.request(&server.url(), &chain);
    let whole = preview(&request, &NoProgress).await?.disk_needed_bytes;
    ensure!(whole > 6 << 20, "{whole} bytes leave the holes out");
    let error = restore(&request, &NoProgress).await.err().context("an archive without its end")?;
    let begun = preview(&request, &NoProgress).await?;
    ensure!(begun.disk_free_bytes < whole && begun.disk_needed_bytes < 100_000, "{begun:?} after {error}");
    *server.state.faults.lock().expect("not poisoned") = Faults::default();
    restored(&request).await?;
    ensure!(read_tree(&chain)? == tree, "another tree");
    Ok(())
}
