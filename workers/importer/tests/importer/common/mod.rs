//! Signed snapshots made by code, right ones and hostile ones, and a web server that misbehaves on demand.

pub mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use polkashots_importer::{Destination, Key, NoProgress, Outcome, RestoreError, RestoreRequest, Restored, restore};
use polkashots_shared::chain::Chain;
use polkashots_shared::frames::{FileEntry, Frame, FramesIndex};
use polkashots_shared::ids::{BlockHash, DatabaseKind, Sha256, TargetId, Version};
use polkashots_shared::index::{Index, IndexSnapshot, IndexTarget};
use polkashots_shared::manifest::{Artifact, Block, Database, FileRef, Manifest};
use polkashots_shared::minisign::{SecretKey, sign};
use polkashots_shared::names;
use polkashots_shared::tar_header::tar_header;
use polkashots_shared::target::Format;

/// What a database folder holds: paths with `db/` in front, and contents.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// A small tree with what matters: a nested folder, an empty file, a sparse file, files larger and smaller than a frame.
pub fn tree(seed: u64) -> Tree {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = |size: usize| {
        let mut bytes = vec![0; size];
        random.fill(&mut bytes);
        bytes
    };
    let mut sparse = vec![0; 300_000];
    sparse[200_000..200_010].copy_from_slice(&bytes(10));
    Tree::from([
        ("db/full/CURRENT".into(), b"MANIFEST-000004\n".to_vec()),
        ("db/full/000007.sst".into(), bytes(200_000)),
        ("db/full/000008.sst".into(), bytes(5_000)),
        ("db/full/000009.log".into(), Vec::new()),
        ("db/full/parachains/db/000001.sst".into(), bytes(70_000)),
        ("db/full/sparse".into(), sparse),
    ])
}

type Change<T> = Box<dyn Fn(&mut T)>;

/// A snapshot to be published, with everything that an attacker could change.
pub struct Snapshot {
    pub tree: Tree,
    pub target: TargetId,
    pub version: Version,
    pub height: u32,
    pub kind: DatabaseKind,
    pub frame_size: usize,
    /// Changes each header of a file in the tar stream.
    pub header: Change<Vec<u8>>,
    /// Changes the archive before it is hashed: signed, and still wrong.
    pub archive: Change<Vec<u8>>,
    /// Changes the frames index before it is signed.
    pub frames: Change<FramesIndex>,
    /// Changes the frames index's JSON before it is signed.
    pub json: Change<Vec<u8>>,
    /// Changes the manifest before it is signed.
    pub manifest: Change<Manifest>,
    /// Changes the archive after everything is signed.
    pub tamper: Change<Vec<u8>>,
}

impl Snapshot {
    pub fn new(tree: Tree) -> Self {
        Self {
            tree,
            target: "testnet-rocksdb-prune".parse().expect("legal"),
            version: "20261122-040000".parse().expect("legal"),
            height: 396,
            kind: DatabaseKind::RocksDb,
            frame_size: 16 * 1024,
            header: Box::new(|_| {}),
            archive: Box::new(|_| {}),
            frames: Box::new(|_| {}),
            json: Box::new(|_| {}),
            manifest: Box::new(|_| {}),
            tamper: Box::new(|_| {}),
        }
    }

    /// The archive, its frames and the files' places.
    pub fn pack(&self) -> Result<(Vec<u8>, FramesIndex)> {
        let mut directories: Vec<String> =
            self.tree.keys().flat_map(|path| path.match_indices('/').map(|(at, _)| path[..at].to_owned())).collect();
        directories.sort();
        directories.dedup();
        let (stream, files, cuts) = self.tar_stream(&directories);
        let mut archive = Vec::new();
        let mut frames = Vec::new();
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let parts = starts.zip(&cuts).flat_map(|(start, end)| stream[start..*end].chunks(self.frame_size));
        for content in parts {
            let compressed = zstd::bulk::compress(content, 1)?;
            frames.push(Frame {
                offset: archive.len() as u64,
                size: compressed.len() as u32,
                uncompressed_size: content.len() as u32,
                sha256: Sha256::of(&compressed),
                content_sha256: Sha256::of(content),
            });
            archive.extend_from_slice(&compressed);
        }
        archive.extend(seek_table(&frames));
        let index = FramesIndex {
            schema: 1,
            target: self.target.clone(),
            version: self.version,
            artifact: format!("{}.tar.zst", self.version),
            uncompressed_size: stream.len() as u64,
            frames,
            directories,
            files,
        };
        Ok((archive, index))
    }

    /// The stream, the files' places in it, and where a frame has to end: around each file of at least a quarter of a frame.
    fn tar_stream(&self, directories: &[String]) -> (Vec<u8>, Vec<FileEntry>, Vec<usize>) {
        let (mut stream, mut files, mut cuts) = (Vec::new(), Vec::new(), Vec::new());
        let mut entries: Vec<(&String, Option<&Vec<u8>>)> =
            self.tree.iter().map(|(path, bytes)| (path, Some(bytes))).collect();
        entries.extend(directories.iter().map(|path| (path, None)));
        entries.sort_by_key(|(path, _)| *path);
        for (path, content) in entries {
            let size = content.map(|content| content.len() as u64);
            let large = size.is_some_and(|size| size as usize >= self.frame_size / 4);
            cuts.extend(large.then_some(stream.len()));
            let mut header = tar_header(path, size);
            if content.is_some() {
                (self.header)(&mut header);
            }
            stream.extend(header);
            let Some(content) = content else { continue };
            files.push(FileEntry { path: path.clone(), offset: stream.len() as u64, size: content.len() as u64 });
            stream.extend_from_slice(content);
            stream.resize(stream.len().next_multiple_of(512), 0);
            cuts.extend(large.then_some(stream.len()));
        }
        stream.resize(stream.len() + 1024, 0);
        cuts.push(stream.len());
        (stream, files, cuts)
    }
}

fn seek_table(frames: &[Frame]) -> Vec<u8> {
    let mut table = Vec::new();
    table.extend(0x184D_2A5E_u32.to_le_bytes());
    table.extend(((frames.len() * 8 + 9) as u32).to_le_bytes());
    for frame in frames {
        table.extend(frame.size.to_le_bytes());
        table.extend(frame.uncompressed_size.to_le_bytes());
    }
    table.extend((frames.len() as u32).to_le_bytes());
    table.push(0);
    table.extend(0x8F92_EAB1_u32.to_le_bytes());
    table
}

/// A bucket in a folder, with the key that signs it.
pub struct Bucket {
    pub folder: tempfile::TempDir,
    pub key: SecretKey,
    published: Vec<(Manifest, Vec<u8>)>,
}

impl Bucket {
    pub fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, key: SecretKey::generate()?, published: Vec::new() })
    }

    /// A bucket with one snapshot of `tree`.
    pub fn with(tree: &Tree) -> Result<Self> {
        let mut bucket = Self::new()?;
        bucket.publish(&Snapshot::new(tree.clone()))?;
        Ok(bucket)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn source(&self) -> String {
        self.folder.path().display().to_string()
    }

    pub fn public_key(&self) -> Key {
        Key::Text(self.key.public_key().to_base64())
    }

    /// Writes a file and its signature.
    pub fn write_signed(&self, name: &str, bytes: &[u8]) -> Result<()> {
        std::fs::write(self.path(name), bytes)?;
        let signature = sign(&self.key, bytes, name)?;
        Ok(std::fs::write(self.path(&format!("{name}.minisig")), signature)?)
    }

    /// Publishes a snapshot and the index that names it; gives the manifest.
    pub fn publish(&mut self, snapshot: &Snapshot) -> Result<Manifest> {
        let (mut archive, mut index) = snapshot.pack()?;
        std::fs::create_dir_all(self.path(snapshot.target.as_str()))?;
        (snapshot.archive)(&mut archive);
        (snapshot.frames)(&mut index);
        let mut json = serde_json::to_vec(&index)?;
        (snapshot.json)(&mut json);
        let frames = zstd::bulk::compress(&json, 3)?;
        let mut manifest = manifest(snapshot, &archive, &frames, &index);
        (snapshot.manifest)(&mut manifest);
        (snapshot.tamper)(&mut archive);
        std::fs::write(self.path(&manifest.key_of(&manifest.artifacts[0].file)), &archive)?;
        std::fs::write(self.path(&names::frames_key(&snapshot.target, snapshot.version)), &frames)?;
        let bytes = manifest.to_bytes();
        self.write_signed(&names::manifest_key(&snapshot.target, snapshot.version), &bytes)?;
        self.published.push((manifest.clone(), bytes));
        self.write_index("")?;
        Ok(manifest)
    }

    /// Writes the index of all snapshots.
    pub fn write_index(&self, archive_url: &str) -> Result<()> {
        let mut targets: BTreeMap<String, IndexTarget> = BTreeMap::new();
        for (manifest, bytes) in self.published.iter().rev() {
            let target = targets.entry(manifest.target.to_string()).or_insert_with(|| IndexTarget {
                id: manifest.target.clone(),
                permalink: manifest.permalink.clone(),
                chain: manifest.chain.clone(),
                snapshots: Vec::new(),
            });
            target.snapshots.push(IndexSnapshot::new(manifest, bytes));
        }
        let index = Index { schema: 1, archive_url: archive_url.into(), targets: targets.into_values().collect() };
        self.write_signed(names::INDEX_KEY, &index.to_bytes())
    }

    /// A request for the newest snapshot, patient for milliseconds only.
    pub fn request(&self, source: &str, chain_dir: &Path) -> RestoreRequest {
        request(source, chain_dir, self.public_key())
    }
}

pub fn request(source: &str, chain_dir: &Path, key: Key) -> RestoreRequest {
    let destination = Destination::ChainDir(chain_dir.to_owned());
    let mut request = RestoreRequest::new(source, Some("test/rocksdb"), destination);
    request.trust.keys = vec![key];
    request.transfer.first_delay = Duration::from_millis(1);
    request.transfer.max_delay = Duration::from_millis(5);
    request.transfer.checkpoint_bytes = 128 * 1024;
    request
}

fn manifest(snapshot: &Snapshot, archive: &[u8], frames: &[u8], index: &FramesIndex) -> Manifest {
    let file = |ending: &str| format!("{}.{ending}", snapshot.version);
    let block = |height| polkashots_shared::ids::BlockRef { height, hash: BlockHash([9; 32]) };
    Manifest {
        schema: 1,
        target: snapshot.target.clone(),
        permalink: "test/rocksdb".parse().expect("legal"),
        version: snapshot.version,
        created_at: snapshot.version.time(),
        chain: Chain { name: "testnet".into(), id: "testnet1".into(), genesis_hash: BlockHash([7; 32]) },
        database: Database { kind: snapshot.kind, pruning: "256".into(), warp_gap: false },
        block: Block::new(block(snapshot.height), block(snapshot.height + 4)),
        node: None,
        artifacts: vec![Artifact {
            format: Format::TarZst,
            file: file("tar.zst"),
            url: file("tar.zst"),
            size: archive.len() as u64,
            sha256: Sha256::of(archive),
            uncompressed_size: index.uncompressed_size,
            frames: Some(FileRef {
                file: file("frames.json.zst"),
                url: file("frames.json.zst"),
                size: frames.len() as u64,
                sha256: Sha256::of(frames),
            }),
        }],
        disk_required: snapshot.tree.values().map(|content| (content.len() as u64).next_multiple_of(4096)).sum(),
        files: index.files.len() as u64,
        tool: "test".into(),
    }
}

/// Reads every file below `folder/db`, and fails on anything that is neither file nor folder.
pub fn read_tree(chain_dir: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut folders = vec![chain_dir.join("db")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let path = entry.path();
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(path),
                kind if kind.is_file() => {
                    let relative = path.strip_prefix(chain_dir)?.display().to_string();
                    tree.insert(relative, std::fs::read(&path)?);
                }
                kind => anyhow::bail!("{} is a {kind:?}", path.display()),
            }
        }
    }
    Ok(tree)
}

/// Restores, and expects that it was not there.
pub async fn restored(request: &RestoreRequest) -> Result<Restored> {
    match restore(request, &NoProgress).await? {
        Outcome::Restored(restored) => Ok(restored),
        other => anyhow::bail!("not restored from a signed snapshot: {other:?}"),
    }
}

/// Restores, and expects a refusal that leaves no database.
pub async fn refused(request: &RestoreRequest) -> Result<RestoreError> {
    let result = restore(request, &NoProgress).await;
    let error = result.err().context("it was restored")?;
    anyhow::ensure!(!request.destination.path().join("db").exists(), "a database is visible after: {error}");
    Ok(error)
}

pub fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}
