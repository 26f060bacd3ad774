//! What people run today, and how fast a disk is.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Runs a shell line, every part of whose pipes must succeed.
pub fn shell(line: &str) -> Result<()> {
    let output = Command::new("bash").args(["-c", &format!("set -euo pipefail; {line}")]).output()?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// `curl URL | UNPACK | tar -x` into `folder`, each file synced.
pub fn pipe(unpack: &str, url: &str, folder: &Path) -> Result<()> {
    let folder = folder.display();
    shell(&format!("curl -sSfL {url} | {unpack} | tar -x -C {folder}; find {folder} -type f -print0 | xargs -0 sync"))
}

/// How long [`pipe`] takes, into a folder of `target` that is removed again.
pub fn run(unpack: &str, url: &str, target: &Path) -> Result<Duration> {
    let folder = tempfile::tempdir_in(target)?;
    let started = Instant::now();
    pipe(unpack, url, folder.path())?;
    Ok(started.elapsed())
}

/// Bytes a second of one file of that size written in sequence and synced.
pub fn write_rate(folder: &Path, size_gib: usize) -> Result<f64> {
    let mut file = tempfile::tempfile_in(folder)?;
    let block = vec![7; 4 << 20];
    let started = Instant::now();
    for _ in 0..size_gib * 256 {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    Ok((size_gib << 30) as f64 / started.elapsed().as_secs_f64())
}
