//! For tests only: a made-up snapshot, the contract suite of [`SiteHost`], and a host in memory.

mod faulty_host;

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use polkashots_shared::ids::{BlockHash, Height, Sha256, Version};
use polkashots_shared::manifest::{Artifact, Block, Database, FileRef, Manifest, SCHEMA};
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{Headers, ObjectStore, Precondition, StoreError};
use polkashots_shared::target::{Format, Target};

use crate::host::{HostError, SiteHost};
use crate::site::RenderedSite;

/// The manifest of a made-up snapshot whose archive holds `archive`.
pub fn fake_manifest(target: &Target, version: Version, height: Height, archive: &[u8]) -> Manifest {
    let file = |suffix: &str| format!("{version}{suffix}");
    let hash = BlockHash(Sha256::of(&height.to_be_bytes()).0);
    let frames = fake_frames(version);
    Manifest {
        schema: SCHEMA,
        target: target.id.clone(),
        permalink: target.permalink.clone(),
        version,
        created_at: version.time(),
        chain: target.chain.clone(),
        database: Database { kind: target.database, pruning: target.pruning.clone(), warp_gap: false },
        block: Block { height, hash, best_height: height, best_hash: hash },
        node: target.node.clone(),
        artifacts: vec![Artifact {
            format: Format::TarZst,
            file: file(".tar.zst"),
            url: file(".tar.zst"),
            size: archive.len() as u64,
            sha256: Sha256::of(archive),
            uncompressed_size: 4 * archive.len() as u64,
            frames: Some(FileRef {
                file: file(".frames.json.zst"),
                url: file(".frames.json.zst"),
                size: frames.len() as u64,
                sha256: Sha256::of(&frames),
            }),
        }],
        disk_required: 5 * archive.len() as u64,
        files: 12,
        tool: "polkashots 0.1.0".into(),
    }
}

/// Puts a made-up snapshot as the snapshotter would: files, sums, then the manifest.
pub async fn publish_fake_snapshot(
    store: &dyn ObjectStore,
    target: &Target,
    version: Version,
    height: Height,
) -> Result<Manifest, StoreError> {
    let archive = format!("archive of {} {version} at {height}", target.id);
    let manifest = fake_manifest(target, version, height, archive.as_bytes());
    put_fake_files(store, &manifest, archive.as_bytes()).await?;
    let key = names::manifest_key(&target.id, version);
    put(store, &key, manifest.to_bytes()).await?;
    Ok(manifest)
}

/// Puts what [`publish_fake_snapshot`] puts before the manifest.
pub async fn put_fake_files(store: &dyn ObjectStore, manifest: &Manifest, archive: &[u8]) -> Result<(), StoreError> {
    let (target, version) = (&manifest.target, manifest.version);
    let lines = manifest.referenced_files().map(|file| format!("{}  {}\n", file.sha256, file.file));
    let sums: String = lines.collect();
    put(store, &names::object_key(target, version, ".tar.zst"), archive.to_vec()).await?;
    put(store, &names::frames_key(target, version), fake_frames(version)).await?;
    put(store, &names::sums_key(target, version), sums.into_bytes()).await
}

fn fake_frames(version: Version) -> Vec<u8> {
    format!("frames of {version}").into_bytes()
}

async fn put(store: &dyn ObjectStore, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
    let headers = Headers::immutable("application/octet-stream");
    match store.put(key, Bytes::from(bytes), Precondition::Create, &headers).await {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A host that keeps the site in memory and counts the deploys.
#[derive(Debug, Default)]
pub struct MemoryHost {
    deployed: Mutex<Vec<RenderedSite>>,
}

impl MemoryHost {
    /// Every site deployed, oldest first.
    pub fn deployed(&self) -> Vec<RenderedSite> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<RenderedSite>> {
        self.deployed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl SiteHost for MemoryHost {
    async fn current(&self) -> Result<Option<Sha256>, HostError> {
        Ok(self.lock().last().map(RenderedSite::digest))
    }

    async fn deploy(&self, site: &RenderedSite) -> Result<(), HostError> {
        self.lock().push(site.clone());
        Ok(())
    }
}

/// Holds a fresh host, on which nothing was deployed, to the contract of [`SiteHost`].
///
/// # Panics
///
/// Where the host does not hold it.
pub async fn site_host_contract(host: &dyn SiteHost) {
    let site = |text: &str| RenderedSite {
        files: [
            ("index.html".to_owned(), Bytes::copy_from_slice(text.as_bytes())),
            ("a/b/c.html".to_owned(), Bytes::from_static(b"deep")),
        ]
        .into(),
        redirects: Vec::new(),
        headers: Vec::new(),
    };
    assert_eq!(host.current().await.expect("a fresh host answers"), None, "a fresh host serves nothing");
    for text in ["first", "first", "second", "third", "fourth", "first"] {
        let site = site(text);
        host.deploy(&site).await.expect("a deploy succeeds, also of what is served already");
        assert_eq!(host.current().await.expect("the host answers"), Some(site.digest()), "after deploying {text}");
    }
}
