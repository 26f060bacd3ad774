//! Verifying a published snapshot.

use crate::common::server::{Faults, Server};
use crate::common::{Bucket, Snapshot, tree};
use anyhow::{Context as _, Result};
use polkashots_importer::{Destination, NoProgress, VerifyRequest, verify, verify_restored};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_directory_is_compared_with_the_snapshot_that_it_is_of() -> Result<()> {
    let mut bucket = Bucket::with(&tree(43))?;
    let chain = tempfile::tempdir()?;
    crate::common::restored(&bucket.request(&bucket.source(), chain.path())).await?;
    // A newer snapshot does not make the restored one wrong.
    bucket.publish(&Snapshot { version: "20261123-040000".parse()?, height: 500, ..Snapshot::new(tree(44)) })?;
    let destination = Destination::ChainDir(chain.path().to_owned());
    let request = request(&bucket, &bucket.source());
    std::fs::write(chain.path().join("db/full/LOG"), "the node's own")?;
    let report = verify_restored(&request, &destination, &NoProgress).await?;
    assert_eq!((report.manifest.block.height, report.files), (396, 6));
    let full = chain.path().join("db/full");
    let good = std::fs::read(full.join("000007.sst"))?;
    let mut bad = good.clone();
    bad[150_000] ^= 1;
    let damages: [(&str, &[u8]); 4] =
        [("000007.sst", &bad), ("000007.sst", &good[..100]), ("000009.log", b"more"), ("another.sst", b"x")];
    for (name, content) in damages {
        let before = std::fs::read(full.join(name)).ok();
        std::fs::write(full.join(name), content)?;
        let error = verify_restored(&request, &destination, &NoProgress).await.err().context("it was accepted")?;
        let text = error.to_string();
        assert!(text.contains("1 files differ") && text.contains(name) && text.contains("--repair"), "{text}");
        match before {
            Some(before) => std::fs::write(full.join(name), before)?,
            None => std::fs::remove_file(full.join(name))?,
        }
    }
    std::fs::remove_file(full.join("CURRENT"))?;
    let error = verify_restored(&request, &destination, &NoProgress).await.err().context("it was accepted")?;
    assert!(error.to_string().contains("db/full/CURRENT"), "{error}");
    Ok(())
}
