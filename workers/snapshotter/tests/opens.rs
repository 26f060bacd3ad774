//! Nothing outside the database is ever opened, as the system itself tells.

mod common;

use std::process::Command;

use anyhow::{Result, ensure};
use common::Host;
use polkashots_shared::testkit::skip::skipped;

/// Set for the process that is traced.
const TRACED: &str = "POLKASHOTS_TEST_TRACED";

#[tokio::test]
async fn no_byte_of_keystore_or_network_is_opened_or_published() -> Result<()> {
    if std::env::var_os(TRACED).is_some() {
        return archive_a_base_path().await;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        skipped("no_byte_of_keystore_or_network_is_opened_or_published", "strace is not installed");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let trace = dir.path().join("trace");
    let status = Command::new("strace")
        .args(["-f", "-e", "trace=open,openat,openat2,getdents64,readlink,readlinkat", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe()?)
        .args(["--exact", "no_byte_of_keystore_or_network_is_opened_or_published"])
        .env(TRACED, "1")
        .env("TMPDIR", dir.path())
        .output()?;
    ensure!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    let trace = std::fs::read_to_string(trace)?;
    // What the run opens is opened by name relative to a folder; the test's own writing of the claim is not.
    let opens: Vec<&str> = trace.lines().filter(|line| !line.contains("O_CREAT")).collect();
    assert!(opens.iter().any(|line| line.contains("\"000007.sst\"")), "the trace shows no archiving:\n{trace}");
    for secret in ["keystore", "network", "secret_ed25519", "61757261", "\"LOG", "\"LOCK"] {
        let opened = opens.iter().find(|line| line.contains(secret));
        assert!(opened.is_none(), "opened: {opened:?}");
    }
    Ok(())
}

async fn archive_a_base_path() -> Result<()> {
    let host = Host::with_base_path()?;
    host.run().await?;
    let index = host.frames_index()?;
    assert!(index.files.iter().all(|file| file.path.starts_with("db/full/")));
    let stream = zstd::decode_all(&host.object(".tar.zst")?[..])?;
    for secret in ["secret", "stays here", "keystore"] {
        assert!(!stream.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{secret} was published");
    }
    // The tracing process removes the folder: removing it here would open what must not be seen opened.
    let _kept = host.dir.keep();
    Ok(())
}
