//! A site with some history, served by `polkashots serve`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Days, Utc};
use polkashots_publisher::SiteHost;
use polkashots_publisher::adapters::directory_host::DirectoryHost;
use polkashots_publisher::index::SignedIndex;
use polkashots_publisher::site::{SiteInput, SiteSettings, SiteSnapshot, SiteTarget, render_now};
use polkashots_publisher::testkit::fake_manifest;
use polkashots_shared::chain::Chain;
use polkashots_shared::ids::{Sha256, Version};
use polkashots_shared::index::{Index, IndexSnapshot, IndexTarget, SCHEMA};
use polkashots_shared::minisign::{self, SecretKey};
use polkashots_shared::names;
use polkashots_shared::target::Target;
use polkashots_shared::testkit::skip::skipped;

/// What every archive holds; the stated sizes are those of real ones, for the pictures' sake.
pub const ARCHIVE: &[u8] = b"archive";
const SNAPSHOTS: u64 = 9;

/// A site that is being served from a folder of its own.
pub struct Served {
    server: Child,
    /// What lies in it is gone with the value.
    pub folder: tempfile::TempDir,
    pub origin: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _gone_already = self.server.kill();
        let _status = self.server.wait();
    }
}

impl Served {
    /// Serves a made-up site with `program`, which is `polkashots`.
    pub async fn start(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("bucket"))?;
        let host = DirectoryHost::open(&folder.path().join("site"))?;
        deploy(&host, "http://127.0.0.1", folder.path()).await?;
        let (server, origin) = serve(program, folder.path(), "127.0.0.1:0")?;
        deploy(&host, &origin, folder.path()).await?;
        Ok(Self { server, folder, origin })
    }

    /// Runs `polkashots demo` and serves what it left, at the address that its site names.
    pub fn after_demo(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ran = Command::new(program).args(["demo", "--no-serve", "--dir"]).arg(folder.path()).output()?;
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        ensure!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
        let address = said.split_whitespace().find_map(|word| word.strip_prefix("http://")?.strip_suffix('/'));
        let (server, origin) = serve(program, folder.path(), address.context("an address")?)?;
        Ok(Self { server, folder, origin })
    }
}

/// The server and the address that it serves `folder` at.
fn serve(program: &Path, folder: &Path, listen: &str) -> Result<(Child, String)> {
    let mut server = Command::new(program)
        .args(["serve", "--listen", listen, "--dir"])
        .arg(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(server.stdout.take().context("a pipe")?).read_line(&mut line)?;
    let origin = line.trim().strip_prefix("serving on ").context("an address")?.trim_end_matches('/').to_owned();
    Ok((server, origin))
}

/// The program that is built beside this test; `None` where it is not, which `test` says.
pub fn polkashots(test: &str) -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let program = exe.parent()?.parent()?.join("polkashots");
    if !program.is_file() {
        skipped(test, "polkashots is not built beside the test: run cargo build first");
        return None;
    }
    Some(program)
}

async fn deploy(host: &DirectoryHost, origin: &str, folder: &Path) -> Result<()> {
    let settings = SiteSettings {
        base_url: origin.parse()?,
        archive_url: format!("{origin}/"),
        mirrors: Vec::new(),
        title: "Polkashots".into(),
        source: None,
        jekyll: None,
    };
    let input = input(&settings)?;
    for snapshot in input.targets.iter().flat_map(|target| &target.snapshots) {
        let manifest = &snapshot.manifest;
        let path = folder.join("bucket").join(names::object_key(&manifest.target, manifest.version, ".tar.zst"));
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, ARCHIVE)?;
    }
    host.deploy(&render_now(&settings, &input)?).await?;
    Ok(())
}

fn input(settings: &SiteSettings) -> Result<SiteInput> {
    let key = SecretKey::parse(include_str!("../fixtures/test.key"), None)?;
    let targets = vec![
        target("kusama", "rocksdb", "ksm/rocksdb", "256", 61, &key)?,
        target("polkadot", "paritydb", "dot/paritydb", "256", 88, &key)?,
        target("polkadot", "rocksdb", "dot/archive", "archive", 931, &key)?,
    ];
    let listed = |target: &SiteTarget| IndexTarget {
        id: target.target.id.clone(),
        permalink: target.target.permalink.clone(),
        chain: target.target.chain.clone(),
        snapshots: target.snapshots.iter().map(|s| IndexSnapshot::new(&s.manifest, &s.manifest.to_bytes())).collect(),
    };
    let archive_url = settings.archive_url.clone();
    let index = Index { schema: SCHEMA, archive_url, targets: targets.iter().map(listed).collect() };
    Ok(SiteInput { public_key: key.public_key(), keys: None, targets, index: SignedIndex::new(&index, &key)? })
}

fn target(
    chain: &str,
    database: &str,
    permalink: &str,
    pruning: &str,
    size_gib: u64,
    key: &SecretKey,
) -> Result<SiteTarget> {
    let target: Target = serde_json::from_value(serde_json::json!({
        "id": format!("{chain}-{database}"), "permalink": permalink, "chain": Chain::built_in(chain),
        "database": database, "pruning": pruning, "node": { "name": "polkadot", "version": "1.25.1" },
        "retention": { "keep": 7 }, "schedule": "0 4 * * *",
        "explorers": [
            { "name": "Subscan", "url": format!("https://{chain}.subscan.io/block/{{height}}") },
            { "name": "Polkadot-JS Apps", "url": "https://polkadot.js.org/apps/#/explorer/query/{hash}" },
        ],
    }))?;
    let newest = Utc::now().date_naive().and_hms_opt(4, 0, 7).context("a time")?.and_utc();
    let newest = if newest > Utc::now() { newest - Days::new(1) } else { newest };
    let snapshots = (0..SNAPSHOTS).map(|age| snapshot(&target, newest - Days::new(age), age, size_gib, key));
    Ok(SiteTarget { snapshots: snapshots.collect::<Result<_>>()?, target, failures: Vec::new() })
}

fn snapshot(target: &Target, time: DateTime<Utc>, age: u64, size_gib: u64, key: &SecretKey) -> Result<SiteSnapshot> {
    let height = 28_000_000 - 14_400 * u32::try_from(age)?;
    let mut manifest = fake_manifest(target, Version::from_time(time), height, ARCHIVE);
    for artifact in &mut manifest.artifacts {
        artifact.size = (size_gib << 30) - (age << 28);
        artifact.uncompressed_size = (size_gib << 31) + (11 << 30) - (age << 29);
    }
    manifest.disk_required = manifest.artifacts[0].uncompressed_size + (9 << 30);
    manifest.files = 4_213 - age;
    let bytes = manifest.to_bytes();
    let comment = format!("target={} version={} height={height}", manifest.target, manifest.version);
    Ok(SiteSnapshot {
        manifest_sha256: Sha256::of(&bytes),
        signature: minisign::sign(key, &bytes, &comment)?,
        manifest,
        kept_until: (age >= 7).then(|| time + Days::new(10)),
    })
}
