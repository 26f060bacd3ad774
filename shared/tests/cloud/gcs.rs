//! Holds the Cloud Storage adapter to the contract of the port, on a strict server and on one that fails.

use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use polkashots_shared::adapters::gcs::{GcsSettings, GcsStore};
use polkashots_shared::ids::Sha256;
use polkashots_shared::ports::object_store::{Expected, Headers, ObjectMeta, ObjectStore, Precondition, StoreError};
use polkashots_shared::testkit::object_store_contract::{self, StoreUnderTest};
use polkashots_shared::testkit::servers::StrictGcs;
use polkashots_shared::testkit::servers::gcs::{Fault, Operation};

const MIB: usize = 1024 * 1024;
const HOUR: Duration = Duration::from_secs(3600);

/// Small parts, so that a few megabytes need two levels of composing; no long pauses.
fn settings(server: &StrictGcs) -> GcsSettings {
    GcsSettings {
        data_endpoint: Some(server.endpoint()),
        control_endpoint: Some(server.endpoint()),
        part_size_bytes: 256 * 1024,
        retry_for: Duration::from_secs(20),
        retry_pause: Duration::from_millis(2),
        ..GcsSettings::new(server.bucket_name())
    }
}

async fn start() -> Result<(StrictGcs, GcsStore)> {
    let server = StrictGcs::start("snapshots").await?;
    let store = GcsStore::connect(settings(&server)).await?;
    Ok((server, store))
}

fn headers() -> Headers {
    Headers::immutable("application/zstd")
}

fn expected(bytes: &[u8]) -> Expected {
    Expected { size: bytes.len() as u64, sha256: Sha256::of(bytes) }
}

fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at.wrapping_mul(31) ^ (at >> 8).wrapping_mul(17) ^ (at >> 16)) as u8).collect()
}

async fn upload(store: &GcsStore, key: &str, bytes: &Bytes) -> Result<ObjectMeta, StoreError> {
    let mut upload = store.upload(key, &headers()).await?;
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        upload.write(rest.split_to(MIB.min(rest.len()))).await?;
    }
    upload.finish(expected(bytes)).await
}

async fn read(store: &GcsStore, key: &str, size: usize) -> Result<Vec<u8>> {
    let chunks: Vec<Bytes> = store.read(key, 0..size as u64).await?.try_collect().await?;
    Ok(chunks.concat())
}

struct Gcs {
    server: StrictGcs,
    store: GcsStore,
}

#[async_trait]
impl StoreUnderTest for Gcs {
    async fn store(&self) -> Box<dyn ObjectStore> {
        Box::new(self.store.clone())
    }

    async fn age_uploads(&self, by: Duration) -> bool {
        self.server.age(".uploads/", by);
        true
    }

    fn many(&self) -> usize {
        1100
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cloud_storage_holds_the_contract() -> Result<()> {
    let (server, store) = start().await?;
    object_store_contract::run(&Gcs { server, store }).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_while_requests_fail() -> Result<()> {
    let (server, store) = start().await?;
    server.fail_every(7, &[Fault::Status(503), Fault::Status(408), Fault::LoseAnswer, Fault::Reset]);
    let under_test = Gcs { server, store };
    object_store_contract::run(&under_test).await;
    assert!(under_test.server.faults_injected() > 100, "{}", under_test.server.faults_injected());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_arrives_whole_whatever_every_third_request_meets() -> Result<()> {
    let (server, store) = start().await?;
    let bytes = pattern(64 * MIB + 1);
    server.fail_every(3, &[Fault::Reset, Fault::LoseAnswer, Fault::Status(503), Fault::Status(408)]);
    let meta = upload(&store, "polkadot/large.tar.zst", &bytes).await?;
    assert_eq!(meta.size, bytes.len() as u64);
    assert!(read(&store, "polkadot/large.tar.zst", bytes.len()).await? == bytes, "the object differs");
    server.fail_every(1, &[]);
    assert_eq!(server.names(), ["polkadot/large.tar.zst"], "parts are cleaned");
    assert!(server.faults_injected() > 100, "{}", server.faults_injected());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_carries_its_headers() -> Result<()> {
    let (server, store) = start().await?;
    upload(&store, "a.tar.zst", &pattern(MIB)).await?;
    store.put("index.json", "{}".into(), Precondition::Create, &Headers::no_cache("application/json")).await?;
    let immutable = ("application/zstd".to_owned(), headers().cache_control);
    assert_eq!(server.headers("a.tar.zst"), Some(immutable));
    assert_eq!(server.headers("index.json"), Some(("application/json".to_owned(), "no-cache".to_owned())));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_the_last_composition_is_ones_own_object() -> Result<()> {
    let (server, store) = start().await?;
    let bytes = pattern(MIB);
    server.fail_next(Fault::LoseAnswer, |call| call.operation == Operation::Compose && call.key == "a.tar.zst");
    let meta = upload(&store, "a.tar.zst", &bytes).await?;
    assert_eq!(server.faults_injected(), 1);
    assert_eq!(store.head("a.tar.zst").await?, Some(meta));
    let again = upload(&store, "a.tar.zst", &bytes).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "another upload of the same bytes: {again:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_a_conditional_write_is_ones_own_object() -> Result<()> {
    let (server, store) = start().await?;
    let lose = || server.fail_next(Fault::LoseAnswer, |call| call.operation == Operation::Write);
    lose();
    let first = store.put("index.json", "1".into(), Precondition::Create, &headers()).await?;
    lose();
    let swap = Precondition::Generation(first.generation.clone());
    let second = store.put("index.json", "2".into(), swap.clone(), &headers()).await?;
    assert_ne!(first.generation, second.generation);
    let stale = store.put("index.json", "3".into(), swap, &headers()).await;
    assert!(matches!(stale, Err(StoreError::Changed { .. })), "{stale:?}");
    assert_eq!(store.get("index.json", 10).await?.bytes, "2");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_checksum_fails_the_write_and_leaves_nothing_visible() -> Result<()> {
    let (server, store) = start().await?;
    let bytes = pattern(MIB);
    for operation in [Operation::Write, Operation::Compose] {
        server.fail_next(Fault::ReportWrongCrc, move |call| call.operation == operation);
        let refused = upload(&store, "a.tar.zst", &bytes).await;
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{operation:?}: {refused:?}");
        assert_eq!(server.names(), [""; 0], "{operation:?} left something");
    }
    server.fail_next(Fault::ReportWrongCrc, |call| call.operation == Operation::Write);
    let refused = store.put("a.json", "{}".into(), Precondition::Create, &headers()).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    assert_eq!(server.names(), [""; 0]);
    upload(&store, "a.tar.zst", &bytes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_flips_on_the_way_is_refused_by_the_server() -> Result<()> {
    let (server, store) = start().await?;
    server.fail_next(Fault::FlipBit, |call| call.operation == Operation::Write);
    let refused = upload(&store, "a.tar.zst", &pattern(MIB)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(!server.names().contains(&"a.tar.zst".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_parts_are_swept_when_they_are_old() -> Result<()> {
    let (server, store) = start().await?;
    let mut abandoned = store.upload("a.tar.zst", &headers()).await?;
    abandoned.write(pattern(3 * MIB)).await?;
    drop(abandoned);
    let parts = server.names().len();
    assert!(parts > 2, "{parts} parts");
    assert!(store.list("").await?.is_empty(), "parts are not listed");
    assert_eq!(store.sweep_uploads(HOUR).await?, 0);
    let mut swept = 0;
    // What was on its way when the upload was dropped may still arrive.
    while !server.names().is_empty() {
        server.age(".uploads/", 2 * HOUR);
        swept += store.sweep_uploads(HOUR).await?;
    }
    assert!(swept >= parts, "{swept} of {parts} parts");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_down_is_a_transient_error_that_names_the_key() -> Result<()> {
    let (server, _) = start().await?;
    let store = GcsStore::connect(GcsSettings { retry_for: Duration::from_millis(50), ..settings(&server) }).await?;
    server.fail_every(1, &[Fault::Status(503)]);
    let errors = [
        store.head("a.json").await.err(),
        store.get("a.json", 10).await.err(),
        store.put("a.json", "x".into(), Precondition::Create, &headers()).await.err(),
        store.delete("a.json").await.err(),
    ];
    for error in errors {
        let error = error.context("a server that is down fails every call")?;
        assert!(error.is_transient() && error.to_string().contains("a.json"), "{error:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_is_an_error_and_not_an_empty_store() -> Result<()> {
    let (server, _) = start().await?;
    let store = GcsStore::connect(GcsSettings { bucket: "elsewhere".into(), ..settings(&server) }).await?;
    assert!(store.list("").await.is_err());
    let refused = store.put("a.json", "x".into(), Precondition::Create, &headers()).await;
    assert!(refused.is_err(), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_waited_for() -> Result<()> {
    let (server, store) = start().await?;
    server.slow_down(Duration::from_millis(100));
    let bytes = pattern(2 * MIB);
    upload(&store, "a.tar.zst", &bytes).await?;
    assert!(read(&store, "a.tar.zst", bytes.len()).await? == bytes, "the object differs");
    Ok(())
}
