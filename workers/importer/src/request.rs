//! What a person asks of a restore.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use polkashots_shared::clock::{Clock, SystemClock};
use polkashots_shared::ids::{BlockHash, Height};

/// A database to restore: from where, whom to believe, and where to.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// A site or bucket (`https://snapshots.example.org`, then [`RestoreRequest::name`] is needed), a manifest
    /// (`https://…/20261122-040000.manifest.json`), an archive beside one, or any of them as a `file://` address or a plain
    /// path. An archive without a manifest is somebody else's: see [`RestoreRequest::allow_unsigned`].
    pub source: String,
    /// The permalink (`dot/paritydb`) or id (`polkadot-paritydb-prune`) of the target; its newest snapshot is restored.
    ///
    /// With a manifest as source, the manifest must be of this target.
    pub name: Option<String>,
    /// Addresses of buckets that hold the same archives; each request for a frame goes to the one that was measured fastest.
    ///
    /// The manifest always comes from [`RestoreRequest::source`]; whatever a mirror sends is verified like everything else.
    pub mirrors: Vec<String>,
    /// Where the database goes.
    pub destination: Destination,
    /// Whom and what to believe.
    pub trust: Trust,
    /// Takes an archive that has no signed manifest beside it, of which nothing is known but what is in it.
    pub allow_unsigned: bool,
    /// What happens to a complete database that is there.
    pub existing: Existing,
    /// How to fetch.
    pub transfer: Transfer,
    /// The owner of everything that is made; none leaves it to the process.
    pub owner: Option<Owner>,
    /// The mode of files; none means 0644 less the process's umask.
    pub file_mode: Option<u32>,
    /// The mode of folders; none means 0755 less the process's umask.
    pub folder_mode: Option<u32>,
    /// The time against which [`Trust::max_age`] is judged.
    pub clock: Arc<dyn Clock>,
}

impl RestoreRequest {
    /// A restore of the newest snapshot of `name` from `source`, with every setting at its default and no key pinned.
    pub fn new(source: impl Into<String>, name: Option<&str>, destination: Destination) -> Self {
        Self {
            source: source.into(),
            name: name.map(str::to_owned),
            mirrors: Vec::new(),
            destination,
            trust: Trust::default(),
            allow_unsigned: false,
            existing: Existing::Keep,
            transfer: Transfer::default(),
            owner: None,
            file_mode: None,
            folder_mode: None,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Where a database goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A node's `--base-path`; the database goes to `chains/<id>/db` or `chains/<id>/paritydb` inside it.
    BasePath(PathBuf),
    /// The chain's own folder; the database goes to `db` or `paritydb` inside it.
    ChainDir(PathBuf),
}

impl Destination {
    /// The chain's folder, for the chain whose folder name is `chain_id`.
    pub fn chain_dir(&self, chain_id: &str) -> PathBuf {
        match self {
            Self::BasePath(base) => base.join("chains").join(chain_id),
            Self::ChainDir(dir) => dir.clone(),
        }
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        match self {
            Self::BasePath(path) | Self::ChainDir(path) => path,
        }
    }
}

/// What happens to a complete database that is where the restored one goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Existing {
    /// It is left untouched, and the restore is done.
    #[default]
    Keep,
    /// It is removed once everything that can be checked before the transfer was checked (signature, genesis, age, free
    /// space), because there may be no room for two.
    Replace,
    /// What of it the snapshot has too is kept, the rest is fetched or deleted; untouched where it was restored from the
    /// same snapshot. It stays where it is until everything that differs was fetched.
    Update,
    /// As [`Existing::Update`], also where it was restored from the same snapshot: a damaged one is made right.
    Repair,
}

impl Existing {
    /// True where what is there is compared and used.
    pub fn is_reused(self) -> bool {
        matches!(self, Self::Update | Self::Repair)
    }
}

/// Whom and what to believe.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The pinned public keys; a signature by any one of them is accepted. Without a key nothing is.
    pub keys: Vec<Key>,
    /// The chain expected, by its name (`polkadot`) or its folder (`ksmcc3`).
    pub chain: Option<String>,
    /// The genesis hash expected. Those of the built-in chains are checked in any case.
    pub genesis: Option<BlockHash>,
    /// The lowest finalized height accepted.
    pub min_height: Option<Height>,
    /// The greatest age accepted.
    pub max_age: Option<Duration>,
    /// Accepts a snapshot older than the newest one ever restored here.
    pub allow_older: bool,
}

/// A pinned public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A file as minisign writes it, or with the base64 line alone.
    File(PathBuf),
    /// The base64 text itself: `RWQ…`.
    Text(String),
}

/// How to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// How many requests are under way at once.
    pub connections: NonZeroUsize,
    /// How many threads verify, decompress and write; none means one per core.
    pub threads: Option<NonZeroUsize>,
    /// A connection that brings less than [`Transfer::MIN_PROGRESS_BYTES`] in this time is given up and replaced.
    pub stall_timeout: Duration,
    /// How many times in a row a request may fail without progress.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first_delay: Duration,
    /// The longest wait between two attempts, a server's own `Retry-After` included.
    pub max_delay: Duration,
    /// Finished frames are recorded after this many uncompressed bytes, or every few seconds: the most that a kill costs.
    pub checkpoint_bytes: u64,
}

impl Transfer {
    /// What counts as progress within [`Transfer::stall_timeout`], in bytes.
    pub const MIN_PROGRESS_BYTES: u64 = 16 * 1024;
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            connections: const { NonZeroUsize::new(8).expect("not zero") },
            threads: None,
            stall_timeout: Duration::from_secs(30),
            attempts: 8,
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(60),
            checkpoint_bytes: 256 * 1024 * 1024,
        }
    }
}

/// The owner of what is made, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}
