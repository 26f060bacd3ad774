//! The workers as processes of their own, on Google's Pub/Sub emulator, a Cloud Storage server and a Kubernetes API server.
//!
//! The tests play what is not there: the CSI snapshot controller, KEDA, the kubelet that mounts a claim.

mod binaries;
mod bucket;
mod from_manifests;
mod host;
mod leases;
mod manifests;
mod pod;
mod process;
mod services;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use polkashots_engine::testkit::TargetNamespace;
use polkashots_engine::testkit::api_server::ApiServer;
use polkashots_engine::testkit::csi::{Script, bound, failing, ready};
use polkashots_shared::event::SnapshotPublished;
use polkashots_shared::names;

use crate::bucket::Bucket;
use crate::host::Host;
use crate::process::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_by_hand_ends_in_a_published_snapshot_that_restores() -> Result<()> {
    let test = "a_tick_by_hand_ends_in_a_published_snapshot_that_restores";
    a_tick_by_hand(test, "relay", Bucket::start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_on_fake_gcs_server() -> Result<()> {
    let test = "the_same_holds_on_fake_gcs_server";
    let Some(bucket) = Bucket::start_fake_or_skip(test).await else { return Ok(()) };
    a_tick_by_hand(test, "relay-fake", bucket).await
}

/// `target` is the namespace too, and the API server is one for all.
async fn a_tick_by_hand(test: &str, target: &str, bucket: Bucket) -> Result<()> {
    let Some(server) = ApiServer::shared(test).await else { return Ok(()) };
    let Some(host) = Host::start_or_skip(test, target, bucket).await? else { return Ok(()) };
    let script = Script::new([bound(), failing("the driver is busy"), bound(), ready("10Gi")]);
    let namespace = TargetNamespace::start(server, &host.target, "chain-data-node-0", script).await;
    whole_cycle(&host, &namespace).await.with_context(|| host.logs())
}

/// Tick, volume snapshot, upload, publication, teardown and restore: each by its own binary, as one Job of KEDA's.
async fn whole_cycle(host: &Host, namespace: &TargetNamespace) -> Result<()> {
    host.publish_tick_by_hand()?;
    host.run_job(host.engine(namespace.kubeconfig()), "engine-tick", PATIENCE).await?;
    namespace.mount_claim().await;
    let claim = host.mount_claim()?;
    let before = files(&claim)?;
    host.run_job(host.snapshotter(), "snapshotter", PATIENCE).await?;
    assert_eq!(files(&claim)?, before, "the claim was changed");
    host.run_job(host.publisher(), "publisher", PATIENCE).await?;

    let (published, ids) = host.published(Duration::from_secs(2)).await?;
    assert_eq!((published.height, ids.len()), (396, 1), "{published:?} {ids:?}");
    assert_eq!(namespace.volume_snapshots().await, [format!("{}-{}", host.target, published.version)]);
    assert_listed(host, &published).await?;
    tear_down(host, namespace).await?;
    restores(host, &before).await
}

/// Starts Jobs of the engine for as long as something is left, as KEDA does for as long as there is a message.
async fn tear_down(host: &Host, namespace: &TargetNamespace) -> Result<()> {
    const MOST_JOBS: u32 = 6;
    for job in 0..MOST_JOBS {
        if namespace.volume_snapshots().await.is_empty() {
            break;
        }
        // The tick's subscription is looked at first, and has nothing more.
        host.run_job(host.engine(namespace.kubeconfig()), &format!("engine-end-{job}"), Duration::from_secs(10))
            .await?;
    }
    namespace.wait_until_torn_down().await;
    Ok(())
}

/// The index lists the snapshot, its manifest is signed and the site shows it.
async fn assert_listed(host: &Host, published: &SnapshotPublished) -> Result<()> {
    let store = host.bucket.open().await?;
    let index = store.get(names::INDEX_KEY, 1 << 20).await?;
    let index: serde_json::Value = serde_json::from_slice(&index.bytes)?;
    let version = published.version.to_string();
    assert_eq!(index["targets"][0]["snapshots"][0]["version"], version, "{index}");
    for key in [
        names::manifest_signature_key(&host.target, published.version),
        names::sums_key(&host.target, published.version),
        names::INDEX_SIGNATURE_KEY.to_owned(),
    ] {
        assert!(store.head(&key).await?.is_some(), "{key} is missing");
    }
    // The link that the host swaps is read through.
    let site = files(&fs::canonicalize(host.path("site"))?)?;
    let hash = published.hash.to_string();
    let shows = |page: &Vec<u8>| String::from_utf8_lossy(page).contains(&hash);
    let pages: Vec<_> =
        site.iter().filter(|(path, _)| path.extension().is_some_and(|ending| ending == "html")).collect();
    assert!(pages.iter().any(|(_, page)| shows(page)), "no page of {} shows {hash}", pages.len());
    Ok(())
}

/// The importer's own binary brings back what was in the claim, and none of the node's keys.
async fn restores(host: &Host, claim: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    let mut importer = std::process::Command::new(binaries::binary("importer"));
    importer
        .env("POLKASHOTS_SOURCE", host.bucket.public_url())
        .env("POLKASHOTS_NAME", "relay/rocksdb")
        .env("POLKASHOTS_KEY", host.path("polkashots.pub"))
        .env("POLKASHOTS_BASE_PATH", host.path("restored"))
        .env("POLKASHOTS_LOG_FORMAT", "json");
    host.run(importer, "importer").await?;
    let chain = Path::new("chains/fixture_relay");
    let restored = files(&host.path("restored"))?;
    let database: Vec<_> = restored.iter().filter(|(path, _)| path.starts_with(chain.join("db"))).collect();
    assert!(database.len() > 5, "only {} files were restored", database.len());
    for (path, content) in database {
        assert_eq!(claim.get(path), Some(content), "{}", path.display());
    }
    let secrets = [chain.join("network"), chain.join("keystore")];
    assert!(secrets.iter().all(|folder| claim.keys().any(|path| path.starts_with(folder))), "the fixture has keys");
    assert!(!restored.keys().any(|path| secrets.iter().any(|folder| path.starts_with(folder))), "keys were published");
    Ok(())
}

/// Every regular file below a folder, by its path in it.
fn files(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let (entry, path) = {
                let entry = entry?;
                let path = entry.path();
                (entry, path)
            };
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(root)?.to_owned(), fs::read(&path)?);
            }
        }
    }
    Ok(files)
}
