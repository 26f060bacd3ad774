//! Measures archiving against `tar | zstd | sha256sum` and `tar | lz4 -1`, on one synthetic database, in one call.
//!
//! `cargo run --release -p polkashots-snapshotter --example bench_archive -- --size-gib 4 [--level 3] [--dir DIR] [--rounds 1]`

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use polkashots_shared::ids::DatabaseKind;
use polkashots_shared::ports::object_store::{Expected, ObjectMeta, StoreError, Upload};
use polkashots_shared::target::Compression;
use polkashots_snapshotter::layout::Layout;
use polkashots_snapshotter::pipeline::{Uploads, write_archive};
use polkashots_snapshotter::settings::Settings;
use polkashots_snapshotter::walk::Tree;

#[path = "synthetic/mod.rs"]
mod synthetic;

struct Options {
    size_gib: f64,
    level: i32,
    dir: PathBuf,
    rounds: usize,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut options = Options { size_gib: 4.0, level: 3, dir: std::env::temp_dir(), rounds: 1 };
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            // What this program runs itself as, so that its peak memory is that of archiving only.
            "--archive" => return archive(Path::new(&value), args.next().context("level")?.parse()?),
            "--size-gib" => options.size_gib = value.parse()?,
            "--level" => options.level = value.parse()?,
            "--dir" => options.dir = value.into(),
            "--rounds" => options.rounds = value.parse()?,
            _ => anyhow::bail!("unknown flag {flag}: expected --size-gib, --level, --dir or --rounds"),
        }
    }
    compare(&options)
}

/// One pipeline's run.
struct Run {
    wall_s: f64,
    cpu_s: f64,
    report: String,
}

fn compare(options: &Options) -> Result<()> {
    let bytes = (options.size_gib * f64::from(1 << 30)) as u64;
    let databases = tempfile::Builder::new().prefix("bench-archive").tempdir_in(&options.dir)?;
    let chain_dir = databases.path();
    say(&format!("making {} GiB, three quarters dense, one quarter sparse, from a seed", options.size_gib));
    synthetic::rocksdb_like(chain_dir, bytes / 4 * 3)?;
    synthetic::paritydb_like(chain_dir, bytes / 4)?;
    let level = options.level;
    for round in 1..=options.rounds {
        for (kind, folder_bytes) in [(DatabaseKind::RocksDb, bytes / 4 * 3), (DatabaseKind::ParityDb, bytes / 4)] {
            // Once through the page cache, so that no pipeline pays for the disk.
            shell(chain_dir, &format!("tar -cf - {} | cat > /dev/null", kind.folder()))?;
            say(&format!("round {round}, {kind}-like, {:.2} GiB, zstd level {level}", gib(folder_bytes)));
            let ours = ourselves(chain_dir, kind, level)?;
            print_run("polkashots", folder_bytes, &ours, &ours);
            let zstd = format!("tar -cf - {} | zstd -q -T0 -{level} | sha256sum > /dev/null", kind.folder());
            let lz4 = format!("tar -cf - {} | lz4 -q -1 > /dev/null", kind.folder());
            for (name, script) in [("tar | zstd -T0 | sha256sum", zstd), ("tar | lz4 -1", lz4)] {
                print_run(name, folder_bytes, &shell(chain_dir, &script)?, &ours);
            }
        }
    }
    Ok(())
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn print_run(name: &str, bytes: u64, run: &Run, ours: &Run) {
    say(&format!(
        "  {name:<28} {:>6.2} s  {:>7.3} GiB/s  cpu {:>6.2} s  ours is {:.2}x in time, {:.2}x in cpu  {}",
        run.wall_s,
        gib(bytes) / run.wall_s,
        run.cpu_s,
        run.wall_s / ours.wall_s,
        run.cpu_s / ours.cpu_s,
        run.report
    ));
}

fn ourselves(chain_dir: &Path, kind: DatabaseKind, level: i32) -> Result<Run> {
    let mut command = Command::new(std::env::current_exe()?);
    timed(command.arg("--archive").arg(chain_dir.join(kind.folder())).arg(level.to_string()))
}

fn shell(chain_dir: &Path, script: &str) -> Result<Run> {
    timed(Command::new("bash").args(["-o", "pipefail", "-c", script]).current_dir(chain_dir))
}

fn timed(command: &mut Command) -> Result<Run> {
    let cpu_before = children_cpu_s()?;
    let started = Instant::now();
    let output = command.stderr(Stdio::inherit()).output()?;
    let wall_s = started.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    let report = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Run { wall_s, cpu_s: children_cpu_s()? - cpu_before, report })
}

/// User and system time of all children waited for, in seconds.
fn children_cpu_s() -> Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, after_name) = stat.rsplit_once(") ").context("no name in /proc/self/stat")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let (user, system): (f64, f64) = (fields[13].parse()?, fields[14].parse()?);
    Ok((user + system) / TICKS_PER_SECOND)
}

/// Archives into nothing and says what it took.
fn archive(database_dir: &Path, level: i32) -> Result<()> {
    let kind = DatabaseKind::ALL.into_iter().find(|kind| database_dir.ends_with(kind.folder())).context("kind")?;
    let chain_dir = database_dir.parent().context("chain folder")?;
    let settings = Settings::new(&Compression { level, ..Compression::default() })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let tree = Arc::new(Tree::walk(chain_dir, kind)?);
    let layout = Arc::new(Layout::plan(tree.entries(), settings.frame_size));
    let archived =
        runtime.block_on(write_archive(tree, layout, settings, Uploads { zstd: &mut Nowhere, lz4: None }))?;
    let ratio = archived.uncompressed_size as f64 / archived.size as f64;
    say(&format!("compressed {ratio:.2}x, {} frames, peak {} MiB", archived.frames.len(), peak_mib()?));
    Ok(())
}

fn peak_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(peak.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

/// An upload that keeps nothing, as the peers write to `/dev/null`.
struct Nowhere;

#[async_trait]
impl Upload for Nowhere {
    async fn write(&mut self, _: Bytes) -> Result<(), StoreError> {
        Ok(())
    }

    async fn finish(self: Box<Self>, _: Expected) -> Result<ObjectMeta, StoreError> {
        Err(StoreError::NotFound { key: "nowhere".into() })
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark talks to the person who runs it")]
fn say(text: &str) {
    println!("{text}");
}
