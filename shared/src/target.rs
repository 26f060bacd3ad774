//! What a host says about one target, as every worker reads it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::ids::{DatabaseKind, Permalink, TargetId};

/// One chain x database x pruning that is snapshotted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The target's id.
    pub id: TargetId,
    /// Its stable path on the site.
    pub permalink: Permalink,
    /// The chain; a database of another genesis fails the snapshot.
    pub chain: Chain,
    /// The database engine expected in the restore claim.
    pub database: DatabaseKind,
    /// The node's `--state-pruning` as the host set it, as in `256` or `archive`; shown, and checked as far as the database says.
    pub pruning: String,
    /// The node that wrote the database, as the host names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
    /// What is published of each snapshot.
    #[serde(default = "Format::default_set")]
    pub formats: Vec<Format>,
    /// How archives are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// How long snapshots are kept.
    #[serde(default)]
    pub retention: Retention,
    /// When it is snapshotted: a cron expression of five fields; none means only when asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The schedule's time zone, as in `Europe/Berlin`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Links that show the block on explorers; `{height}` and `{hash}` are replaced.
    #[serde(default)]
    pub explorers: Vec<Explorer>,
}

fn utc() -> String {
    "UTC".into()
}

/// The program that wrote a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name: `polkadot`.
    pub name: String,
    /// Its version: `1.25.1`.
    pub version: String,
}

/// A form in which a snapshot is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// Seekable `.tar.zst`; always published.
    #[serde(rename = "tar.zst")]
    TarZst,
    /// `.tar.lz4`, as polkadot-k8s and Parity's chart read it.
    #[serde(rename = "tar.lz4")]
    TarLz4,
    /// A tree of plain files with `files.txt`, as Parity's chart reads it.
    #[serde(rename = "tree")]
    Tree,
    /// `.blocks.zst`: `export-blocks --binary` of the chain's own node.
    #[serde(rename = "blocks.zst")]
    BlocksZst,
}

impl Format {
    fn default_set() -> Vec<Self> {
        vec![Self::TarZst]
    }
}

/// How a target's archives are compressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compression {
    /// zstd level, 1 to 19.
    pub level: i32,
    /// Most uncompressed bytes in one frame, 256 KiB to 64 MiB; memory use grows with it.
    pub frame_size_bytes: u32,
    /// Compression threads; 0 means one per core.
    pub threads: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self { level: 3, frame_size_bytes: 4 * 1024 * 1024, threads: 0 }
    }
}

/// How long snapshots are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// How many complete snapshots the index lists; at least 1.
    pub keep: u32,
    /// How many hours a snapshot stays in the store after it left the index; at least 72.
    pub grace_hours: u32,
    /// How many hours a failure record stays.
    pub failure_hours: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep: 7, grace_hours: 72, failure_hours: 7 * 24 }
    }
}

/// A link to a block explorer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Explorer {
    /// The explorer's name: `Subscan`.
    pub name: String,
    /// Its address of a block, with `{height}` or `{hash}` in it.
    pub url: String,
}
