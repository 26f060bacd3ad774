//! Where a restore claim is mounted, and where the database lies in it.

use std::path::{Path, PathBuf};

use polkashots_shared::event::VolumeSnapshotReady;
use polkashots_shared::names;
use polkashots_shared::ports::chain_database::DatabaseLocation;
use polkashots_shared::target::Target;

use crate::handle::SnapshotError;

/// Where restore claims are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimMount {
    /// Each claim is the folder of its name in this one.
    ByName(PathBuf),
    /// The one claim that this process ever reads is this folder.
    Fixed(PathBuf),
}

impl ClaimMount {
    /// Finds the database of `target` in the claim that `ready` names.
    ///
    /// The claim's content is the chain folder (`db/` or `paritydb/` on top), or a node's base path.
    pub fn locate(&self, ready: &VolumeSnapshotReady, target: &Target) -> Result<DatabaseLocation, SnapshotError> {
        let expected = names::claim_name(&ready.target);
        if ready.claim != expected {
            return Err(SnapshotError::Claim { found: ready.claim.clone(), expected });
        }
        let root = match self {
            Self::ByName(claims) => claims.join(&ready.claim),
            Self::Fixed(claim) => claim.clone(),
        };
        match std::fs::metadata(&root) {
            Ok(metadata) if metadata.is_dir() => Ok(location(&root, target)),
            Ok(_) => Err(SnapshotError::NoClaim { path: root, source: std::io::ErrorKind::NotADirectory.into() }),
            Err(source) => Err(SnapshotError::NoClaim { path: root, source }),
        }
    }
}

fn location(root: &Path, target: &Target) -> DatabaseLocation {
    let kind = target.database;
    let base_path = DatabaseLocation { chain_dir: root.join("chains").join(&target.chain.id), kind };
    let chain_dir = DatabaseLocation { chain_dir: root.to_owned(), kind };
    if !chain_dir.database_dir().exists() && base_path.database_dir().exists() {
        return base_path;
    }
    chain_dir
}
