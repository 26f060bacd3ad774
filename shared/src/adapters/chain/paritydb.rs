//! Reads ParityDB databases from a throw-away copy of the few files that the head needs.
//!
//! `parity-db` cannot open a database without its lock, write permission, and replaying and deleting its logs, not even
//! with `open_read_only`. So it never sees the original.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parity_db::{Db, Error, Options};

use super::meta::{self, Column, Records};
use super::sparse;
use crate::ids::DatabaseKind;
use crate::ports::chain_database::{ChainDatabaseError, Identity};

/// Most bytes on disk that a column other than META may have to be copied as well.
const MAX_OPTIONAL_COLUMN_BYTES: u64 = 16 * 1024 * 1024;

/// Size from which a table that is not copied gets an empty stand-in of its length. Without one `parity-db` grows the
/// table from nothing, 256 KiB at a time, to replay a log record at its end.
const MIN_STAND_IN_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes on disk that replaying one byte of log may need: small records are scattered over pages of 4 KiB.
const REPLAYED_BYTES_PER_LOG_BYTE: u64 = 12;

/// Reads the identity of the ParityDB database in `full_dir` through a copy in a new folder below `scratch`.
pub(super) fn identity(full_dir: &Path, scratch: &Path) -> Result<Identity, ChainDatabaseError> {
    refuse_scratch_in_database(full_dir, scratch)?;
    let files = list(full_dir)?;
    let columns = readable_columns(&files);
    expect_room(&files, &columns, scratch)?;
    let copy = tempfile::Builder::new()
        .prefix("polkashots-head-")
        .tempdir_in(scratch)
        .map_err(|e| ChainDatabaseError::io(scratch, e))?;
    for file in &files {
        take_over(file, &columns, copy.path())?;
    }
    let db = Db::open_read_only(&options(full_dir, copy.path())?).map_err(|e| failed(full_dir, e))?;
    meta::identity(&Open { db, columns, full_dir }, DatabaseKind::ParityDb, full_dir)
}

/// A file of the database that matters to the head or to the replay of the logs.
struct File {
    path: PathBuf,
    name: String,
    part: Part,
    metadata: Metadata,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Metadata,
    Log,
    Column(u8),
}

impl Part {
    /// Names: `metadata`, `log7`, `index_00_16`, `table_00_1f`, `ref_count_00_10`; the first number is the column.
    fn of(name: &str) -> Option<Self> {
        if name == "metadata" {
            return Some(Self::Metadata);
        }
        if let Some(number) = name.strip_prefix("log") {
            return number.parse::<u32>().is_ok().then_some(Self::Log);
        }
        let rest =
            ["index_", "table_", "refcount_", "ref_count_"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
        let (column, _) = rest.split_once('_')?;
        column.parse().ok().map(Self::Column)
    }
}

impl File {
    fn is_copied(&self, columns: &[Column]) -> bool {
        match self.part {
            Part::Metadata | Part::Log => true,
            Part::Column(number) => columns.iter().any(|column| *column as u8 == number),
        }
    }

    fn bytes_on_disk(&self) -> u64 {
        self.metadata.blocks() * 512
    }
}

fn refuse_scratch_in_database(full_dir: &Path, scratch: &Path) -> Result<(), ChainDatabaseError> {
    let resolve = |path: &Path| std::fs::canonicalize(path).map_err(|e| ChainDatabaseError::io(path, e));
    let database_dir = full_dir.parent().unwrap_or(full_dir);
    if !resolve(scratch)?.starts_with(resolve(database_dir)?) {
        return Ok(());
    }
    let reason = format!("the scratch folder lies inside the database {}: choose one outside", database_dir.display());
    Err(ChainDatabaseError::io(scratch, reason))
}

fn list(full_dir: &Path) -> Result<Vec<File>, ChainDatabaseError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(full_dir).map_err(|e| ChainDatabaseError::io(full_dir, e))? {
        let path = entry.map_err(|e| ChainDatabaseError::io(full_dir, e))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        let Some(part) = Part::of(&name) else { continue };
        let metadata = std::fs::metadata(&path).map_err(|e| ChainDatabaseError::io(&path, e))?;
        files.push(File { path, name, part, metadata });
    }
    Ok(files)
}

/// META, and the other columns as long as they are small.
fn readable_columns(files: &[File]) -> Vec<Column> {
    let bytes_of = |column: Column| -> u64 {
        files.iter().filter(|file| file.part == Part::Column(column as u8)).map(File::bytes_on_disk).sum()
    };
    let is_readable = |column: &Column| *column == Column::Meta || bytes_of(*column) <= MAX_OPTIONAL_COLUMN_BYTES;
    Column::ALL.into_iter().filter(is_readable).collect()
}

/// Refuses a scratch folder that would fill up: `parity-db` writes through memory maps, where a full disk kills the process.
fn expect_room(files: &[File], columns: &[Column], scratch: &Path) -> Result<(), ChainDatabaseError> {
    let copied = files.iter().filter(|file| file.is_copied(columns));
    let logs = files.iter().filter(|file| file.part == Part::Log);
    let needed_bytes = copied.map(File::bytes_on_disk).sum::<u64>()
        + logs.map(File::bytes_on_disk).sum::<u64>() * REPLAYED_BYTES_PER_LOG_BYTE;
    let statistics = rustix::fs::statvfs(scratch).map_err(|e| ChainDatabaseError::io(scratch, io::Error::from(e)))?;
    let free_bytes = statistics.f_bavail.saturating_mul(statistics.f_frsize);
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    let reason = format!(
        "no room for a copy of the database's head: expected {needed_bytes} bytes, found {free_bytes}: \
         free some or choose another scratch folder"
    );
    Err(ChainDatabaseError::io(scratch, io::Error::new(io::ErrorKind::StorageFull, reason)))
}

/// Copies the file, or puts an empty one of its length in its place where only the length matters.
fn take_over(file: &File, columns: &[Column], copy: &Path) -> Result<(), ChainDatabaseError> {
    let target = copy.join(&file.name);
    if file.is_copied(columns) {
        return sparse::copy(&file.path, &target);
    }
    let length = file.metadata.len();
    if !file.name.starts_with("table_") || length < MIN_STAND_IN_BYTES {
        return Ok(());
    }
    let stand_in = std::fs::File::create_new(&target).and_then(|stand_in| stand_in.set_len(length));
    stand_in.map_err(|e| ChainDatabaseError::io(&target, e))
}

/// The options that the database itself states; checked first, because `parity-db` panics on some of them.
fn options(full_dir: &Path, copy: &Path) -> Result<Options, ChainDatabaseError> {
    let damaged = |reason: &str| ChainDatabaseError::Damaged {
        path: full_dir.join("metadata"),
        reason: format!("{reason}; expected version=, salt= and col0= to col12="),
    };
    let text = std::fs::read_to_string(copy.join("metadata")).map_err(|e| damaged(&e.to_string()))?;
    let salts = text.lines().filter_map(|line| line.strip_prefix("salt="));
    if let Some(salt) = salts.into_iter().find(|salt| salt.len() != 64) {
        return Err(damaged(&format!("salt has {} digits, expected 64", salt.len())));
    }
    let metadata = Options::load_metadata(copy).map_err(|e| damaged(&e.to_string()))?;
    let metadata = metadata.ok_or_else(|| damaged("the file is missing"))?;
    if metadata.columns.len() <= Column::ALL.len() {
        return Err(damaged(&format!("found {} columns", metadata.columns.len())));
    }
    let mut options = Options::with_columns(copy, 0);
    options.columns = metadata.columns;
    options.stats = false;
    options.sync_wal = false;
    options.sync_data = false;
    if !options.is_valid() {
        return Err(damaged("the settings of a column contradict each other"));
    }
    Ok(options)
}

struct Open<'a> {
    db: Db,
    columns: Vec<Column>,
    full_dir: &'a Path,
}

impl Records for Open<'_> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, ChainDatabaseError> {
        self.db.get(column as u8, key).map_err(|e| failed(self.full_dir, e))
    }

    fn has(&self, column: Column) -> bool {
        self.columns.contains(&column)
    }
}

fn failed(full_dir: &Path, error: Error) -> ChainDatabaseError {
    match error {
        Error::Io(error) => ChainDatabaseError::io(full_dir, error),
        error => ChainDatabaseError::Damaged { path: full_dir.to_owned(), reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_the_column_in_its_name() {
        assert!(Part::of("table_00_ff") == Some(Part::Column(0)));
        assert!(Part::of("index_04_16") == Some(Part::Column(4)));
        assert!(Part::of("log12") == Some(Part::Log));
        assert!(Part::of("metadata") == Some(Part::Metadata));
        for other in ["lock", "stats.txt", "logs", "log", "index_x_16", "db_version"] {
            assert!(Part::of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_table_beyond_the_limit_is_not_copied_but_keeps_its_length() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (source, copy) = (dir.path().join("source"), dir.path().join("copy"));
        std::fs::create_dir(&source).and_then(|()| std::fs::create_dir(&copy)).expect("folders");
        let table = std::fs::File::create(source.join("table_02_ff")).expect("a table");
        table.set_len(MIN_STAND_IN_BYTES).expect("its length");
        let files = list(&source).expect("a listing");
        take_over(&files[0], &[Column::Meta], &copy).expect("a stand-in");
        let stand_in = std::fs::metadata(copy.join("table_02_ff")).expect("the stand-in");
        assert_eq!((stand_in.len(), stand_in.blocks()), (MIN_STAND_IN_BYTES, 0));
    }

    #[test]
    fn a_scratch_folder_in_the_database_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let full_dir = dir.path().join("paritydb/full");
        std::fs::create_dir_all(&full_dir).expect("folders");
        let error = refuse_scratch_in_database(&full_dir, &full_dir).expect_err("inside");
        assert!(error.to_string().contains("lies inside the database"), "{error}");
        refuse_scratch_in_database(&full_dir, dir.path()).expect("outside");
    }
}
