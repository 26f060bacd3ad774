//! The identity of a chain database, read from its bytes and never from a node.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{BlockHash, BlockRef, DatabaseKind};

/// Reads the identity of a chain database.
///
/// Contract: changes no byte below `location.chain_dir`, takes no lock there, and reads a database that was closed
/// cleanly as well as a crash-consistent image with a write-ahead log. Every call may be repeated; nobody retries.
#[async_trait]
pub trait ChainDatabase: Send + Sync {
    /// Reads what the database says of itself.
    async fn identity(&self, location: &DatabaseLocation) -> Result<Identity, ChainDatabaseError>;
}

/// Where a chain database lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatabaseLocation {
    /// The folder that holds `db/` or `paritydb/`: `<base path>/chains/<id>`, or the root of a restored archive.
    pub chain_dir: PathBuf,
    /// The engine.
    pub kind: DatabaseKind,
}

impl DatabaseLocation {
    /// The folder that is archived: `chain_dir/db` or `chain_dir/paritydb`.
    pub fn database_dir(&self) -> PathBuf {
        self.chain_dir.join(self.kind.folder())
    }

    /// The database itself: `chain_dir/db/full` or `chain_dir/paritydb/full`.
    pub fn full_dir(&self) -> PathBuf {
        self.database_dir().join("full")
    }
}

/// What a chain database says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// The engine.
    pub database: DatabaseKind,
    /// The hash of block 0.
    pub genesis_hash: BlockHash,
    /// The best block.
    pub best: BlockRef,
    /// The newest finalized block.
    pub finalized: BlockRef,
    /// The newest finalized block whose state is there; `None` where the database does not say.
    pub finalized_state: Option<BlockRef>,
    /// True where the node was warp-synced and old blocks are still missing.
    pub warp_gap: bool,
    /// State pruning as far as the database says: `constrained`, `archive` or `archive_canonical`.
    pub pruning: Option<String>,
}

/// Says why a path has no readable identity.
#[derive(Debug, thiserror::Error)]
pub enum ChainDatabaseError {
    /// Nothing at the path looks like a chain database.
    #[error("{}: not a chain database: expected {expected}", path.display())]
    NotADatabase {
        /// The path looked at.
        path: PathBuf,
        /// What was looked for.
        expected: String,
    },
    /// The path holds the other engine.
    #[error("{}: holds a {found} database, not {expected}: set database = \"{found}\"", path.display())]
    OtherKind {
        /// The path looked at.
        path: PathBuf,
        /// The engine found.
        found: DatabaseKind,
        /// The engine asked for.
        expected: DatabaseKind,
    },
    /// More than one database fits.
    #[error("{}: holds {found}: choose {choice}", path.display())]
    Ambiguous {
        /// The path looked at.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What has to be chosen.
        choice: String,
    },
    /// A node never started on it.
    #[error("{}: empty database: META has no genesis (key \"gen\"); start the node on it once", path.display())]
    Empty {
        /// The database.
        path: PathBuf,
    },
    /// A file or a record is there but makes no sense.
    #[error("{}: damaged: {reason}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// Which record, if it is one, what was expected and what was found.
        reason: String,
    },
    /// The files cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system or the engine said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ChainDatabaseError {
    /// An error of the system or the engine at `path`.
    pub fn io(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Io { path: path.to_owned(), source: source.into() }
    }
}
