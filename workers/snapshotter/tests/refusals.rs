//! Bad input: each a clear error, for good, with nothing left behind.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use anyhow::Result;
use common::{Host, shell};
use polkashots_shared::ids::{BlockHash, DatabaseKind};
use polkashots_shared::target::Format;

async fn refused(host: &Host, expected: &[&str]) -> Result<()> {
    let (text, permanent) = host.refusal().await?;
    for part in expected {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    assert!(permanent, "{text:?} would be tried again");
    host.assert_nothing_visible();
    Ok(())
}

#[tokio::test]
async fn a_symbolic_link_is_refused_by_name_and_not_followed() -> Result<()> {
    let host = Host::with_base_path()?;
    symlink(host.chain_dir().join("keystore"), host.chain_dir().join("db/full/link"))?;
    refused(&host, &["db/full/link", "symbolic link"]).await
}

#[tokio::test]
async fn a_database_folder_that_is_a_symbolic_link_is_refused() -> Result<()> {
    let host = Host::with_base_path()?;
    std::fs::rename(host.chain_dir().join("db"), host.chain_dir().join("elsewhere"))?;
    symlink("elsewhere", host.chain_dir().join("db"))?;
    refused_or_retried(&host, "open folder").await
}

/// The system's own refusal may be tried again; what counts is that nothing was read.
async fn refused_or_retried(host: &Host, expected: &str) -> Result<()> {
    let (text, _) = host.refusal().await?;
    assert!(text.contains(expected), "{text:?} does not say {expected:?}");
    host.assert_nothing_visible();
    Ok(())
}

#[tokio::test]
async fn pipes_and_sockets_are_refused_by_name() -> Result<()> {
    let host = Host::with_base_path()?;
    shell(&host.chain_dir(), "mkfifo db/full/pipe", b"")?;
    refused(&host, &["db/full/pipe", "named pipe"]).await?;
    std::fs::remove_file(host.chain_dir().join("db/full/pipe"))?;
    let _listener = UnixListener::bind(host.chain_dir().join("db/socket"))?;
    refused(&host, &["db/socket", "socket"]).await
}

#[tokio::test]
async fn a_link_under_an_excluded_name_is_refused_too() -> Result<()> {
    let host = Host::with_base_path()?;
    std::fs::remove_file(host.chain_dir().join("db/full/LOCK"))?;
    symlink("/etc/hostname", host.chain_dir().join("db/full/LOCK"))?;
    refused(&host, &["db/full/LOCK", "symbolic link"]).await
}

#[tokio::test]
async fn a_keystore_inside_the_database_is_refused() -> Result<()> {
    let host = Host::with_base_path()?;
    host.file("db/full/keystore/61757261", b"secret seed")?;
    refused(&host, &["db/full/keystore", "may hold keys"]).await
}

#[tokio::test]
async fn names_that_cannot_be_published_are_refused() -> Result<()> {
    for (name, reason) in
        [(&b"a\nb"[..], "control character"), (&b"a\xff"[..], "not UTF-8"), (&b"a\\b"[..], "backslash")]
    {
        let host = Host::with_base_path()?;
        std::fs::write(host.chain_dir().join("db/full").join(OsStr::from_bytes(name)), b"")?;
        refused(&host, &["db/full", reason]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn another_genesis_is_refused_with_both_hashes() -> Result<()> {
    let mut host = Host::with_base_path()?;
    host.identity.genesis_hash = BlockHash([9; 32]);
    let expected = host.target.chain.genesis_hash.to_string();
    refused(&host, &["db/full: genesis is 0x0909", &expected, "polkadot"]).await
}

#[tokio::test]
async fn another_database_kind_is_refused_with_the_way_out() -> Result<()> {
    let mut host = Host::with_base_path()?;
    host.identity.database = DatabaseKind::ParityDb;
    refused(&host, &["holds a paritydb database, expected rocksdb", "set database = \"paritydb\""]).await
}

#[tokio::test]
async fn a_pruned_database_is_not_published_as_an_archive() -> Result<()> {
    let mut host = Host::with_base_path()?;
    host.target.pruning = "archive".into();
    refused(&host, &["state pruning is constrained, expected archive"]).await?;
    host.identity.pruning = None;
    host.run().await?;
    Ok(())
}

#[tokio::test]
async fn an_unknown_target_is_refused_with_the_known_ones() -> Result<()> {
    let host = Host::with_base_path()?;
    let mut ready = host.ready();
    ready.target = "kusama".parse()?;
    let event = polkashots_shared::event::Event::new(
        "engine",
        common::version().time(),
        polkashots_shared::event::Payload::VolumeSnapshotReady(ready),
    );
    let error = polkashots_snapshotter::handle(&event, &host.deps()).await.expect_err("unknown");
    assert!(error.is_permanent());
    assert!(error.to_string().contains("unknown target kusama: this host has polkadot-prune"), "{error}");
    Ok(())
}

#[tokio::test]
async fn settings_and_formats_out_of_bounds_are_refused() -> Result<()> {
    let mut host = Host::with_base_path()?;
    host.target.compression.level = 99;
    refused(&host, &["compression.level is 99", "1 to 19"]).await?;
    host.target.compression.level = 1;
    host.target.formats = vec![Format::TarZst, Format::BlocksZst];
    refused(&host, &["blocks.zst", "--node-binary", "POLKASHOTS_NODE_BINARY"]).await
}

#[tokio::test]
async fn a_claim_that_is_not_there_may_come_later() -> Result<()> {
    let host = Host::with_base_path()?;
    std::fs::remove_dir_all(host.chain_dir())?;
    let (text, permanent) = host.refusal().await?;
    assert!(text.contains("polkadot-prune-restore") && text.contains("expected a mounted folder"), "{text}");
    assert!(!permanent);
    Ok(())
}
