//! What the engine's tests share: synthetic node folders, targets, a standing clock.
#![expect(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

use polkashots_engine::adapters::local::{LocalVolumes, Method, Source};
use polkashots_shared::chain::Chain;
use polkashots_shared::clock::ManualClock;
use polkashots_shared::ids::{DatabaseKind, TargetId, Version};
use polkashots_shared::target::{Compression, Format, Retention, Target};
use polkashots_shared::testkit::skip;

/// Where the sparse file's only data lies.
pub const DATA_AT: u64 = 30 << 20;

pub fn version(text: &str) -> Version {
    text.parse().expect("a legal version")
}

pub fn target_id(text: &str) -> TargetId {
    text.parse().expect("a legal target id")
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(version("20261122-120000").time()))
}

pub fn target(id: &str, database: DatabaseKind) -> Target {
    Target {
        id: target_id(id),
        permalink: "dot/paritydb".parse().expect("legal"),
        chain: Chain::built_in("polkadot").expect("built in"),
        database,
        pruning: "256".into(),
        node: None,
        formats: vec![Format::TarZst],
        compression: Compression::default(),
        retention: Retention::default(),
        schedule: None,
        time_zone: "UTC".into(),
        explorers: Vec::new(),
    }
}

/// A node's base path with a database of that kind, a sparse file, and the secrets that nobody may open.
pub fn base_path(root: &Path, kind: DatabaseKind) -> PathBuf {
    let chain_dir = root.join("chains/polkadot");
    let full = chain_dir.join(kind.folder()).join("full");
    fs::create_dir_all(full.join("nested/empty")).expect("created");
    for name in ["CURRENT", "metadata", "lock", "LOCK", "000012.log", "nested/000003.sst"] {
        fs::write(full.join(name), format!("content of {name}\n")).expect("written");
    }
    let sparse = File::create(full.join("table_01_15")).expect("created");
    sparse.set_len(64 << 20).expect("sized");
    sparse.write_all_at(b"data between two holes", DATA_AT).expect("written");
    for (folder, secret) in [("keystore", "6772616e"), ("network", "secret_ed25519")] {
        fs::create_dir_all(chain_dir.join(folder)).expect("created");
        fs::write(chain_dir.join(folder).join(secret), "SECRET").expect("written");
    }
    root.to_owned()
}

/// The folder that is locked by a node, and its lock.
pub fn lock_file(base_path: &Path) -> PathBuf {
    base_path.join("chains/polkadot/paritydb/full/lock")
}

/// Every path below `root`, with a file's content.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            let content = path.is_file().then(|| fs::read(&path).expect("readable"));
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path.strip_prefix(root).expect("below").to_owned(), content);
        }
    }
    found
}

/// A process that holds a ParityDB's lock as a node does, until it is dropped or its stop command was run.
pub struct FakeNode(Child);

impl FakeNode {
    pub fn start(base_path: &Path) -> Self {
        let lock = lock_file(base_path);
        let child =
            Command::new("flock").arg("--no-fork").arg(&lock).args(["sleep", "600"]).spawn().expect("flock runs");
        let file = File::open(&lock).expect("opens");
        while file.try_lock_shared().is_ok() {
            file.unlock().expect("unlocks");
            std::thread::yield_now();
        }
        Self(child)
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn stop_command(&self) -> Vec<String> {
        sh(&format!("kill {}", self.0.id()))
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        let killed = self.0.kill();
        let waited = self.0.wait();
        drop((killed, waited));
    }
}

/// A command that the shell runs.
pub fn sh(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

pub async fn open(state: &Path, sources: impl IntoIterator<Item = (TargetId, Source)>) -> LocalVolumes {
    LocalVolumes::open(state, sources.into_iter().collect(), clock()).await.expect("the state folder opens")
}

pub fn copy_of(path: &Path, kind: DatabaseKind) -> Source {
    Source::of_target(&target("any", kind), path, Method::Copy)
}

/// A btrfs filesystem in a file, mounted; `None` with the reason where this machine cannot.
pub struct Btrfs {
    pub mount: PathBuf,
    _folder: tempfile::TempDir,
}

impl Btrfs {
    pub fn mount() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
        fs::create_dir(&mount).map_err(|error| error.to_string())?;
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(512 << 20).map_err(|error| error.to_string())?;
        run("mkfs.btrfs", &["-q".as_ref(), image.as_ref()])?;
        run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), mount.as_ref()])?;
        Ok(Self { mount, _folder: folder })
    }
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        if let Err(error) = run("umount", &["-l".as_ref(), self.mount.as_ref()]) {
            assert!(std::thread::panicking(), "{error}");
        }
    }
}

pub fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Says why the running test did not run; the test runner names each test's thread after it.
pub fn skipped(reason: &str) {
    skip::skipped(std::thread::current().name().unwrap_or("a test"), reason);
}
