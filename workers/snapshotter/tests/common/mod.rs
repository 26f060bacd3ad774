//! A host with one target, a claim on disk, and a store in memory.
#![expect(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use polkashots_shared::chain::Chain;
use polkashots_shared::event::{Event, Payload, VolumeSnapshotReady};
use polkashots_shared::frames::FramesIndex;
use polkashots_shared::ids::{BlockHash, BlockRef, DatabaseKind, Version};
use polkashots_shared::manifest::Manifest;
use polkashots_shared::names;
use polkashots_shared::ports::chain_database::{ChainDatabase, ChainDatabaseError, DatabaseLocation, Identity};
use polkashots_shared::target::{Compression, Format, Retention, Target};
use polkashots_shared::testkit::MemoryStore;
use polkashots_shared::worker::{HandleError, Outcome, error_chain};
use polkashots_snapshotter::blocks::Exporter;
use polkashots_snapshotter::{ClaimMount, Deps, handle};

pub const FRAME_BYTES: u32 = 256 * 1024;

/// A database whose identity is given, whatever its files.
pub struct GivenIdentity(pub Identity);

#[async_trait]
impl ChainDatabase for GivenIdentity {
    async fn identity(&self, _: &DatabaseLocation) -> Result<Identity, ChainDatabaseError> {
        Ok(self.0.clone())
    }
}

pub struct Host {
    pub dir: tempfile::TempDir,
    pub target: Target,
    pub identity: Identity,
    pub store: MemoryStore,
    pub exporter: Option<Exporter>,
}

impl Host {
    /// A host whose claim has no database yet.
    pub fn new(kind: DatabaseKind) -> Result<Self> {
        let chain = Chain::built_in("polkadot").context("built in")?;
        let block = |height| BlockRef { height, hash: BlockHash([height as u8; 32]) };
        let identity = Identity {
            database: kind,
            genesis_hash: chain.genesis_hash,
            best: block(400),
            finalized: block(396),
            finalized_state: None,
            warp_gap: false,
            pruning: Some("constrained".into()),
        };
        let target = Target {
            id: "polkadot-prune".parse()?,
            permalink: "dot/db".parse()?,
            chain,
            database: kind,
            pruning: "256".into(),
            node: None,
            formats: vec![Format::TarZst],
            compression: Compression { level: 1, frame_size_bytes: FRAME_BYTES, threads: 2 },
            retention: Retention::default(),
            schedule: None,
            time_zone: "UTC".into(),
            explorers: Vec::new(),
        };
        let host = Self { dir: tempfile::tempdir()?, target, identity, store: MemoryStore::default(), exporter: None };
        std::fs::create_dir_all(host.chain_dir().join(kind.folder()))?;
        Ok(host)
    }

    /// A host whose claim has a small database with everything that must stay behind beside it.
    pub fn with_base_path() -> Result<Self> {
        let host = Self::new(DatabaseKind::RocksDb)?;
        host.file("db/full/000007.sst", &noise(7, 700_000))?;
        host.file("db/full/000008.log", b"write-ahead log")?;
        host.file("db/full/CURRENT", b"MANIFEST-000004\n")?;
        host.file("db/full/db_version", b"4")?;
        host.file("db/full/parachains/db/000001.sst", &noise(1, 3_000))?;
        host.file("db/full/empty", b"")?;
        std::fs::create_dir_all(host.chain_dir().join("db/full/empty-folder"))?;
        for stays in ["db/full/LOCK", "db/full/LOG", "db/full/LOG.old.17", "db/db_version", "db/metadata"] {
            host.file(stays, b"stays here")?;
        }
        host.file("keystore/61757261", b"secret seed")?;
        host.file("network/secret_ed25519", b"secret node key")?;
        Ok(host)
    }

    pub fn claims(&self) -> PathBuf {
        self.dir.path().join("claims")
    }

    pub fn chain_dir(&self) -> PathBuf {
        self.claims().join(names::claim_name(&self.target.id))
    }

    pub fn file(&self, path: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.chain_dir().join(path);
        std::fs::create_dir_all(path.parent().context("parent")?)?;
        std::fs::write(&path, content)?;
        Ok(path)
    }

    pub fn deps(&self) -> Deps {
        Deps {
            targets: Arc::new(BTreeMap::from([(self.target.id.clone(), self.target.clone())])),
            store: Arc::new(self.store.clone()),
            chain_database: Arc::new(GivenIdentity(self.identity.clone())),
            claims: ClaimMount::ByName(self.claims()),
            exporter: self.exporter.clone(),
        }
    }

    pub fn ready(&self) -> VolumeSnapshotReady {
        VolumeSnapshotReady {
            target: self.target.id.clone(),
            version: version(),
            volume_snapshot: names::volume_snapshot_name(&self.target.id, version()),
            claim: names::claim_name(&self.target.id),
            taken_at: version().time() + chrono::Duration::seconds(40),
        }
    }

    pub fn event(&self) -> Event {
        Event::new("engine", version().time(), Payload::VolumeSnapshotReady(self.ready()))
    }

    pub async fn run(&self) -> Result<Outcome, HandleError> {
        handle(&self.event(), &self.deps()).await
    }

    /// Runs and returns the whole text of the refusal, and whether it is for good.
    pub async fn refusal(&self) -> Result<(String, bool)> {
        let error = self.run().await.err().context("nothing was refused")?;
        Ok((error_chain(&error), error.is_permanent()))
    }

    pub fn object(&self, suffix: &str) -> Result<Vec<u8>> {
        let key = names::object_key(&self.target.id, version(), suffix);
        let objects = self.store.objects();
        Ok(objects.get(&key).with_context(|| format!("no {key}"))?.bytes.to_vec())
    }

    pub fn manifest(&self) -> Result<Manifest> {
        Ok(Manifest::from_bytes(&self.object(".manifest.json")?)?)
    }

    pub fn frames_index(&self) -> Result<FramesIndex> {
        Ok(serde_json::from_slice(&zstd::decode_all(&self.object(".frames.json.zst")?[..])?)?)
    }

    /// Writes the store's objects of the target into a folder.
    pub fn bucket(&self) -> Result<PathBuf> {
        let bucket = self.dir.path().join("bucket");
        for (key, object) in self.store.objects() {
            let path = bucket.join(key);
            std::fs::create_dir_all(path.parent().context("parent")?)?;
            std::fs::write(path, &object.bytes)?;
        }
        Ok(bucket.join(self.target.id.as_str()))
    }

    /// Unpacks the archive with the stock tools.
    pub fn unpack(&self) -> Result<PathBuf> {
        let into = self.dir.path().join("unpacked");
        std::fs::create_dir_all(&into)?;
        let tar = shell(&into, "zstd -d -q | tar -x", &self.object(".tar.zst")?)?;
        ensure!(tar.is_empty(), "tar said {tar:?}");
        Ok(into)
    }

    /// Nothing of a run is left in the store.
    pub fn assert_nothing_visible(&self) {
        assert_eq!(self.store.keys(), [""; 0], "something became visible");
        assert_eq!(self.store.pending_uploads(), 0, "an upload was left behind");
    }
}

pub fn version() -> Version {
    "20261122-040000".parse().expect("legal")
}

/// Bytes that hardly compress.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// Runs a script in a folder with `input` and returns what it said; its failure is an error.
pub fn shell(dir: &Path, script: &str, input: &[u8]) -> Result<String> {
    let mut child = Command::new("bash")
        .args(["-o", "pipefail", "-c", script])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("stdin")?;
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output()
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script}: {}: {text}", output.status);
    Ok(text)
}

/// Every path below `root` with its content; `None` for a directory.
pub fn tree(root: &Path) -> Result<BTreeMap<String, Option<Vec<u8>>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.strip_prefix(root)?.to_str().context("UTF-8")?.to_owned();
            let content = if path.is_dir() { None } else { Some(std::fs::read(&path)?) };
            if content.is_none() {
                folders.push(path);
            }
            found.insert(name, content);
        }
    }
    Ok(found)
}
