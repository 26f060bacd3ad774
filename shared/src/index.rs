//! The index: the signed JSON list of all live snapshots, a pure function of the manifests in the store.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::ids::{Permalink, Sha256, TargetId, Version};
use crate::manifest::{Block, Database, Manifest};

/// The schema that this program writes and reads.
pub const SCHEMA: u32 = 1;
/// The largest index that is read, in bytes.
pub const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;

/// The list of all live snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Index {
    /// 1. A reader refuses a larger number.
    pub schema: u32,
    /// Where the manifests are served, ending in `/`; empty where they lie beside the index itself.
    #[serde(default)]
    pub archive_url: String,
    /// The targets that have a live snapshot, ordered by id.
    pub targets: Vec<IndexTarget>,
}

/// One target's live snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IndexTarget {
    /// The target's id.
    pub id: TargetId,
    /// Its stable path on the site.
    pub permalink: Permalink,
    /// Its chain.
    pub chain: Chain,
    /// Its live snapshots, newest first; never empty.
    pub snapshots: Vec<IndexSnapshot>,
}

/// One live snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IndexSnapshot {
    /// Its version.
    pub version: Version,
    /// When its volume snapshot was taken.
    pub created_at: DateTime<Utc>,
    /// Its database.
    pub database: Database,
    /// Its head.
    pub block: Block,
    /// The manifest, relative to the index: `<target>/<version>.manifest.json`.
    pub manifest: String,
    /// The SHA-256 of the manifest.
    pub manifest_sha256: Sha256,
    /// Bytes of the `.tar.zst`.
    pub size: u64,
    /// Bytes of the restored database.
    pub uncompressed_size: u64,
}

/// What a target's `latest.json` holds: its newest snapshot, for scripts that do not want the whole index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Latest {
    /// Where the manifest is served.
    pub manifest_url: String,
    /// Where the manifest's signature is served.
    pub signature_url: String,
    /// The SHA-256 of the manifest as it is served.
    pub manifest_sha256: Sha256,
    /// What the manifest says; only the served one can be checked against its signature.
    pub manifest: Manifest,
}

impl Index {
    /// The target with that id or permalink.
    pub fn find(&self, name: &str) -> Option<&IndexTarget> {
        self.targets.iter().find(|target| target.id.as_str() == name || target.permalink.as_str() == name)
    }

    /// The bytes that are stored and signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("strings, numbers and times always serialise");
        bytes.push(b'\n');
        bytes
    }
}

impl IndexSnapshot {
    /// The entry of a manifest whose stored bytes are `bytes`.
    pub fn new(manifest: &Manifest, bytes: &[u8]) -> Self {
        let archive = manifest.artifacts.iter().find(|artifact| artifact.frames.is_some());
        Self {
            version: manifest.version,
            created_at: manifest.created_at,
            database: manifest.database.clone(),
            block: manifest.block.clone(),
            manifest: crate::names::manifest_key(&manifest.target, manifest.version),
            manifest_sha256: Sha256::of(bytes),
            size: archive.map_or(0, |artifact| artifact.size),
            uncompressed_size: archive.map_or(0, |artifact| artifact.uncompressed_size),
        }
    }
}
