//! Restores a synthetic snapshot from a server on this machine, and lets `curl | lz4 -d | tar -x` and
//! `curl | zstd -d | tar -x` do the same, one after the other, as often as `--rounds` says; the median of each is printed.
//!
//! `cargo run --release -p polkashots-importer --example bench_restore -- --size-gib 4 --disk DIR`

#[path = "../../tests/importer/common/mod.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod common;
mod peers;
mod served;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use polkashots_importer::{Destination, Existing, Key, NoProgress, Outcome, RestoreRequest, restore};

use crate::common::{Bucket, Snapshot, Tree};
use crate::served::{Limits, Served};

const FRAME_BYTES: usize = 4 << 20;
const FILE_BYTES: usize = 64 << 20;

/// What is measured.
#[derive(Debug, Parser)]
struct Settings {
    /// How large the database is, in GiB
    #[arg(long, default_value = "1")]
    size_gib: usize,
    /// A memory filesystem
    #[arg(long, default_value = "/dev/shm")]
    memory: PathBuf,
    /// Where the archives lie that are served [default: the memory filesystem]
    #[arg(long)]
    bucket: Option<PathBuf>,
    /// A folder on a disk
    #[arg(long, default_value = ".")]
    disk: PathBuf,
    /// The limit of each connection in the limited rounds, in MB/s
    #[arg(long, default_value = "30")]
    rate_mb: u64,
    /// How often each restore is timed
    #[arg(long, default_value = "3")]
    rounds: usize,
    /// The latency of each request in the limited rounds, in milliseconds
    #[arg(long, default_value = "20")]
    latency_ms: u64,
    /// Restore only this (address, folder, key) and say how; what the other rounds run as a process of their own
    #[arg(long, num_args = 3, hide = true)]
    only: Vec<String>,
    /// Update what is there, with --only
    #[arg(long, hide = true)]
    update: bool,
}

fn main() -> Result<()> {
    let settings = Settings::parse();
    if let [source, chain, key] = &settings.only[..] {
        return restore_only(source, Path::new(chain), key, settings.update);
    }
    let (mut bucket, archive) = publish(dense(settings.size_gib), &settings)?;
    let rounds = [
        ("memory", &settings.memory, Limits::default()),
        ("disk", &settings.disk, Limits::default()),
        ("memory, limited", &settings.memory, settings.limits()),
    ];
    say(&format!(
        "{:16} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10}",
        "", "ours s", "lz4 s", "zstd s", "x lz4", "x zstd", "MB/s", "peak MiB"
    ));
    for (name, target, limits) in rounds {
        let served = Served::start(bucket.folder.path(), limits)?;
        compare(name, &served, &bucket, &archive, target, &settings)?;
    }
    update(&settings, &mut bucket)?;
    sparse(&settings)
}

/// One line of the table; below a disk's, how fast that disk is when nothing is fetched.
fn compare(
    name: &str,
    served: &Served,
    bucket: &Bucket,
    archive: &str,
    target: &Path,
    settings: &Settings,
) -> Result<()> {
    let (mut all, mut lz4, mut zstd, mut rates, mut peak) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..settings.rounds.max(1) {
        let ours = ours(&served.url(), bucket, target, None)?;
        peak = peak.max(ours.peak_kib / 1024);
        all.push(ours.elapsed.as_secs_f64());
        lz4.push(peers::run("lz4 -d -c", &served.address(&archive.replace(".zst", ".lz4")), target)?.as_secs_f64());
        zstd.push(peers::run("zstd -d -c", &served.address(archive), target)?.as_secs_f64());
        rates.push(peers::write_rate(target, settings.size_gib)? / 1e6);
    }
    let (ours, lz4, zstd) = (median(all), median(lz4), median(zstd));
    let rate = (settings.size_gib << 30) as f64 / 1e6 / ours;
    let (to_lz4, to_zstd) = (lz4 / ours, zstd / ours);
    say(&format!("{name:16} {ours:>9.2} {lz4:>9.2} {zstd:>9.2} {to_lz4:>9.2} {to_zstd:>9.2} {rate:>9.0} {peak:>10}"));
    if name == "disk" {
        let own = median(rates);
        say(&format!("its own sequential write rate: {own:.0} MB/s, of which ours is {:.2}", rate / own));
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Settings {
    fn limits(&self) -> Limits {
        let latency = Duration::from_millis(self.latency_ms);
        Limits { bytes_per_second: Some(self.rate_mb * 1_000_000), latency }
    }
}

#[expect(clippy::print_stdout, reason = "the table is what a benchmark is for")]
fn say(line: &str) {
    println!("{line}");
}

/// Files like RocksDB's: half of each block compresses, half does not.
fn dense(size_gib: usize) -> Tree {
    let mut random = fastrand::Rng::with_seed(1);
    let mut file = || {
        let mut bytes = vec![0; FILE_BYTES];
        for block in bytes.chunks_mut(4096) {
            random.fill(&mut block[..2048]);
            block[2048..].fill(random.u8(..));
        }
        bytes
    };
    (0..size_gib * (1 << 30) / FILE_BYTES).map(|number| (format!("db/full/{number:06}.sst"), file())).collect()
}

/// Publishes the tree, as `.tar.lz4` too; gives the archive's path below the bucket.
fn publish(tree: Tree, settings: &Settings) -> Result<(Bucket, String)> {
    let mut bucket = Bucket::new()?;
    bucket.folder = tempfile::tempdir_in(settings.bucket.as_ref().unwrap_or(&settings.memory))?;
    let manifest = bucket.publish(&Snapshot { frame_size: FRAME_BYTES, ..Snapshot::new(tree) })?;
    let archive = manifest.key_of(&manifest.artifacts[0].file);
    let zst = bucket.path(&archive);
    peers::shell(&format!("zstd -d -c {0} | lz4 -1 -f - {1}", zst.display(), zst.with_extension("lz4").display()))?;
    Ok((bucket, archive))
}

/// What one restore of ours took.
struct Ours {
    elapsed: Duration,
    peak_kib: u64,
    fetched_bytes: u64,
    written_bytes: u64,
}

/// Restores in a process of its own, into `chain` or into a folder that is removed again.
fn ours(url: &str, bucket: &Bucket, target: &Path, chain: Option<&Path>) -> Result<Ours> {
    let folder = tempfile::tempdir_in(target)?;
    let Key::Text(key) = bucket.public_key() else { anyhow::bail!("the key is text") };
    let started = Instant::now();
    let output = std::process::Command::new(std::env::current_exe()?)
        .args(["--only", url])
        .arg(chain.unwrap_or(folder.path()))
        .arg(key)
        .args(chain.map(|_| "--update"))
        .output()?;
    let elapsed = started.elapsed();
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [peak_kib, fetched_bytes, written_bytes] = numbers[..] else { anyhow::bail!("{text}") };
    Ok(Ours { elapsed, peak_kib, fetched_bytes, written_bytes })
}

fn restore_only(source: &str, chain: &Path, key: &str, update: bool) -> Result<()> {
    let mut request = RestoreRequest::new(source, Some("test/rocksdb"), Destination::ChainDir(chain.to_owned()));
    request.trust.keys = vec![Key::Text(key.to_owned())];
    if update {
        request.existing = Existing::Update;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let Outcome::Restored(restored) = runtime.block_on(restore(&request, &NoProgress))? else {
        anyhow::bail!("a database was there");
    };
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let peak_kib = peak.trim().trim_end_matches("kB").trim();
    say(&format!("{peak_kib} {} {}", restored.fetched_bytes, restored.written_bytes));
    Ok(())
}

/// What an update is of: its name, its version, and what changed.
type Change = (&'static str, &'static str, fn(&mut Tree));

/// Updates of a database of which two of a hundred bytes changed, as RocksDB changes its files and at worse places.
fn update(settings: &Settings, bucket: &mut Bucket) -> Result<()> {
    let chain = tempfile::tempdir_in(&settings.disk)?;
    let served = Served::start(bucket.folder.path(), Limits::default())?;
    let whole = ours(&served.url(), bucket, &settings.disk, None)?.elapsed.as_secs_f64();
    restore_in(&served.url(), bucket, chain.path())?;
    let changes: [Change; 2] = [
        ("in files of their own", "20261123-040000", change_files),
        ("in every file", "20261124-040000", change_starts),
    ];
    for (number, (name, version, _)) in changes.iter().enumerate() {
        let mut tree = dense(settings.size_gib);
        changes[..=number].iter().for_each(|(_, _, change)| change(&mut tree));
        let (version, height) = (version.parse()?, 500 + number as u32);
        let snapshot = Snapshot { frame_size: FRAME_BYTES, version, height, ..Snapshot::new(tree) };
        let manifest = bucket.publish(&snapshot)?;
        drop(snapshot);
        let updated = ours(&served.url(), bucket, &settings.disk, Some(chain.path()))?;
        let share = 100.0 * updated.fetched_bytes as f64 / manifest.artifacts[0].size as f64;
        let (seconds, peak) = (updated.elapsed.as_secs_f64(), updated.peak_kib / 1024);
        say(&format!(
            "--update, 2 % changed {name}: {share:.1} % fetched, {seconds:.2} s (anew {whole:.2} s), peak {peak} MiB"
        ));
    }
    Ok(())
}

/// Other bytes in the first files, up to two of a hundred of all.
fn change_files(tree: &mut Tree) {
    let mut random = fastrand::Rng::with_seed(3);
    let mut left = tree.values().map(Vec::len).sum::<usize>() / 50;
    for bytes in tree.values_mut() {
        let changed = left.min(bytes.len());
        random.fill(&mut bytes[..changed]);
        left -= changed;
    }
}

/// Other bytes at the start of each file.
fn change_starts(tree: &mut Tree) {
    let mut random = fastrand::Rng::with_seed(4);
    for bytes in tree.values_mut() {
        let changed = bytes.len() / 50;
        random.fill(&mut bytes[..changed]);
    }
}

fn restore_in(url: &str, bucket: &Bucket, chain: &Path) -> Result<()> {
    let Key::Text(key) = bucket.public_key() else { anyhow::bail!("the key is text") };
    let mut command = std::process::Command::new(std::env::current_exe()?);
    let output = command.args(["--only", url]).arg(chain).arg(key).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Sparse tables like ParityDB's: what reaches the disk, against what the original occupies.
fn sparse(settings: &Settings) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(2);
    let mut tree = Tree::new();
    for number in 0..4 {
        let mut bytes = vec![0; 128 << 20];
        for block in bytes.chunks_mut(4096) {
            if random.u8(..6) == 0 {
                random.fill(block);
            }
        }
        tree.insert(format!("db/full/table_00_{number}"), bytes);
    }
    let occupied: u64 =
        tree.values().flat_map(|bytes| bytes.chunks(4096)).filter(|block| block[0] != 0).count() as u64 * 4096;
    let (bucket, archive) = publish(tree, settings)?;
    let served = Served::start(bucket.folder.path(), Limits::default())?;
    let ours = ours(&served.url(), &bucket, &settings.disk, None)?;
    let tar = tempfile::tempdir_in(&settings.disk)?;
    peers::pipe("zstd -d -c", &served.address(&archive), tar.path())?;
    let taken: u64 = std::fs::read_dir(tar.path().join("db/full"))?
        .map(|entry| Ok(entry?.metadata()?.blocks() * 512))
        .sum::<std::io::Result<u64>>()?;
    let (ours, tar) = (ours.written_bytes as f64 / occupied as f64, taken as f64 / occupied as f64);
    say(&format!("sparse: {ours:.2}x of what the original occupies was written, tar -x {tar:.2}x"));
    Ok(())
}
