//! Reads RocksDB databases where they lie, without their lock.

use std::fs;
use std::path::Path;

use ::rocksdb::{DB, Error, ErrorKind, Options};

use super::meta::{self, Column, Records};
use crate::ids::DatabaseKind;
use crate::ports::chain_database::{ChainDatabaseError, Identity};

/// Files held open at once; a large database has more than a process may open.
const MAX_OPEN_FILES: i32 = 128;

/// Reads the identity of the RocksDB database in `full_dir`.
///
/// The write-ahead log is replayed in memory, for the columns that are read only.
pub(super) fn identity(full_dir: &Path) -> Result<Identity, ChainDatabaseError> {
    find_manifest(full_dir)?;
    let options = options();
    let present = DB::list_cf(&options, full_dir).map_err(|e| failed(full_dir, &e))?;
    if let Some(missing) = Column::ALL.map(name).into_iter().find(|name| !present.contains(name)) {
        return Err(ChainDatabaseError::NotADatabase {
            path: full_dir.to_owned(),
            expected: format!("column family {missing}, found {}", present.join(", ")),
        });
    }
    let wanted = ["default".to_owned()].into_iter().chain(Column::ALL.map(name));
    let error_if_log_file_exist = false;
    let db = DB::open_cf_for_read_only(&options, full_dir, wanted, error_if_log_file_exist)
        .map_err(|e| failed(full_dir, &e))?;
    meta::identity(&Open { db, full_dir }, DatabaseKind::RocksDb, full_dir)
}

/// Checks that `CURRENT` names a file that is there: RocksDB would call a missing one an error of the disk, which passes.
fn find_manifest(full_dir: &Path) -> Result<(), ChainDatabaseError> {
    let current = full_dir.join("CURRENT");
    let text = fs::read_to_string(&current).map_err(|e| ChainDatabaseError::io(&current, e))?;
    let name = text.trim_end();
    let is_name = name.starts_with("MANIFEST-") && !name.contains('/');
    if is_name && full_dir.join(name).exists() {
        return Ok(());
    }
    let reason = format!("names {name:?}, expected a MANIFEST file that is there; copy the database anew or repair it");
    Err(ChainDatabaseError::Damaged { path: current, reason })
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(false);
    options.set_max_open_files(MAX_OPEN_FILES);
    options.set_skip_stats_update_on_db_open(true);
    options
}

/// The node's name for a column.
fn name(column: Column) -> String {
    format!("col{}", column as u8)
}

struct Open<'a> {
    db: DB,
    full_dir: &'a Path,
}

impl Records for Open<'_> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, ChainDatabaseError> {
        let Some(family) = self.db.cf_handle(&name(column)) else { return Ok(None) };
        self.db.get_cf(family, key).map_err(|e| failed(self.full_dir, &e))
    }

    fn has(&self, _: Column) -> bool {
        true
    }
}

/// RocksDB names the file in its own message.
fn failed(full_dir: &Path, error: &Error) -> ChainDatabaseError {
    match error.kind() {
        ErrorKind::Corruption | ErrorKind::InvalidArgument | ErrorKind::NotSupported => {
            ChainDatabaseError::Damaged { path: full_dir.to_owned(), reason: error.to_string() }
        }
        _ => ChainDatabaseError::io(full_dir, error.clone()),
    }
}
