//! The restore path of `<version>.blocks.zst`: the chain's own node imports blocks that were checked before it sees them.
//!
//! The archive is fetched beside the node's data and believed only when its SHA-256 is the one in the signed manifest and its
//! blocks are an unbroken chain from the genesis to the manifest's block. Then it is unpacked into the node's standard
//! input. A node exits with 0 whatever it imported, so it is asked for its head afterwards.

mod archive;
mod node;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use polkashots_shared::block_stream::{Range, StreamError};
use polkashots_shared::clock::{Clock, SystemClock};
use polkashots_shared::ids::{BlockRef, DatabaseKind, Sha256};
use polkashots_shared::manifest::{Artifact, Manifest};
use polkashots_shared::target::Format;

use self::archive::Archive;
use self::node::Importing;
use crate::progress::Progress;
use crate::request::{Transfer, Trust};
use crate::resolve::{ResolveError, resolve};
use crate::source::{Source, SourceError};
use crate::trust::{PinnedKeys, TrustError, check_manifest};

/// An export of blocks to import: from where, whom to believe, and by which node.
#[derive(Debug, Clone)]
pub struct BlocksRequest {
    /// A site or bucket, or a manifest; an address or a path.
    pub source: String,
    /// The permalink or id of the target, whose newest snapshot is imported.
    pub name: Option<String>,
    /// Whom and what to believe.
    pub trust: Trust,
    /// How to fetch; the archive is read in one stream.
    pub transfer: Transfer,
    /// The node's binary.
    pub binary: PathBuf,
    /// What the node takes as `--chain`; none means the name of the manifest's chain.
    pub chain: Option<String>,
    /// What the node takes as `--base-path`; made where it is missing.
    pub base_path: PathBuf,
    /// What the node takes as `--database`; none means the kind of the snapshot's own database.
    pub database: Option<DatabaseKind>,
    /// How long the import may take.
    pub deadline: Duration,
    /// The time against which [`Trust::max_age`] is judged.
    pub clock: Arc<dyn Clock>,
}

/// What was imported.
#[derive(Debug, Clone)]
pub struct ImportedBlocks {
    /// The signed manifest of the snapshot.
    pub manifest: Manifest,
    /// The node's best block afterwards.
    pub best: BlockRef,
}

/// Says why no blocks were imported, and what a person can do.
#[derive(Debug, thiserror::Error)]
pub enum BlocksError {
    /// No manifest was found, or none that is to be believed.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The snapshot is not to be believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The archive cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The snapshot has no export of blocks.
    #[error("snapshot {target}/{version} has no blocks.zst: its target must list the format \"blocks.zst\"")]
    NoBlocks {
        /// The target.
        target: String,
        /// The version.
        version: String,
    },
    /// The archive is not the one that the manifest names.
    #[error("{file}: has SHA-256 {found}, the signed manifest says {expected}: fetch it again, or tell its publisher")]
    Digest {
        /// The archive.
        file: String,
        /// The digest found.
        found: Sha256,
        /// The digest expected.
        expected: Sha256,
    },
    /// The archive's blocks are not those that the manifest says.
    #[error("{file}: {source}: tell the publisher of the snapshot")]
    Blocks {
        /// The archive.
        file: String,
        /// What is wrong.
        source: StreamError,
    },
    /// Something on this machine cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The node could not be run.
    #[error("run {}: {source}: name a node of this machine's kind", binary.display())]
    Run {
        /// Its binary.
        binary: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The node failed.
    #[error("{} {command} ended with {status}: {said}", binary.display())]
    Failed {
        /// Its binary.
        binary: PathBuf,
        /// What it was told to do.
        command: &'static str,
        /// How it ended.
        status: String,
        /// Its last words.
        said: String,
    },
    /// The node says that it has imported what it has not.
    #[error(
        "{} says that it is done, but its best block is {found}, expected {expected}: was there another chain in the base path?",
        binary.display()
    )]
    Head {
        /// Its binary.
        binary: PathBuf,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// The import was not done in time.
    #[error("{} was not done within {deadline:?}: it continues where it was when it is run again", binary.display())]
    Deadline {
        /// Its binary.
        binary: PathBuf,
        /// The time that it had.
        deadline: Duration,
    },
    /// A thread ended without a word, because it panicked.
    #[error("a thread of the import ended unexpectedly: this is a bug in polkashots")]
    Thread,
}

impl BlocksRequest {
    /// An import of the newest snapshot of `name` from `source` by `binary`, with no key pinned.
    pub fn new(source: impl Into<String>, name: Option<&str>, binary: PathBuf, base_path: PathBuf) -> Self {
        Self {
            source: source.into(),
            name: name.map(str::to_owned),
            trust: Trust::default(),
            transfer: Transfer::default(),
            binary,
            chain: None,
            base_path,
            database: None,
            deadline: Duration::from_secs(24 * 3600),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Fetches, checks and imports; dropping the future kills the node.
///
/// Blocks that the node has already are passed over by it, so that the same call continues an import that was stopped.
pub async fn import_blocks(request: &BlocksRequest, progress: &dyn Progress) -> Result<ImportedBlocks, BlocksError> {
    let keys = PinnedKeys::read(&request.trust.keys)?;
    let source = Source::new(request.transfer.clone());
    let resolved = resolve(&source, &keys, &request.source, request.name.as_deref()).await?;
    let manifest = resolved.manifest;
    check_manifest(&manifest, &request.trust, request.name.as_deref(), request.clock.now())?;
    let artifact = blocks_of(&manifest)?;
    let location = resolved.location.join(&artifact.url)?;
    create_folder(&request.base_path)?;
    let archive = Archive::fetch(&source, &location, artifact, request, progress).await?;
    let last = BlockRef { height: manifest.block.height, hash: manifest.block.hash };
    let archive = archive.check(Range { genesis: manifest.chain.genesis_hash, last }).await?;
    let node = Importing {
        binary: request.binary.clone(),
        chain: request.chain.clone().unwrap_or_else(|| manifest.chain.name.clone()),
        base_path: request.base_path.clone(),
        database: request.database.unwrap_or(manifest.database.kind),
    };
    let imported = tokio::time::timeout(request.deadline, node.import(archive)).await;
    imported.map_err(|_| BlocksError::Deadline { binary: request.binary.clone(), deadline: request.deadline })??;
    let best = node.best().await?;
    if best.height < last.height || (best.height == last.height && best.hash != last.hash) {
        let (found, expected) = (described(&best), described(&last));
        return Err(BlocksError::Head { binary: request.binary.clone(), found, expected });
    }
    Ok(ImportedBlocks { manifest, best })
}

fn blocks_of(manifest: &Manifest) -> Result<&Artifact, BlocksError> {
    let found = manifest.artifacts.iter().find(|artifact| artifact.format == Format::BlocksZst);
    found.ok_or_else(|| BlocksError::NoBlocks {
        target: manifest.target.to_string(),
        version: manifest.version.to_string(),
    })
}

fn create_folder(path: &Path) -> Result<(), BlocksError> {
    std::fs::create_dir_all(path).map_err(|source| BlocksError::Io { path: path.to_owned(), source })
}

fn described(block: &BlockRef) -> String {
    format!("{} {}", block.height, block.hash)
}
