//! Holds the S3 adapter to the contract of the port, on moto's server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use futures::TryStreamExt;
use polkashots_shared::adapters::s3::{S3Credentials, S3Settings, S3Store};
use polkashots_shared::clock::ManualClock;
use polkashots_shared::ids::Sha256;
use polkashots_shared::ports::object_store::{Expected, Headers, ObjectStore, Precondition, StoreError};
use polkashots_shared::testkit::object_store_contract::{self, StoreUnderTest};
use polkashots_shared::testkit::servers::Moto;

const MIB: usize = 1024 * 1024;
const HOUR: Duration = Duration::from_secs(3600);

struct S3 {
    server: Moto,
    clock: Arc<ManualClock>,
    store: S3Store,
}

impl S3 {
    fn start_or_skip(test: &str) -> Result<Option<Self>> {
        let Some(server) = Moto::start_or_skip(test) else { return Ok(None) };
        server.create_bucket("snapshots")?;
        let clock = Arc::new(ManualClock::at(Utc::now()));
        let store = S3Store::connect(settings(&server))?.with_clock(clock.clone());
        Ok(Some(Self { server, clock, store }))
    }
}

fn settings(server: &Moto) -> S3Settings {
    let credentials =
        S3Credentials { access_key_id: "test".into(), secret_access_key: "not a secret".into(), session_token: None };
    S3Settings {
        endpoint: Some(server.endpoint().to_owned()),
        credentials: Some(credentials),
        part_size_bytes: 5 * MIB,
        retry_for: Duration::from_secs(5),
        retry_pause: Duration::from_millis(10),
        ..S3Settings::new("snapshots", "us-east-1")
    }
}

fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at.wrapping_mul(31) ^ (at >> 8).wrapping_mul(17) ^ (at >> 16)) as u8).collect()
}

fn expected(bytes: &[u8]) -> Expected {
    Expected { size: bytes.len() as u64, sha256: Sha256::of(bytes) }
}

#[async_trait]
impl StoreUnderTest for S3 {
    async fn store(&self) -> Box<dyn ObjectStore> {
        Box::new(self.store.clone())
    }

    async fn age_uploads(&self, by: Duration) -> bool {
        self.clock.advance(by);
        true
    }

    fn generation_is_content(&self) -> bool {
        true
    }

    fn many(&self) -> usize {
        1010
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_holds_the_contract() -> Result<()> {
    let Some(s3) = S3::start_or_skip("s3_holds_the_contract")? else { return Ok(()) };
    object_store_contract::run(&s3).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multipart_upload_is_whole_and_leaves_no_marker() -> Result<()> {
    let Some(s3) = S3::start_or_skip("a_multipart_upload_is_whole_and_leaves_no_marker")? else { return Ok(()) };
    let bytes = pattern(33 * MIB + 5);
    let mut upload = s3.store.upload("a.tar.zst", &Headers::immutable("application/zstd")).await?;
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        upload.write(rest.split_to(MIB.min(rest.len()))).await?;
    }
    let meta = upload.finish(expected(&bytes)).await?;
    assert_eq!(meta.size, bytes.len() as u64);
    let chunks: Vec<Bytes> = s3.store.read("a.tar.zst", 0..meta.size).await?.try_collect().await?;
    assert!(chunks.concat() == bytes, "the object differs");
    s3.clock.advance(2 * HOUR);
    assert_eq!(s3.store.sweep_uploads(HOUR).await?, 0, "a finished upload leaves nothing to sweep");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_multipart_upload_is_aborted_by_the_sweep() -> Result<()> {
    let Some(s3) = S3::start_or_skip("an_abandoned_multipart_upload_is_aborted_by_the_sweep")? else { return Ok(()) };
    let mut abandoned = s3.store.upload("a.tar.zst", &Headers::immutable("application/zstd")).await?;
    abandoned.write(pattern(6 * MIB)).await?;
    let late = abandoned;
    s3.clock.advance(2 * HOUR);
    assert_eq!(s3.store.sweep_uploads(HOUR).await?, 1);
    let refused = late.finish(expected(&pattern(6 * MIB))).await;
    assert!(refused.is_err(), "an upload that was swept cannot be finished: {refused:?}");
    assert!(s3.store.head("a.tar.zst").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_missing_bucket_is_named() -> Result<()> {
    let Some(s3) = S3::start_or_skip("a_missing_bucket_is_named")? else { return Ok(()) };
    let store = S3Store::connect(S3Settings { bucket: "elsewhere".into(), ..settings(&s3.server) })?;
    let headers = Headers::no_cache("application/json");
    let refusals = [
        store.put("a.json", "{}".into(), Precondition::Create, &headers).await.err(),
        store.upload("a.json", &headers).await.err(),
        store.list("").await.err(),
    ];
    for refusal in refusals {
        let refusal = refusal.context("a missing bucket is an error")?;
        let named = refusal.to_string().contains("bucket not found: elsewhere");
        assert!(named && matches!(refusal, StoreError::Permanent { .. }), "{refusal:?}");
    }
    Ok(())
}

#[test]
fn a_key_is_never_printed() {
    let credentials = S3Credentials {
        access_key_id: "name".into(),
        secret_access_key: "secret".into(),
        session_token: Some("token".into()),
    };
    let printed = format!("{:?}", S3Settings { credentials: Some(credentials), ..S3Settings::new("b", "auto") });
    assert!(!printed.contains("secret") && !printed.contains("token"), "{printed}");
}
