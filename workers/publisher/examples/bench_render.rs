//! How long a large site takes: 50 targets with 30 snapshots each, in this process and with `jekyll build`.
//!
//! `cargo run --release -p polkashots-publisher --example bench_render` exits 1 where rendering and comparing take a second or more.
//! With a folder as its argument it also writes the site there, to be looked at.

#![expect(clippy::print_stdout, reason = "it is run for its output")]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use polkashots_publisher::index::SignedIndex;
use polkashots_publisher::site::{SiteInput, SiteSettings, SiteSnapshot, SiteTarget, Source, render_now};
use polkashots_publisher::testkit::fake_manifest;
use polkashots_shared::chain::Chain;
use polkashots_shared::ids::{Sha256, Version};
use polkashots_shared::index::{Index, IndexSnapshot, IndexTarget, SCHEMA};
use polkashots_shared::minisign::SecretKey;
use polkashots_shared::target::Target;

const TARGETS: usize = 50;
const SNAPSHOTS: u32 = 30;
const RUNS: u32 = 5;
const LIMIT: Duration = Duration::from_secs(1);

fn main() -> Result<ExitCode> {
    let settings = SiteSettings {
        base_url: "https://snapshots.example".parse()?,
        archive_url: "https://archive.example/".into(),
        mirrors: Vec::new(),
        title: "Example snapshots".into(),
        source: std::env::var_os("POLKASHOTS_SITE_SOURCE").map(Into::into),
        jekyll: None,
    };
    let input = input()?;
    let mut site = render_now(&settings, &input)?;
    let mut ours = Duration::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        let before = site.digest();
        site = render_now(&settings, &input)?;
        anyhow::ensure!(site.digest() == before, "the same input gave two sites");
        ours = ours.min(start.elapsed());
    }
    println!(
        "in process   {:7} ms, best of {RUNS}: {} files rendered and compared",
        ours.as_millis(),
        site.files.len()
    );
    if let Some(folder) = std::env::args_os().nth(1) {
        for (path, bytes) in &site.files {
            let path = Path::new(&folder).join(path);
            std::fs::create_dir_all(path.parent().context("a folder")?)?;
            std::fs::write(path, bytes)?;
        }
    }
    match jekyll(&settings, &input)? {
        Some(theirs) => println!("jekyll build {:7} ms", theirs.as_millis()),
        None => println!("jekyll build  SKIPPED: no such program"),
    }
    Ok(if ours < LIMIT { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn jekyll(settings: &SiteSettings, input: &SiteInput) -> Result<Option<Duration>> {
    let folder = tempfile::tempdir()?;
    let (source, built) = (folder.path().join("source"), folder.path().join("built"));
    Source::load(settings.source.as_deref())?.with_data(settings, input).write_to(&source)?;
    let start = Instant::now();
    let mut command = Command::new("jekyll");
    command.args(["build", "--quiet", "--disable-disk-cache", "-s"]).arg(&source).arg("-d").arg(&built);
    match command.status() {
        Ok(status) if status.success() => Ok(Some(start.elapsed())),
        Ok(status) => anyhow::bail!("jekyll build: {status}"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn input() -> Result<SiteInput> {
    let key = SecretKey::parse(include_str!("../tests/fixtures/test.key"), None)?;
    let targets: Vec<SiteTarget> = (0..TARGETS).map(target).collect::<Result<_>>()?;
    let listed = |target: &SiteTarget| IndexTarget {
        id: target.target.id.clone(),
        permalink: target.target.permalink.clone(),
        chain: target.target.chain.clone(),
        snapshots: target.snapshots.iter().map(|s| IndexSnapshot::new(&s.manifest, &s.manifest.to_bytes())).collect(),
    };
    let archive_url = "https://archive.example/".to_owned();
    let index = Index { schema: SCHEMA, archive_url, targets: targets.iter().map(listed).collect() };
    Ok(SiteInput { public_key: key.public_key(), keys: None, targets, index: SignedIndex::new(&index, &key)? })
}

fn target(number: usize) -> Result<SiteTarget> {
    let names: Vec<&str> = Chain::built_in_names().collect();
    let name = names[number % names.len()];
    let database = ["paritydb", "rocksdb"][number / names.len() % 2];
    let target: Target = serde_json::from_value(serde_json::json!({
        "id": format!("{name}-{database}-{number}"),
        "permalink": format!("{name}/{database}-{number}"),
        "chain": Chain::built_in(name).context("built in")?,
        "database": database,
        "pruning": if number % 3 == 2 { "archive" } else { "256" },
        "node": { "name": "polkadot", "version": "1.25.1" },
        "retention": { "keep": SNAPSHOTS },
        "schedule": "0 4 * * *",
        "explorers": [{ "name": "Subscan", "url": format!("https://{name}.subscan.io/block/{{height}}") }],
    }))?;
    let snapshots = (1..=SNAPSHOTS).rev().map(|day| snapshot(&target, day, number as u64)).collect::<Result<_>>()?;
    Ok(SiteTarget { target, snapshots, failures: Vec::new() })
}

fn snapshot(target: &Target, day: u32, number: u64) -> Result<SiteSnapshot> {
    let version: Version = format!("202611{day:02}-040000").parse()?;
    let mut manifest = fake_manifest(target, version, 24_000_000 + 14_400 * day, b"archive");
    for artifact in &mut manifest.artifacts {
        artifact.size = (88 << 30) + (number << 28) + (u64::from(day) << 27);
        artifact.uncompressed_size = (181 << 30) + (number << 29) + (u64::from(day) << 29);
    }
    manifest.disk_required = 205 << 30;
    Ok(SiteSnapshot {
        manifest_sha256: Sha256::of(&manifest.to_bytes()),
        manifest,
        signature: "untrusted comment: signature from minisign secret key\nRUQ=".into(),
        kept_until: None,
    })
}
