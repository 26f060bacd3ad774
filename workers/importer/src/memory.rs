//! What is remembered in `.polkashots/` beside a database: the newest snapshot ever accepted, and what was restored.

use std::io;
use std::path::Path;

use polkashots_shared::ids::{BlockHash, DatabaseKind, Height, TargetId, Version};
use polkashots_shared::manifest::Manifest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::RestoreError;

/// The folder beside `db/` and `paritydb/` that holds all that is ours. A node opens nothing of that name.
pub const FOLDER: &str = ".polkashots";
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

/// Reads the completion marker of `kind`'s folder: the manifest of what was restored there.
pub fn read_marker(chain_dir: &Path, kind: DatabaseKind) -> Result<Option<Manifest>, RestoreError> {
    read_json(&chain_dir.join(FOLDER).join(marker_name(kind)))
}

/// Writes the completion marker durably.
pub fn write_marker(chain_dir: &Path, manifest: &Manifest) -> Result<(), RestoreError> {
    write_json(&chain_dir.join(FOLDER).join(marker_name(manifest.database.kind)), manifest)
}

/// Removes the completion marker durably, before the database that it speaks of goes.
pub fn remove_marker(chain_dir: &Path, kind: DatabaseKind) -> Result<(), RestoreError> {
    let path = chain_dir.join(FOLDER).join(marker_name(kind));
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RestoreError::io("remove", &path, error)),
        _ => Ok(()),
    }
}

fn marker_name(kind: DatabaseKind) -> String {
    format!("{}.complete.json", kind.folder())
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
