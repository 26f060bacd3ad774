//! A database that is there already, and `restore --update`, `restore --repair` and `verify --base-path` on it.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rustix::fs::FlockOperation;
use serde_json::Value;

use crate::published::{DATABASE, Published, best_height};

#[test]
fn an_older_database_is_updated_but_not_while_a_node_has_it_open() -> Result<()> {
    let mut published = Published::of("relay-killed-rocksdb")?;
    published.restored(&[])?;
    let database = published.host.path(DATABASE);
    ensure!(best_height(&database)? == 343);
    published.publish_next("relay400-rocksdb")?;
    // This process is the node: it holds the record lock that RocksDB takes.
    let node = OpenOptions::new().write(true).create(true).truncate(false).open(database.join("full/LOCK"))?;
    rustix::fs::fcntl_lock(&node, FlockOperation::NonBlockingLockExclusive)?;
    published.restore(&["--update"])?.failed(1, &["db/full/LOCK", "a node has this database open", "stop it"])?;
    drop(node);
    ensure!(best_height(&database)? == 343, "what was refused changed the database");

    let updated = published.restored(&["--update"])?;
    ensure!(updated["outcome"] == "restored" && updated["manifest"]["version"] == published.version, "{updated:#}");
    ensure!(best_height(&database)? == 400);
    published.verify()?.succeeded()?;
    let again = published.restored(&["--update"])?;
    ensure!(again["outcome"] == "already_there", "{again:#}");
    Ok(())
}

#[test]
fn a_damaged_database_is_named_by_verify_and_made_right_by_repair() -> Result<()> {
    let published = Published::of("relay400-rocksdb")?;
    let restored = published.restored(&[])?;
    let report: Value = serde_json::from_str(&published.verify()?.succeeded()?.out)?;
    ensure!(report["files"] == restored["manifest"]["files"] && report["manifest"]["version"] == published.version);

    let table = largest_table(&published)?;
    OpenOptions::new().write(true).open(&table)?.write_all_at(b"a disk's mistake", 100_000)?;
    std::fs::remove_file(published.host.path(DATABASE).join("full/CURRENT"))?;
    let name = table.file_name().context("a name")?.to_string_lossy().into_owned();
    published.verify()?.failed(3, &["files differ", &format!("db/full/{name}"), "db/full/CURRENT", "--repair"])?;
    let untouched = published.restored(&["--update"])?;
    ensure!(untouched["outcome"] == "already_there", "an update of the same snapshot reads nothing: {untouched:#}");

    let repaired = published.restored(&["--repair"])?;
    let bytes = |name: &str| repaired[name].as_u64().context("bytes");
    ensure!(bytes("fetched_bytes")? > 0 && bytes("kept_bytes")? > 0, "{repaired:#}");
    published.verify()?.succeeded()?;
    ensure!(best_height(&published.host.path(DATABASE))? == 400);
    Ok(())
}

fn largest_table(published: &Published) -> Result<PathBuf> {
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(published.host.path(DATABASE).join("full"))? {
        let entry = entry?;
        tables.push((entry.metadata()?.len(), entry.path()));
    }
    Ok(tables.into_iter().max().context("an empty database")?.1)
}
