//! What the scheduler remembers across restarts: each target's last tick.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use polkashots_shared::ids::TargetId;

/// The last scheduled instant of each target whose tick was published, kept in a small file.
///
/// It is written after the tick was published: a crash between the two publishes the same tick again, which names the
/// same version and so changes nothing.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    last: BTreeMap<TargetId, DateTime<Utc>>,
}

/// Says why the ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The ledger's file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a ledger.
    #[error("{}: not a list of last ticks: {source}; remove the file to start it anew", path.display())]
    Json {
        /// The ledger's file.
        path: PathBuf,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
}

impl Ledger {
    /// Reads the ledger; an absent file is an empty one.
    pub fn open(path: PathBuf) -> Result<Self, LedgerError> {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path, last: BTreeMap::new() });
            }
            Err(source) => return Err(LedgerError::Io { path, source }),
        };
        match serde_json::from_slice(&bytes) {
            Ok(last) => Ok(Self { path, last }),
            Err(source) => Err(LedgerError::Json { path, source }),
        }
    }

    /// The last instant remembered for a target.
    pub fn last(&self, target: &TargetId) -> Option<DateTime<Utc>> {
        self.last.get(target).copied()
    }

    /// Remembers an instant; durable when it returns.
    pub fn remember(&mut self, target: &TargetId, instant: DateTime<Utc>) -> Result<(), LedgerError> {
        self.last.insert(target.clone(), instant);
        let bytes = serde_json::to_vec_pretty(&self.last).expect("ids and times always serialise");
        replace(&self.path, &bytes).map_err(|source| LedgerError::Io { path: self.path.clone(), source })
    }
}

/// Writes a file whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
