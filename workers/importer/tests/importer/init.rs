//! The worker's own binary as an init container runs it: everything by environment, and exit codes that somebody acts on.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::server::{Faults, Server};
use crate::common::{Bucket, Snapshot, Tree, read_tree, tree};
use crate::disk::SmallDisk;
use anyhow::{Context as _, Result, ensure};
use polkashots_shared::testkit::skip::skipped;
use serde_json::Value;

/// What a run said, and how it ended.
struct Ended {
    code: Option<i32>,
    log: String,
}

impl Ended {
    fn with(self, code: i32, words: &[&str]) -> Result<Self> {
        ensure!(self.code == Some(code), "ended with {:?}, expected {code}: {}", self.code, self.log);
        for word in words {
            ensure!(self.log.contains(word), "{word:?} is not said: {}", self.log);
        }
        Ok(self)
    }

    /// A number of the line that says that the database was restored.
    fn number(&self, name: &str) -> Result<u64> {
        let line = self.log.lines().find(|line| line.contains("resumed_bytes")).context("nothing was restored")?;
        let line: Value = serde_json::from_str(line)?;
        let found = [&line[name], &line["fields"][name]].into_iter().find_map(Value::as_u64);
        found.with_context(|| format!("no {name}: {line}"))
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let said = [output.stdout, output.stderr].concat();
        Self { code: output.status.code(), log: String::from_utf8_lossy(&said).into_owned() }
    }
}

/// An init container that has nothing but its environment.
fn container(bucket: &Bucket, source: &str, base: &Path, more: &[(&str, &str)]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_polkashots-importer"));
    command
        .env_clear()
        .env("POLKASHOTS_SOURCE", source)
        .env("POLKASHOTS_NAME", "test/rocksdb")
        .env("POLKASHOTS_BASE_PATH", base)
        .env("POLKASHOTS_KEY", bucket.key.public_key().to_base64())
        .env("POLKASHOTS_LOG_FORMAT", "json")
        .env("POLKASHOTS_ATTEMPTS", "2")
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn run(bucket: &Bucket, source: &str, base: &Path, more: &[(&str, &str)]) -> Result<Ended> {
    Ok(container(bucket, source, base, more).output().await?.into())
}

/// Every path below `folder`, itself included, with what `about` finds.
fn everything<T>(folder: &Path, about: &impl Fn(&std::fs::Metadata) -> T) -> Result<BTreeMap<PathBuf, T>> {
    let mut found = BTreeMap::from([(folder.to_owned(), about(&folder.symlink_metadata()?))]);
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(everything(&path, about)?),
            false => drop(found.insert(path.clone(), about(&path.symlink_metadata()?))),
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_and_modes_are_what_the_environment_says() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        skipped("owner_and_modes_are_what_the_environment_says", "giving files away needs root");
        return Ok(());
    }
    let (tree, base) = (tree(80), tempfile::tempdir()?);
    let bucket = Bucket::with(&tree)?;
    let settings = [
        ("POLKASHOTS_UID", "1234"),
        ("POLKASHOTS_GID", "5678"),
        ("POLKASHOTS_FILE_MODE", "0640"),
        ("POLKASHOTS_FOLDER_MODE", "0750"),
    ];
    run(&bucket, &bucket.source(), base.path(), &settings).await?.with(0, &["restored"])?;
    ensure!(read_tree(&base.path().join("chains/testnet1"))? == tree, "another tree");
    let given = |found: &std::fs::Metadata| (found.uid(), found.gid(), found.mode() & 0o7777, found.is_dir());
    let database = base.path().join("chains/testnet1/db");
    for (path, (uid, gid, mode, is_folder)) in everything(&database, &given)? {
        let expected = (1234, 5678, if is_folder { 0o750 } else { 0o640 });
        ensure!((uid, gid, mode) == expected, "{}: {uid} {gid} {mode:o}", path.display());
    }
    for folder in ["chains", "chains/testnet1"].map(|name| base.path().join(name)) {
        let (uid, gid, mode, _) = given(&folder.metadata()?);
        ensure!((uid, gid, mode) == (1234, 5678, 0o750), "{}: {uid} {gid} {mode:o}", folder.display());
    }
    Ok(())
}

/// A tree for which several requests are made.
fn several_requests() -> Tree {
    let mut random = fastrand::Rng::with_seed(81);
    let file = |number: usize| {
        let mut bytes = vec![0; 1 << 20];
        random.fill(&mut bytes);
        (format!("db/full/{number:06}.sst"), bytes)
    };
    (0..24).map(file).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_with_143_and_the_next_run_fetches_only_what_is_missing() -> Result<()> {
    let (tree, base) = (several_requests(), tempfile::tempdir()?);
    let mut bucket = Bucket::new()?;
    bucket.publish(&Snapshot { frame_size: 1 << 20, ..Snapshot::new(tree.clone()) })?;
    // Three requests bring at least nine files, and the fourth nothing.
    let faults = Faults { silent_after: Some(3), ..Faults::default() };
    let server = Server::start(bucket.folder.path(), faults).await?;
    let one = [("POLKASHOTS_CONNECTIONS", "1")];
    let mut child = container(&bucket, &server.url(), base.path(), &one).spawn()?;
    let chain = base.path().join("chains/testnet1");
    let staged = chain.join(".polkashots/db.partial/db");
    let blocks = |found: &std::fs::Metadata| found.blocks() * 512;
    while server.state.archive_requests.load(Ordering::SeqCst) < 4
        || everything(&staged, &blocks)?.into_values().sum::<u64>() < 9 << 20
    {
        ensure!(child.try_wait()?.is_none(), "it ended by itself");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let id = i32::try_from(child.id().context("it ended by itself")?)?;
    let id = rustix::process::Pid::from_raw(id).context("an id")?;
    rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
    Ended::from(child.wait_with_output().await?).with(143, &["the next start continues here"])?;
    ensure!(!chain.join("db").exists(), "half a database is visible");

    let before = server.state.archive_bytes();
    server.state.faults.lock().expect("not poisoned").silent_after = None;
    let ended = run(&bucket, &server.url(), base.path(), &one).await?.with(0, &["restored"])?;
    let (fetched, resumed) = (ended.number("fetched_bytes")?, ended.number("resumed_bytes")?);
    ensure!(read_tree(&chain)? == tree, "another tree");
    ensure!(resumed >= 8 << 20, "{resumed} bytes of at least nine files were remembered");
    let sent = server.state.archive_bytes() - before;
    ensure!(
        sent == fetched && fetched < (25 << 20) - resumed,
        "{sent} bytes sent, {fetched} fetched, {resumed} resumed"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_database_is_left_as_it_is_without_network_and_on_a_read_only_volume() -> Result<()> {
    let Some(disk) = SmallDisk::mount("4M")? else { return Ok(()) };
    let bucket = Bucket::with(&tree(82))?;
    let server = Server::start(bucket.folder.path(), Faults::default()).await?;
    run(&bucket, &server.url(), disk.path(), &[]).await?.with(0, &["restored"])?;
    let times = |found: &std::fs::Metadata| (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
    let (before, requests) = (everything(disk.path(), &times)?, server.state.requests.load(Ordering::SeqCst));
    run(&bucket, &server.url(), disk.path(), &[]).await?.with(0, &["left untouched"])?;
    disk.make_read_only()?;
    run(&bucket, &server.url(), disk.path(), &[]).await?.with(0, &["left untouched"])?;
    ensure!(server.state.requests.load(Ordering::SeqCst) == requests, "something was asked for");
    ensure!(everything(disk.path(), &times)? == before, "something was touched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_volume_without_a_database_is_named() -> Result<()> {
    let Some(disk) = SmallDisk::mount("2M,ro")? else { return Ok(()) };
    let bucket = Bucket::with(&tree(83))?;
    let path = disk.path().display().to_string();
    run(&bucket, &bucket.source(), disk.path(), &[]).await?.with(1, &[&path, "Read-only"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_wrong_or_away_ends_with_its_own_code_and_writes_nothing() -> Result<()> {
    let base = tempfile::tempdir()?;
    let mut bucket = Bucket::new()?;
    bucket.publish(&Snapshot { version: "20200101-040000".parse()?, ..Snapshot::new(tree(84)) })?;
    let (folder, away) = (bucket.source(), "http://127.0.0.1:9/");
    let source = folder.as_str();
    for (source, setting, code, word) in [
        (source, ("POLKASHOTS_MAX_AGE", "36h"), 3, "expected at most 36 h"),
        (source, ("POLKASHOTS_MIN_HEIGHT", "397"), 3, "snapshot is at height 396, expected at least 397"),
        (source, ("POLKASHOTS_CHAIN", "polkadot"), 3, "expected chain polkadot"),
        (source, ("POLKASHOTS_KEY", ""), 2, "no public key is pinned"),
        (source, ("POLKASHOTS_MAX_AGE", "soon"), 2, "max-age"),
        (source, ("POLKASHOTS_NAME", "test/nothing"), 2, "test/rocksdb"),
        (away, ("POLKASHOTS_ATTEMPTS", "1"), 1, "127.0.0.1:9"),
        ("", ("POLKASHOTS_ATTEMPTS", "1"), 0, "nothing to restore"),
    ] {
        let ended = run(&bucket, source, base.path(), &[setting]).await?;
        ended.with(code, &[word]).with_context(|| format!("{setting:?}"))?;
        ensure!(std::fs::read_dir(base.path())?.count() == 0, "{setting:?}: something was written");
    }
    Ok(())
}
