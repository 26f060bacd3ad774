//! What is remembered in `.polkashots/` beside a database: the newest snapshot ever accepted, and what was restored.

use std::io;
use std::path::Path;

use chrono::{DateTime, Utc};
use polkashots_shared::ids::{BlockHash, DatabaseKind, Height, Sha256, TargetId, Version};
use polkashots_shared::manifest::Manifest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::RestoreError;

/// The folder beside `db/` and `paritydb/` that holds all that is ours. A node opens nothing of that name.
pub const FOLDER: &str = ".polkashots";
/// The end of the name of a marker that says that nothing was signed; in a staging folder all of it.
const UNSIGNED: &str = "unsigned.json";
/// The largest such file that is read, in bytes.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Rollback memory: the newest snapshot ever accepted for one database folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    /// Its target.
    pub target: TargetId,
    /// Its chain's genesis.
    pub genesis_hash: BlockHash,
    /// Its version.
    pub version: Version,
    /// Its finalized height.
    pub height: Height,
}

impl Newest {
    /// The memory of having accepted `manifest`.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            target: manifest.target.clone(),
            genesis_hash: manifest.chain.genesis_hash,
            version: manifest.version,
            height: manifest.block.height,
        }
    }

    /// Reads the memory of `kind`'s folder in `chain_dir`.
    pub fn read(chain_dir: &Path, kind: DatabaseKind) -> Result<Option<Self>, RestoreError> {
        read_json(&chain_dir.join(FOLDER).join(newest_name(kind)))
    }

    /// Writes the memory durably.
    pub fn write(&self, chain_dir: &Path, kind: DatabaseKind) -> Result<(), RestoreError> {
        write_json(&chain_dir.join(FOLDER).join(newest_name(kind)), self)
    }
}

/// Completion marker of what was restored from an archive that nobody we know has signed: all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsignedMarker {
    /// Always false: nothing says what is in that database but itself.
    pub signed: bool,
    /// Where the archive was, without what may be a secret in its address.
    pub archive: String,
    /// The SHA-256 of the archive as it came in.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// How many files it holds.
    pub files: u64,
    /// How many bytes those have.
    pub content_bytes: u64,
    /// When it had been unpacked.
    pub unpacked_at: DateTime<Utc>,
}

impl UnsignedMarker {
    /// Reads the marker of `kind`'s folder in `chain_dir`.
    pub fn read(chain_dir: &Path, kind: DatabaseKind) -> Result<Option<Self>, RestoreError> {
        read_json(&chain_dir.join(FOLDER).join(unsigned_name(kind)))
    }

    /// Writes the marker durably.
    pub fn write(&self, chain_dir: &Path, kind: DatabaseKind) -> Result<(), RestoreError> {
        write_json(&chain_dir.join(FOLDER).join(unsigned_name(kind)), self)
    }

    /// Reads what says that a staging folder was whole when it was written.
    pub fn read_staged(staging: &Path) -> Result<Option<Self>, RestoreError> {
        read_json(&staging.join(UNSIGNED))
    }

    /// Says durably that everything in a staging folder is whole and durable.
    pub fn write_staged(&self, staging: &Path) -> Result<(), RestoreError> {
        write_json(&staging.join(UNSIGNED), self)
    }
}

/// Reads the completion marker of `kind`'s folder: the manifest of what was restored there.
pub fn read_marker(chain_dir: &Path, kind: DatabaseKind) -> Result<Option<Manifest>, RestoreError> {
    read_json(&chain_dir.join(FOLDER).join(marker_name(kind)))
}

/// Writes the completion marker durably.
pub fn write_marker(chain_dir: &Path, manifest: &Manifest) -> Result<(), RestoreError> {
    write_json(&chain_dir.join(FOLDER).join(marker_name(manifest.database.kind)), manifest)
}

/// Removes the completion marker of either kind, before the database that it speaks of goes.
pub fn remove_marker(chain_dir: &Path, kind: DatabaseKind) -> Result<(), RestoreError> {
    for name in [marker_name(kind), unsigned_name(kind)] {
        let path = chain_dir.join(FOLDER).join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(RestoreError::io("remove", &path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn marker_name(kind: DatabaseKind) -> String {
    format!("{}.complete.json", kind.folder())
}

fn unsigned_name(kind: DatabaseKind) -> String {
    format!("{}.{UNSIGNED}", kind.folder())
}

fn newest_name(kind: DatabaseKind) -> String {
    format!("{}.newest.json", kind.folder())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RestoreError> {
    let bytes = match durable::read_limited(path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RestoreError::io("read", path, error)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| RestoreError::Memory { path: path.to_owned(), source: error })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), RestoreError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| RestoreError::Memory { path: path.to_owned(), source: error })?;
    bytes.push(b'\n');
    durable::write_file(path, &bytes).map_err(|error| RestoreError::io("write", path, error))
}
