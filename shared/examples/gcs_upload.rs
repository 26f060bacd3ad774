//! Uploads an object to the strict Cloud Storage server in another process and prints what that took.
//!
//! `cargo run -p polkashots-shared --example gcs_upload --features test-servers [-- <MiB>]`

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use polkashots_shared::adapters::gcs::{GcsSettings, GcsStore};
use polkashots_shared::ids::Sha256;
use polkashots_shared::ports::object_store::{Expected, Headers, ObjectStore};
use polkashots_shared::testkit::servers::StrictGcs;
use sha2::Digest;

const MIB: usize = 1024 * 1024;
const SERVE: &str = "--serve";

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some(SERVE) => serve().await,
        Some(mib) => upload(mib.parse().context("expected a number of MiB")?).await,
        None => upload(2048).await,
    }
}

/// Serves until the parent closes standard input.
async fn serve() -> Result<()> {
    let server = StrictGcs::start("snapshots").await?;
    writeln!(std::io::stdout(), "{}", server.endpoint())?;
    let closed = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    closed.await?;
    Ok(())
}

async fn upload(mib: usize) -> Result<()> {
    let mut server = Command::new(std::env::current_exe()?)
        .arg(SERVE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the server")?;
    let mut endpoint = String::new();
    BufReader::new(server.stdout.take().context("a pipe")?).read_line(&mut endpoint)?;
    let endpoint = Some(endpoint.trim().to_owned());
    let settings =
        GcsSettings { data_endpoint: endpoint.clone(), control_endpoint: endpoint, ..GcsSettings::new("snapshots") };
    let bound = settings.part_size_bytes * (settings.parallel_parts + 1) / MIB;
    let store = GcsStore::connect(settings).await?;
    let (before, started) = (peak_mib()?, Instant::now());
    send(&store, mib).await?;
    let (peak, seconds) = (peak_mib()?, started.elapsed().as_secs_f64());
    writeln!(
        std::io::stdout(),
        "{mib} MiB in {seconds:.1} s; peak memory {peak} MiB, {before} MiB before; parts in memory at most {bound} MiB"
    )?;
    drop(server.stdin.take());
    server.wait()?;
    Ok(())
}

async fn send(store: &GcsStore, mib: usize) -> Result<()> {
    let block: Bytes = (0..MIB).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut upload = store.upload("large.tar.zst", &Headers::immutable("application/zstd")).await?;
    let mut digest = sha2::Sha256::new();
    for _ in 0..mib {
        digest.update(&block);
        upload.write(block.clone()).await?;
    }
    let sha256 = Sha256(digest.finalize().into());
    upload.finish(Expected { size: (mib * MIB) as u64, sha256 }).await?;
    Ok(())
}

/// The most memory that this process ever had, in MiB.
fn peak_mib() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("VmHWM in /proc/self/status")?;
    let kib: usize = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib / 1024)
}
