//! The manifest: signed JSON that names everything about one snapshot.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::ids::{BlockHash, BlockRef, DatabaseKind, Height, Permalink, Sha256, TargetId, Version};
use crate::names;
use crate::target::{Format, Node};

/// The largest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;
/// The manifest schema that this program writes and reads.
pub const SCHEMA: u32 = 1;

/// Everything about one snapshot. Readers ignore unknown fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// 1. A reader refuses a larger number.
    pub schema: u32,
    /// The snapshot's target.
    pub target: TargetId,
    /// Its stable path on the site.
    pub permalink: Permalink,
    /// The snapshot's version.
    pub version: Version,
    /// When the volume snapshot was taken.
    pub created_at: DateTime<Utc>,
    /// The chain, by name and genesis.
    pub chain: Chain,
    /// The database that the archives hold.
    pub database: Database,
    /// The head, read from the database itself.
    pub block: Block,
    /// The node that wrote the database, as the host names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
    /// The published files, ordered by name.
    pub artifacts: Vec<Artifact>,
    /// Bytes of free disk that a restore needs.
    pub disk_required: u64,
    /// How many regular files the database has.
    pub files: u64,
    /// The program that made the snapshot: `polkashots 0.1.0`.
    pub tool: String,
}

/// What kind of database the archives hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Database {
    /// The engine.
    pub kind: DatabaseKind,
    /// The node's `--state-pruning`.
    pub pruning: String,
    /// True where the node was warp-synced and old blocks are still missing.
    pub warp_gap: bool,
}

/// The head of the chain in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Block {
    /// Height of the newest finalized block.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// Height of the best block.
    pub best_height: Height,
    /// Its hash.
    pub best_hash: BlockHash,
}

impl Block {
    /// The head made of its finalized and best block.
    pub fn new(finalized: BlockRef, best: BlockRef) -> Self {
        Self { height: finalized.height, hash: finalized.hash, best_height: best.height, best_hash: best.hash }
    }
}

/// One published file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// Its form.
    pub format: Format,
    /// Its name beside the manifest: `20261122-040000.tar.zst`.
    pub file: String,
    /// Where it is served: relative to the manifest, or absolute.
    pub url: String,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of all its bytes.
    pub sha256: Sha256,
    /// The size in bytes of what it unpacks to.
    pub uncompressed_size: u64,
    /// The frames index of a `.tar.zst`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<FileRef>,
}

/// A file beside the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileRef {
    /// Its name beside the manifest.
    pub file: String,
    /// Where it is served: relative to the manifest, or absolute.
    pub url: String,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of all its bytes.
    pub sha256: Sha256,
}

/// Says why some bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is larger than [`MAX_MANIFEST_BYTES`].
    #[error("manifest is {size_bytes} bytes, expected at most {MAX_MANIFEST_BYTES}")]
    TooLarge {
        /// The size found.
        size_bytes: u64,
    },
    /// It is not the JSON of a manifest.
    #[error("manifest is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// Its schema is newer than this program.
    #[error("manifest has schema {found}, this program reads up to {SCHEMA}: update polkashots")]
    Newer {
        /// The schema found.
        found: u32,
    },
    /// A field contradicts another or leaves its bounds.
    #[error("manifest field {field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Manifest {
    /// The bytes that are stored and signed: pretty JSON, fields in the order of the type, one newline at the end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("strings, numbers and times always serialise");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a manifest and checks what can be checked without its artifacts.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { size_bytes: bytes.len() as u64 });
        }
        #[derive(Deserialize)]
        struct SchemaOnly {
            schema: u32,
        }
        let SchemaOnly { schema } = serde_json::from_slice(bytes)?;
        if schema > SCHEMA {
            return Err(ManifestError::Newer { found: schema });
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The artifact of that format.
    pub fn artifact(&self, format: Format) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.format == format)
    }

    /// Every file beside the manifest that must be there, artifacts and frames indexes.
    pub fn referenced_files(&self) -> impl Iterator<Item = FileRef> + '_ {
        self.artifacts.iter().flat_map(|artifact| {
            let own = FileRef {
                file: artifact.file.clone(),
                url: artifact.url.clone(),
                size: artifact.size,
                sha256: artifact.sha256,
            };
            std::iter::once(own).chain(artifact.frames.clone())
        })
    }

    /// The key of a file beside this manifest.
    pub fn key_of(&self, file: &str) -> String {
        format!("{}{file}", names::target_prefix(&self.target))
    }

    fn check(&self) -> Result<(), ManifestError> {
        let field = |field, reason: String| Err(ManifestError::Field { field, reason });
        if self.artifacts.is_empty() {
            return field("artifacts", "empty, expected at least one".into());
        }
        if self.block.height > self.block.best_height {
            let (finalized, best) = (self.block.height, self.block.best_height);
            return field("block", format!("finalized height {finalized} is above best height {best}"));
        }
        for file in self.referenced_files() {
            let expected = format!("{}.", self.version);
            if !file.file.starts_with(&expected) || file.file.contains(['/', '\\', '\0', '\n']) {
                return field("artifacts", format!("file {:?} does not start with {expected:?}", file.file));
            }
        }
        Ok(())
    }
}
