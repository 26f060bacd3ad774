//! Reads chain databases of both engines, without a node and without changing a byte of them.

mod holder;
mod locate;
mod meta;
mod paritydb;
mod rocksdb;
mod sparse;

use std::path::{Path, PathBuf};

use async_trait::async_trait;

pub use self::holder::{Holder, live_holder};
pub use self::locate::locate;
use crate::ids::DatabaseKind;
use crate::ports::chain_database::{ChainDatabase, ChainDatabaseError, DatabaseLocation, Identity};

/// Reads the identity of RocksDB and ParityDB databases.
///
/// RocksDB is opened read-only where it lies. ParityDB cannot be opened without being changed, so the few files that the
/// head needs are copied to a scratch folder first; the copy is gone when the call ends, whatever its outcome.
#[derive(Debug, Clone)]
pub struct Databases {
    scratch: PathBuf,
}

impl Default for Databases {
    /// Copies to the system's folder for temporary files.
    fn default() -> Self {
        Self { scratch: std::env::temp_dir() }
    }
}

impl Databases {
    /// Copies to the folder `scratch`, which must exist and lie outside of every database.
    ///
    /// A copy needs about 1 MB, and after a crash the size of ParityDB's log files (`log0`, `log1`, ...) several times over.
    pub fn with_scratch(scratch: impl Into<PathBuf>) -> Self {
        Self { scratch: scratch.into() }
    }
}

#[async_trait]
impl ChainDatabase for Databases {
    async fn identity(&self, location: &DatabaseLocation) -> Result<Identity, ChainDatabaseError> {
        let full_dir = location.full_dir();
        let (asked, scratch) = (location.clone(), self.scratch.clone());
        let reading = tokio::task::spawn_blocking(move || read(&asked, &scratch));
        reading.await.unwrap_or_else(|panic| {
            let reason = format!("the {} library gave up on it: {panic}", location.kind);
            Err(ChainDatabaseError::Damaged { path: full_dir, reason })
        })
    }
}

fn read(location: &DatabaseLocation, scratch: &Path) -> Result<Identity, ChainDatabaseError> {
    locate::expect_database(location)?;
    match location.kind {
        DatabaseKind::RocksDb => rocksdb::identity(&location.full_dir()),
        DatabaseKind::ParityDb => paritydb::identity(&location.full_dir(), scratch),
    }
}
