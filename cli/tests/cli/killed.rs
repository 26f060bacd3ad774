//! The service is killed with SIGKILL at random moments of its cycles, and started again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polkashots_shared::ids::Sha256;
use polkashots_shared::index::Index;
use polkashots_shared::manifest::Manifest;
use polkashots_shared::names;
use polkashots_shared::testkit::skip::report;
use serde_json::Value;

use crate::support::{Host, is_published, polkashots, unpack};

/// How often the service is killed.
const KILLS: u32 = 50;
/// Kills of one cycle: fewer than the deliveries that a message gets.
const KILLS_OF_A_CYCLE: u32 = 3;

#[test]
fn a_service_killed_at_any_moment_loses_and_doubles_nothing() -> Result<()> {
    let seed =
        std::env::var("POLKASHOTS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let node = tempfile::tempdir()?;
    unpack("relay400-rocksdb", node.path())?;
    let host = Host::with_target(node.path(), "fixture_relay", "rocksdb")?;
    let mut bucket = Bucket::default();
    let cycle = undisturbed_cycle(&host, &mut bucket)?;
    let mut kills = 0;
    while kills < KILLS {
        let version = trigger_anew(&host, &bucket)?;
        for _ in 0..KILLS_OF_A_CYCLE {
            let moment = cycle.mul_f64(random.f64() * 1.2);
            kill_after(&host, moment)?;
            bucket.check(&host).with_context(|| format!("POLKASHOTS_SEED={seed}: killed after {moment:?}"))?;
            kills += 1;
        }
        finish_cycle(&host, &version).with_context(|| format!("POLKASHOTS_SEED={seed}: after {kills} kills"))?;
        bucket.published.push(version);
        bucket.check_settled(&host).with_context(|| format!("POLKASHOTS_SEED={seed}: after {kills} kills"))?;
    }
    sweep_removes_what_kills_left(&host, &mut bucket)?;
    report(&format!("killed: {kills} times in {} cycles (POLKASHOTS_SEED={seed})", bucket.published.len()));
    Ok(())
}

/// How long a cycle takes from the start of the service, when nobody kills it.
fn undisturbed_cycle(host: &Host, bucket: &mut Bucket) -> Result<Duration> {
    let version = trigger_anew(host, bucket)?;
    let started = Instant::now();
    finish_cycle(host, &version)?;
    bucket.published.push(version);
    bucket.check_settled(host)?;
    Ok(started.elapsed())
}

/// Triggers until the clock shows a second that no snapshot has yet.
fn trigger_anew(host: &Host, bucket: &Bucket) -> Result<String> {
    loop {
        let triggered = host.run(&["trigger", "relay", "--json"])?.succeeded()?;
        let triggered: Value = serde_json::from_str(&triggered.out)?;
        let version = triggered["version"].as_str().context("no version")?.to_owned();
        if !bucket.published.contains(&version) {
            return Ok(version);
        }
    }
}

fn kill_after(host: &Host, moment: Duration) -> Result<()> {
    let mut service = polkashots()
        .args(["run", "--config", "polkashots.toml"])
        .current_dir(host.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + moment;
    while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
    ensure!(service.try_wait()?.is_none(), "the service ended by itself");
    service.kill()?;
    service.wait()?;
    Ok(())
}

/// Starts the service and waits until the snapshot is published and everything is put away.
fn finish_cycle(host: &Host, version: &str) -> Result<()> {
    let running = host.start()?;
    host.wait_for("the snapshot", |status| is_published(status, version))?;
    ensure!(running.terminate()? == 0, "SIGTERM is an orderly end");
    Ok(())
}

/// Parts of killed uploads are kept for a day; an older one goes at the next tick.
fn sweep_removes_what_kills_left(host: &Host, bucket: &mut Bucket) -> Result<()> {
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(40 * 3600);
    for part in parts(host)? {
        std::fs::File::options().write(true).open(part)?.set_modified(long_ago)?;
    }
    let version = trigger_anew(host, bucket)?;
    finish_cycle(host, &version)?;
    bucket.published.push(version);
    bucket.check_settled(host)?;
    let left = parts(host)?;
    ensure!(left.is_empty(), "the sweep left {left:?}");
    no_file_below(&host.path("state/volumes")).context("volume snapshots are left")?;
    no_file_below(&host.path("state/claims")).context("claims are left")
}

fn no_file_below(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        ensure!(entry.file_type()?.is_dir(), "{}", entry.path().display());
        no_file_below(&entry.path())?;
    }
    Ok(())
}

/// The parts of unfinished uploads; the store's own lock file is none.
fn parts(host: &Host) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(host.path("bucket/.uploads"))?.collect::<Result<Vec<_>, _>>()?;
    Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| !path.ends_with("lock")).collect())
}

/// What was seen of the bucket so far.
#[derive(Default)]
struct Bucket {
    published: Vec<String>,
    manifests: BTreeMap<String, Vec<u8>>,
    newest: Option<String>,
}

impl Bucket {
    /// Checks what must hold at every moment.
    fn check(&mut self, host: &Host) -> Result<()> {
        let target = host.path("bucket/relay");
        for (name, bytes) in manifests(&target)? {
            let manifest = Manifest::from_bytes(&bytes).with_context(|| name.clone())?;
            for file in manifest.referenced_files() {
                let content = std::fs::read(target.join(&file.file)).with_context(|| format!("{name} names it"))?;
                ensure!(content.len() as u64 == file.size, "{} has another size than {name} says", file.file);
                ensure!(Sha256::of(&content) == file.sha256, "{} has another SHA-256 than {name} says", file.file);
            }
            let first = self.manifests.entry(name.clone()).or_insert_with(|| bytes.clone());
            ensure!(*first == bytes, "{name} changed");
        }
        let Ok(index) = std::fs::read(host.path("bucket").join(names::INDEX_KEY)) else { return Ok(()) };
        let index: Index = serde_json::from_slice(&index).context("the index is half there")?;
        let newest = index.find("relay").map(|target| target.snapshots[0].version.to_string());
        ensure!(newest >= self.newest, "the newest version went from {:?} to {newest:?}", self.newest);
        self.newest = newest;
        Ok(())
    }

    /// Checks that there is one snapshot for each tick, and that each one listed verifies.
    fn check_settled(&mut self, host: &Host) -> Result<()> {
        self.check(host)?;
        let found: Vec<String> =
            manifests(&host.path("bucket/relay"))?.into_keys().map(|name| name[..15].to_owned()).collect();
        ensure!(found == self.published, "snapshots {found:?} for the ticks {:?}", self.published);
        let status = host.status()?;
        ensure!(status["dead_letters"].as_array().is_some_and(Vec::is_empty), "{status:#}");
        ensure!(status["targets"][0]["failures"].as_array().is_some_and(Vec::is_empty), "{status:#}");
        let newest = self.published.last().context("nothing published")?;
        let manifest = format!("bucket/relay/{newest}{}", names::MANIFEST_SUFFIX);
        host.run(&["verify", &manifest, "--key", "keys/polkashots.pub"])?.succeeded()?;
        Ok(())
    }
}

fn manifests(target: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(target) else { return Ok(found) };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(names::MANIFEST_SUFFIX) {
            found.insert(name, std::fs::read(entry.path())?);
        }
    }
    Ok(found)
}
