//! Verifying a published snapshot.

use crate::common::server::{Faults, Server};
use crate::common::{Bucket, Snapshot, tree};
use anyhow::{Context as _, Result};
use polkashots_importer::{NoProgress, VerifyRequest, verify};
use polkashots_shared::ids::Sha256;

type Attack = (&'static str, fn(&mut Snapshot));

const ARCHIVE: &str = "testnet-rocksdb-prune/20261122-040000.tar.zst";

fn request(bucket: &Bucket, source: &str) -> VerifyRequest {
    let mut request = VerifyRequest::new(source, Some("test/rocksdb"));
    request.trust.keys = vec![bucket.public_key()];
    request.transfer.first_delay = std::time::Duration::from_millis(1);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_and_frame_is_checked() -> Result<()> {
    let bucket = Bucket::with(&tree(40))?;
    let server = Server::start(bucket.folder.path(), Faults { cut_at: Some(100_000), ..Faults::default() }).await?;
    for source in [bucket.source(), server.url(), bucket.path(ARCHIVE).display().to_string()] {
        let report = verify(&request(&bucket, &source), &NoProgress).await.with_context(|| source.clone())?;
        assert_eq!(report.files.len(), 2);
        assert!(report.frames > 10);
        assert_eq!(report.key_id, bucket.key.public_key().id().to_string());
        assert!(report.trusted_comment.contains("20261122-040000"), "{}", report.trusted_comment);
    }
    let stubborn = Faults { ignore_ranges: true, ..Faults::default() };
    let server = Server::start(bucket.folder.path(), stubborn).await?;
    verify(&request(&bucket, &server.url()), &NoProgress).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_is_found() -> Result<()> {
    let bucket = Bucket::with(&tree(41))?;
    let good = std::fs::read(bucket.path(ARCHIVE))?;
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut places = vec![0, good.len() - 1, good.len() - 20];
    places.extend((0..20).map(|_| random.usize(..good.len())).collect::<Vec<_>>());
    for at in places {
        let mut bad = good.clone();
        bad[at] ^= 1 << random.u8(..8);
        std::fs::write(bucket.path(ARCHIVE), bad)?;
        let result = verify(&request(&bucket, &bucket.source()), &NoProgress).await;
        assert!(result.is_err(), "a flipped bit at {at} was not found; seed {seed}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_contradicts_itself_is_refused_though_signed() -> Result<()> {
    let attacks: [Attack; 3] = [
        ("unpacks to SHA-256", |s| s.frames = Box::new(|i| i.frames[1].content_sha256 = Sha256([3; 32]))),
        ("seek table", |s| s.archive = Box::new(|a| a.iter_mut().rev().nth(12).into_iter().for_each(|b| *b ^= 1))),
        ("has SHA-256", |s| s.manifest = Box::new(|m| m.artifacts[0].sha256 = Sha256([4; 32]))),
    ];
    for (expected, attack) in attacks {
        let mut bucket = Bucket::new()?;
        let mut snapshot = Snapshot::new(tree(42));
        attack(&mut snapshot);
        bucket.publish(&snapshot)?;
        let error = verify(&request(&bucket, &bucket.source()), &NoProgress).await.err().context("it was accepted")?;
        assert!(error.to_string().contains(expected), "expected {expected:?} in: {error}");
    }
    Ok(())
}
