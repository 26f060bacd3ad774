//! Servers that misbehave: each is survived or refused, and nothing unverified is ever written.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::server::{Faults, Server};
use crate::common::{Bucket, Snapshot, Tree, read_tree, refused, restored, tree};
use anyhow::Result;
use polkashots_importer::{ErrorKind, RestoreRequest};

/// A bucket, a server with faults for it, and a folder to restore into.
struct Scene {
    tree: Tree,
    bucket: Bucket,
    server: Server,
    chain: tempfile::TempDir,
}

impl Scene {
    async fn new(faults: Faults) -> Result<Self> {
        let tree = tree(20);
        let bucket = Bucket::with(&tree)?;
        let server = Server::start(bucket.folder.path(), faults).await?;
        Ok(Self { tree, bucket, server, chain: tempfile::tempdir()? })
    }

    fn request(&self) -> RestoreRequest {
        self.bucket.request(&self.server.url(), self.chain.path())
    }

    async fn is_survived(&self) -> Result<()> {
        restored(&self.request()).await?;
        assert_eq!(read_tree(self.chain.path())?, self.tree);
        Ok(())
    }

    /// Restores, expects a refusal that says all of `expected`, and that no byte of a file was written.
    async fn is_refused(&self, expected: &[&str]) -> Result<()> {
        let error = refused(&self.request()).await?.to_string();
        for expected in expected {
            assert!(error.contains(expected), "expected {expected:?} in: {error}");
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ignores_ranges_is_read_in_one_stream() -> Result<()> {
    let scene = Scene::new(Faults { ignore_ranges: true, ..Faults::default() }).await?;
    scene.is_survived().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_is_verified_like_ranges() -> Result<()> {
    let corrupt = Faults { ignore_ranges: true, corrupt_every: Some(1), ..Faults::default() };
    Scene::new(corrupt).await?.is_refused(&["SHA-256", "3 attempts"]).await?;
    let sometimes = Faults { ignore_ranges: true, corrupt_every: Some(2), ..Faults::default() };
    Scene::new(sometimes).await?.is_survived().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_that_is_cut_is_read_again() -> Result<()> {
    let scene = Scene::new(Faults { ignore_ranges: true, cut_at: Some(250_000), ..Faults::default() }).await?;
    let error = refused(&scene.request()).await?;
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    scene.server.state.faults.lock().expect("not poisoned").cut_at = None;
    scene.is_survived().await
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_anywhere_are_continued_where_they_broke() -> Result<()> {
    for cut_at in [1_000, 16_384, 99_999] {
        let scene = Scene::new(Faults { cut_at: Some(cut_at), ..Faults::default() }).await?;
        scene.is_survived().await?;
        let sent = scene.server.state.body_bytes.load(Ordering::SeqCst);
        assert!(sent < 320_000, "{sent} bytes were sent for cuts at {cut_at}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_before_the_first_byte_are_given_up() -> Result<()> {
    let scene = Scene::new(Faults { cut_at: Some(0), ..Faults::default() }).await?;
    scene.is_refused(&["8 attempts without progress"]).await?;
    assert!(scene.server.state.archive_requests.load(Ordering::SeqCst) <= 8 * 8);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn storms_of_server_errors_are_weathered() -> Result<()> {
    for (status, with) in [
        ("500 Internal Server Error", ""),
        ("503 Service Unavailable", "Retry-After: 1\r\n"),
        ("429 Too Many Requests", "Retry-After: 86400\r\n"),
        ("408 Request Timeout", ""),
    ] {
        let scene = Scene::new(Faults { every: Some((2, status)), with, ..Faults::default() }).await?;
        scene.is_survived().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_errs_is_given_up_and_named() -> Result<()> {
    let scene = Scene::new(Faults { every: Some((1, "502 Bad Gateway")), ..Faults::default() }).await?;
    scene.is_refused(&["8 attempts", "502", "index.json"]).await?;
    let scene = Scene::new(Faults { every: Some((1, "403 Forbidden")), ..Faults::default() }).await?;
    scene.is_refused(&["403 Forbidden"]).await?;
    assert_eq!(scene.server.state.requests.load(Ordering::SeqCst), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_replaced() -> Result<()> {
    let scene = Scene::new(Faults { silent: 2, ..Faults::default() }).await?;
    let mut request = scene.request();
    request.transfer.stall_timeout = Duration::from_millis(300);
    restored(&request).await?;
    assert_eq!(read_tree(scene.chain.path())?, scene.tree);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_lie_about_lengths_and_places_are_refused() -> Result<()> {
    let scene = Scene::new(Faults { wrong_total: true, ..Faults::default() }).await?;
    scene.is_refused(&["the signed manifest says"]).await?;
    let scene = Scene::new(Faults { shifted: true, cut_at: Some(50_000), ..Faults::default() }).await?;
    scene.is_refused(&["SHA-256"]).await?;
    let scene = Scene::new(Faults { one_short: true, ..Faults::default() }).await?;
    scene.is_refused(&["8 attempts without progress"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_on_the_way_is_fetched_again_and_a_lasting_one_refused() -> Result<()> {
    let scene = Scene::new(Faults { corrupt_every: Some(3), cut_at: Some(60_000), ..Faults::default() }).await?;
    scene.is_survived().await?;
    let scene = Scene::new(Faults { corrupt_every: Some(1), ..Faults::default() }).await?;
    scene.is_refused(&["frame", "SHA-256", "3 attempts"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_changes_between_two_requests_is_refused() -> Result<()> {
    let scene = Scene::new(Faults { cut_at: Some(60_000), ..Faults::default() }).await?;
    let (other, _) = Snapshot::new(tree(21)).pack()?;
    scene.server.state.faults.lock().expect("not poisoned").swap_after = Some((2, other));
    let error = refused(&scene.request()).await?;
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_archive_is_refused_before_anything_is_written() -> Result<()> {
    let scene = Scene::new(Faults::default()).await?;
    let archive = scene.bucket.path("testnet-rocksdb-prune/20261122-040000.tar.zst");
    std::fs::OpenOptions::new().write(true).open(&archive)?.set_len(150_000)?;
    scene.is_refused(&["150000 bytes", "the signed manifest says"]).await?;
    std::fs::OpenOptions::new().write(true).open(&archive)?.set_len(0)?;
    scene.is_refused(&["0 bytes"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_lead_to_other_hosts_but_not_in_circles() -> Result<()> {
    let scene = Scene::new(Faults::default()).await?;
    let other = Server::start(scene.bucket.folder.path(), Faults::default()).await?;
    let archive = "testnet-rocksdb-prune/20261122-040000.tar.zst";
    let to_other = format!("{}/{archive}", other.url());
    scene.server.state.faults.lock().expect("not poisoned").redirects = [(archive.to_owned(), to_other)].into();
    scene.is_survived().await?;
    assert_eq!(scene.server.state.archive_requests.load(Ordering::SeqCst), 0);
    let circle = Scene::new(Faults::default()).await?;
    circle.server.state.faults.lock().expect("not poisoned").redirects =
        [("index.json".to_owned(), "/index.json".to_owned())].into();
    circle.is_refused(&["redirect refused", "more than 5 redirects"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_named() -> Result<()> {
    let scene = Scene::new(Faults::default()).await?;
    std::fs::remove_file(scene.bucket.path("testnet-rocksdb-prune/20261122-040000.tar.zst"))?;
    scene.is_refused(&["20261122-040000.tar.zst: not found"]).await?;
    std::fs::remove_file(scene.bucket.path("index.json.minisig"))?;
    scene.is_refused(&["index.json.minisig: not found"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_trickles_is_replaced() -> Result<()> {
    let scene = Scene::new(Faults { trickle: 3, ..Faults::default() }).await?;
    let mut request = scene.request();
    request.transfer.stall_timeout = Duration::from_millis(300);
    let started = std::time::Instant::now();
    restored(&request).await?;
    assert_eq!(read_tree(scene.chain.path())?, scene.tree);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    assert!(scene.server.state.archive_requests.load(Ordering::SeqCst) > 3);
    Ok(())
}

/// What the servers of a restore with mirrors sent of the archive: the site's own first.
async fn with_mirrors(site: Faults, mirrors: Vec<Faults>) -> Result<Vec<u64>> {
    let scene = Scene::new(site).await?;
    let mut request = scene.request();
    request.transfer.connections = std::num::NonZeroUsize::new(2).expect("not zero");
    let mut servers = Vec::new();
    for faults in mirrors {
        let server = Server::start(scene.bucket.folder.path(), faults).await?;
        request.mirrors.push(server.url());
        servers.push(server);
    }
    restored(&request).await?;
    assert_eq!(read_tree(scene.chain.path())?, scene.tree);
    let all = std::iter::once(&scene.server).chain(&servers);
    Ok(all.map(|server| server.state.archive_bytes()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_faster_mirror_brings_more() -> Result<()> {
    let slow = Faults { slow: Duration::from_millis(400), cut_at: Some(20_000), ..Faults::default() };
    let fast = Faults { cut_at: Some(20_000), ..Faults::default() };
    let sent = with_mirrors(slow, vec![fast]).await?;
    assert!(sent[1] > sent[0], "the slow one sent {}, the fast one {}", sent[0], sent[1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_mirror_is_asked_where_one_fails_lies_or_has_nothing() -> Result<()> {
    for bad in [
        Faults { every: Some((1, "503 Service Unavailable")), ..Faults::default() },
        Faults { every: Some((1, "404 Not Found")), ..Faults::default() },
        Faults { corrupt_every: Some(1), ..Faults::default() },
        Faults { wrong_total: true, ..Faults::default() },
        Faults { ignore_ranges: true, corrupt_every: Some(1), ..Faults::default() },
    ] {
        let sent = with_mirrors(Faults::default(), vec![bad.clone(), Faults::default()]).await?;
        assert!(sent[0] + sent[2] > 0, "{bad:?}: {sent:?}");
    }
    Ok(())
}
