//! Reads databases that a real node wrote, closed cleanly and killed, and shows that reading leaves no trace.
#![cfg(feature = "chain-databases")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use polkashots_shared::adapters::chain::{Databases, live_holder, locate};
use polkashots_shared::ids::{BlockRef, DatabaseKind, Sha256};
use polkashots_shared::ports::chain_database::{ChainDatabase, ChainDatabaseError, DatabaseLocation, Identity};
use rocksdb::{DB, Options};
use serde::Deserialize;
use tempfile::TempDir;

const FIXTURES: [&str; 8] = [
    "relay400-rocksdb",
    "relay400-paritydb",
    "relay400-rocksdb-basepath",
    "relay400-paritydb-basepath",
    "relay-killed-rocksdb",
    "relay-killed-paritydb",
    "polkadot-genesis-rocksdb",
    "polkadot-genesis-paritydb",
];

/// What the node itself reported of a fixture.
#[derive(Deserialize)]
struct Truth {
    database: DatabaseKind,
    genesis_hash: String,
    best_number: u32,
    best_hash: String,
    finalized_number: u32,
    finalized_hash: String,
    path_in_tar: PathBuf,
}

impl Truth {
    fn of(fixture: &str) -> Result<Self> {
        let path = fixtures().join(format!("{fixture}.json"));
        Ok(serde_json::from_slice(&fs::read(&path).with_context(|| path.display().to_string())?)?)
    }

    fn expect(&self, identity: &Identity) -> Result<()> {
        assert_eq!(identity.database, self.database);
        assert_eq!(identity.genesis_hash, self.genesis_hash.parse()?);
        assert_eq!(identity.best, BlockRef { height: self.best_number, hash: self.best_hash.parse()? });
        assert_eq!(identity.finalized, BlockRef { height: self.finalized_number, hash: self.finalized_hash.parse()? });
        assert!(!identity.warp_gap);
        Ok(())
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

/// Unpacks a fixture; the folder is the chain folder, or the base path.
fn unpack(fixture: &str) -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    let packed = File::open(fixtures().join(format!("{fixture}.tar.zst")))?;
    tar::Archive::new(zstd::Decoder::new(packed)?).unpack(dir.path())?;
    Ok(dir)
}

/// All that reading could change: names, kinds, sizes, modes, times of change, bytes.
fn fingerprint(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut prints = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        prints.insert(folder.clone(), print(&folder)?);
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = Sha256::of(&fs::read(&path)?);
                prints.insert(path.clone(), format!("{} {bytes}", print(&path)?));
            }
        }
    }
    Ok(prints)
}

fn print(path: &Path) -> Result<String> {
    let metadata = fs::symlink_metadata(path)?;
    let (mode, length, inode) = (metadata.mode(), metadata.len(), metadata.ino());
    let (changed, modified) = ((metadata.ctime(), metadata.ctime_nsec()), (metadata.mtime(), metadata.mtime_nsec()));
    Ok(format!("{mode:o} {length} {inode} {changed:?} {modified:?}"))
}

fn set_writable(root: &Path, writable: bool) -> Result<()> {
    for path in fingerprint(root)?.into_keys() {
        let mode = fs::metadata(&path)?.mode();
        let mode = if writable { mode | 0o200 } else { mode & !0o222 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

async fn identity(path: &Path) -> Result<Identity, ChainDatabaseError> {
    Databases::default().identity(&locate(path, None, None)?).await
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, ChainDatabaseError>) -> ChainDatabaseError {
    outcome.expect_err("it should have been refused")
}

#[tokio::test]
async fn every_fixture_says_what_the_node_said_and_is_left_as_it_was() -> Result<()> {
    for fixture in FIXTURES {
        let truth = Truth::of(fixture)?;
        let dir = unpack(fixture)?;
        let scratch = tempfile::tempdir()?;
        let before = fingerprint(dir.path())?;
        let databases = Databases::with_scratch(scratch.path());
        let identity =
            databases.identity(&locate(dir.path(), None, None)?).await.with_context(|| fixture.to_owned())?;
        truth.expect(&identity)?;
        assert_eq!(fingerprint(dir.path())?, before, "{fixture} was changed");
        assert_eq!(fs::read_dir(scratch.path())?.count(), 0, "{fixture} left something in the scratch folder");
    }
    Ok(())
}

#[tokio::test]
async fn a_read_only_database_is_read() -> Result<()> {
    for fixture in ["relay-killed-rocksdb", "relay-killed-paritydb", "relay400-paritydb"] {
        let dir = unpack(fixture)?;
        set_writable(dir.path(), false)?;
        let before = fingerprint(dir.path())?;
        let found = identity(dir.path()).await;
        let after = fingerprint(dir.path())?;
        set_writable(dir.path(), true)?;
        Truth::of(fixture)?.expect(&found?)?;
        assert_eq!(after, before, "{fixture} was changed");
    }
    Ok(())
}

#[test]
fn a_database_is_found_from_each_of_its_folders() -> Result<()> {
    for fixture in ["relay400-rocksdb-basepath", "relay400-paritydb-basepath"] {
        let truth = Truth::of(fixture)?;
        let dir = unpack(fixture)?;
        let expected = DatabaseLocation { chain_dir: dir.path().join("chains/fixture_relay"), kind: truth.database };
        let full_dir = dir.path().join(&truth.path_in_tar);
        assert_eq!(expected.full_dir(), full_dir);
        for path in [dir.path(), &expected.chain_dir, &expected.database_dir(), &full_dir, &full_dir.join("../..")] {
            for kind in [None, Some(truth.database)] {
                assert_eq!(locate(path, kind, None)?, expected, "{}", path.display());
            }
        }
        assert_eq!(locate(dir.path(), None, Some("fixture_relay"))?, expected);
    }
    Ok(())
}

#[test]
fn the_other_engine_is_refused_with_the_setting_to_change() -> Result<()> {
    for (fixture, asked) in [("relay400-rocksdb", DatabaseKind::ParityDb), ("relay400-paritydb", DatabaseKind::RocksDb)]
    {
        let dir = unpack(fixture)?;
        let found = Truth::of(fixture)?.database;
        for path in [dir.path().to_owned(), dir.path().join(found.folder())] {
            let error = refusal(locate(&path, Some(asked), None));
            assert!(matches!(error, ChainDatabaseError::OtherKind { .. }), "{error}");
            assert!(error.to_string().contains(&format!("set database = \"{found}\"")), "{error}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_location_that_names_the_other_engine_is_refused() -> Result<()> {
    let dir = unpack("relay400-rocksdb")?;
    let location = DatabaseLocation { chain_dir: dir.path().to_owned(), kind: DatabaseKind::ParityDb };
    let error = refusal(Databases::default().identity(&location).await);
    assert!(matches!(error, ChainDatabaseError::OtherKind { found: DatabaseKind::RocksDb, .. }), "{error}");
    Ok(())
}

#[test]
fn what_is_no_chain_database_is_refused_with_what_was_looked_for() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let error = refusal(locate(dir.path(), None, None));
    assert!(error.to_string().contains("db/full/CURRENT (RocksDB) or paritydb/full/metadata (ParityDB)"), "{error}");

    let file = dir.path().join("file");
    fs::write(&file, "text")?;
    assert!(refusal(locate(&file, None, None)).to_string().contains("expected a folder"));

    let missing = dir.path().join("missing");
    let error = refusal(locate(&missing, None, None)).to_string();
    assert!(error.contains("missing: No such file"), "{error}");
    Ok(())
}

#[test]
fn several_databases_and_no_choice_are_listed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for file in ["polkadot/db/full/CURRENT", "polkadot/paritydb/full/metadata", "ksmcc3/db/full/CURRENT"] {
        let path = dir.path().join("chains").join(file);
        fs::create_dir_all(path.parent().context("a parent")?)?;
        fs::write(path, "")?;
    }
    let error = refusal(locate(dir.path(), None, None)).to_string();
    assert!(error.contains("several chains (ksmcc3, polkadot): choose the chain's folder"), "{error}");
    let error = refusal(locate(dir.path(), None, Some("polkadot"))).to_string();
    assert!(error.contains("choose the database, rocksdb or paritydb"), "{error}");
    let error = refusal(locate(dir.path(), None, Some("paseo"))).to_string();
    assert!(error.contains("chains/paseo, found chains: [ksmcc3, polkadot]"), "{error}");

    let only_parity = locate(dir.path(), Some(DatabaseKind::ParityDb), None)?;
    assert_eq!(only_parity.chain_dir, dir.path().join("chains/polkadot"));
    let chosen = locate(dir.path(), Some(DatabaseKind::RocksDb), Some("polkadot"))?;
    assert_eq!(chosen.full_dir(), dir.path().join("chains/polkadot/db/full"));
    Ok(())
}

/// Opens a RocksDB fixture as the node does.
fn open_as_the_node(full_dir: &Path) -> Result<DB> {
    let options = Options::default();
    let families = DB::list_cf(&options, full_dir)?;
    Ok(DB::open_cf(&options, full_dir, families)?)
}

fn put(full_dir: &Path, family: &str, key: &[u8], value: &[u8]) -> Result<()> {
    let db = open_as_the_node(full_dir)?;
    let family = db.cf_handle(family).context("the column family")?;
    db.put_cf(family, key, value)?;
    db.flush_wal(true)?;
    Ok(())
}

#[tokio::test]
async fn a_damaged_head_is_named() -> Result<()> {
    let dir = unpack("relay400-rocksdb")?;
    let full_dir = dir.path().join("db/full");
    put(&full_dir, "col0", b"best", &[7; 35])?;
    let error = refusal(identity(dir.path()).await).to_string();
    assert!(error.contains("db/full: damaged: META: record \"best\" has 35 bytes"), "{error}");

    put(&full_dir, "col0", b"best", &[[0, 0, 1, 0x91].as_slice(), &[7; 32]].concat())?;
    let error = refusal(identity(dir.path()).await).to_string();
    assert!(error.contains("record \"best\" says block 401 is 0x0707"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_head_whose_header_is_another_one_is_damage() -> Result<()> {
    let dir = unpack("relay400-rocksdb")?;
    let truth = Truth::of("relay400-rocksdb")?;
    let hash: polkashots_shared::ids::BlockHash = truth.best_hash.parse()?;
    let lookup_key = [truth.best_number.to_be_bytes().as_slice(), &hash.0].concat();
    put(&dir.path().join("db/full"), "col4", &lookup_key, b"no header")?;
    let error = refusal(identity(dir.path()).await);
    assert!(matches!(error, ChainDatabaseError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("its header hashes to"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_database_on_which_no_node_started_is_empty() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let full_dir = dir.path().join("db/full");
    fs::create_dir_all(&full_dir)?;
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    drop(DB::open_cf(&options, &full_dir, (0..13).map(|number| format!("col{number}")))?);
    let error = refusal(identity(dir.path()).await);
    assert!(matches!(error, ChainDatabaseError::Empty { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn another_rocksdb_is_no_chain_database() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let full_dir = dir.path().join("db/full");
    fs::create_dir_all(&full_dir)?;
    drop(DB::open_default(&full_dir)?);
    let error = refusal(identity(dir.path()).await).to_string();
    assert!(error.contains("expected column family col0, found default"), "{error}");
    Ok(())
}

#[tokio::test]
async fn damaged_files_are_errors_and_leave_nothing_in_the_scratch_folder() -> Result<()> {
    let rocks = unpack("relay400-rocksdb")?;
    fs::write(rocks.path().join("db/full/CURRENT"), "MANIFEST-999999\n")?;
    let error = refusal(identity(rocks.path()).await);
    assert!(matches!(error, ChainDatabaseError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("db/full/CURRENT: damaged: names \"MANIFEST-999999\""), "{error}");

    let scratch = tempfile::tempdir()?;
    let databases = Databases::with_scratch(scratch.path());
    let cases = ["", "version=8\nsalt=00\ncol0=x", "version=1", "version=8\nsalt=zz\n", "no metadata"];
    for text in cases {
        let parity = unpack("relay-killed-paritydb")?;
        fs::write(parity.path().join("paritydb/full/metadata"), text)?;
        let error = refusal(databases.identity(&locate(parity.path(), None, None)?).await);
        assert!(error.to_string().contains("paritydb/full/metadata: damaged"), "{text:?}: {error}");
        assert_eq!(fs::read_dir(scratch.path())?.count(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_scratch_folder_inside_the_database_is_refused() -> Result<()> {
    let dir = unpack("relay-killed-paritydb")?;
    let before = fingerprint(dir.path())?;
    let location = locate(dir.path(), None, None)?;
    let error = refusal(Databases::with_scratch(location.full_dir()).identity(&location).await);
    assert!(error.to_string().contains("lies inside the database"), "{error}");
    assert_eq!(fingerprint(dir.path())?, before);
    Ok(())
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() -> Result<()> {
    let dir = unpack("relay-killed-paritydb")?;
    let log = dir.path().join("paritydb/full/log0");
    fs::set_permissions(&log, fs::Permissions::from_mode(0o000))?;
    if File::open(&log).is_err() {
        let error = refusal(identity(dir.path()).await).to_string();
        assert!(error.contains("full/log0: Permission denied"), "{error}");
    }
    // Root may read every file, but not a folder in its place.
    fs::remove_file(&log)?;
    fs::create_dir(&log)?;
    let error = refusal(identity(dir.path()).await).to_string();
    assert!(error.contains("full/log0: "), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_process_that_has_a_rocksdb_database_open_is_named_and_keeps_its_lock() -> Result<()> {
    let dir = unpack("relay400-rocksdb")?;
    let location = locate(dir.path(), None, None)?;
    assert_eq!(live_holder(&location), None);
    let node = open_as_the_node(&location.full_dir())?;
    for _ in 0..2 {
        let Some(holder) = live_holder(&location) else { bail!("nobody holds the lock") };
        assert_eq!(holder.pid, std::process::id());
        assert_eq!(holder.name, fs::read_to_string("/proc/self/comm")?.trim_end());
    }
    Truth::of("relay400-rocksdb")?.expect(&identity(dir.path()).await?)?;
    assert!(live_holder(&location).is_some(), "reading a live database released its lock");
    drop(node);
    assert_eq!(live_holder(&location), None);
    Ok(())
}

#[test]
fn the_process_that_has_a_paritydb_database_open_is_named() -> Result<()> {
    let dir = unpack("relay400-paritydb")?;
    let location = locate(dir.path(), None, None)?;
    assert_eq!(live_holder(&location), None);
    let lock = File::options().read(true).write(true).open(location.full_dir().join("lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    assert_eq!(live_holder(&location).map(|holder| holder.pid), Some(std::process::id()));
    drop(lock);
    assert_eq!(live_holder(&location), None);
    Ok(())
}
