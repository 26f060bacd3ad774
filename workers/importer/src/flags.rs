//! The flags and variables of a restore, which `polkashots restore` and the worker's own binary share.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use polkashots_shared::clock::SystemClock;
use polkashots_shared::ids::{BlockHash, Height};
use polkashots_shared::minisign::PublicKey;
use polkashots_shared::settings::duration;

use crate::{Destination, Existing, Key, Owner, RestoreRequest, Transfer, Trust};

/// What a snapshot must be signed with and what it must be.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Trust")]
pub struct TrustFlags {
    /// Pinned public keys, comma-separated: minisign .pub files, or their lines of text; one of them must have signed
    #[arg(long, env = "POLKASHOTS_KEY", value_name = "FILE|KEY", value_delimiter = ',')]
    pub key: Vec<String>,
    /// Refuse any other chain, by name (polkadot) or folder (ksmcc3)
    #[arg(long, env = "POLKASHOTS_CHAIN", value_name = "CHAIN")]
    pub chain: Option<String>,
    /// Refuse any other genesis; those of built-in chains are checked in any case
    #[arg(long, env = "POLKASHOTS_GENESIS", value_name = "HASH")]
    pub genesis: Option<BlockHash>,
    /// Refuse a snapshot whose finalized block is lower
    #[arg(long, env = "POLKASHOTS_MIN_HEIGHT", value_name = "HEIGHT")]
    pub min_height: Option<Height>,
    /// Refuse an older snapshot, as in 36h, 3d or 90m
    #[arg(long, env = "POLKASHOTS_MAX_AGE", value_name = "AGE", value_parser = duration)]
    pub max_age: Option<Duration>,
    /// Accept a snapshot older than the newest one ever restored here
    #[arg(long, env = "POLKASHOTS_ALLOW_OLDER", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub allow_older: bool,
}

/// What a restore does with a database that is there, and how it fetches and writes.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "a doc comment on a flattened part would become its heading's text")]
pub struct RestoreFlags {
    /// The chain's own folder, instead of --base-path; the database goes to db/ or paritydb/ in it
    #[arg(long, env = "POLKASHOTS_CHAIN_DIR", value_name = "DIR")]
    pub chain_dir: Option<PathBuf>,
    /// Replace a complete database that is there: in an init container at every start, so think twice
    #[arg(long, env = "POLKASHOTS_FORCE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub force: bool,
    /// Make an older database that is there the snapshot's: fetch what differs, delete what is gone; the node is stopped
    #[arg(long, env = "POLKASHOTS_UPDATE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub update: bool,
    /// The same for a damaged one, also where it was restored from this very snapshot
    #[arg(long, env = "POLKASHOTS_REPAIR", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub repair: bool,
    /// Take an archive that has no signed manifest beside it: paths are checked, what is in it is not
    #[arg(long, env = "POLKASHOTS_ALLOW_UNSIGNED", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub allow_unsigned: bool,
    #[command(flatten)]
    pub trust: TrustFlags,
    #[command(flatten)]
    pub transfer: TransferFlags,
}

/// How the archive is fetched and written.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Transfer")]
pub struct TransferFlags {
    /// Other buckets with the same archives, comma-separated; the fastest is used, and another one where it fails
    #[arg(long, env = "POLKASHOTS_MIRROR", value_name = "URL", value_delimiter = ',')]
    pub mirror: Vec<String>,
    /// How many requests are under way at once
    #[arg(long, env = "POLKASHOTS_CONNECTIONS", value_name = "N", default_value = "8")]
    pub connections: NonZeroUsize,
    /// How many threads verify, decompress and write [default: one per core]
    #[arg(long, env = "POLKASHOTS_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Give a connection up that brings next to nothing for this long
    #[arg(long, env = "POLKASHOTS_STALL_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub stall_timeout: Duration,
    /// How many times in a row a request may fail
    #[arg(long, env = "POLKASHOTS_ATTEMPTS", value_name = "N", default_value = "8")]
    pub attempts: u32,
    /// The owner of everything that is made, by number
    #[arg(long, env = "POLKASHOTS_UID", value_name = "UID")]
    pub uid: Option<u32>,
    /// The group of everything that is made, by number
    #[arg(long, env = "POLKASHOTS_GID", value_name = "GID")]
    pub gid: Option<u32>,
    /// The mode of files, as in 0640 [default: 0644 less the umask]
    #[arg(long, env = "POLKASHOTS_FILE_MODE", value_name = "MODE", value_parser = mode)]
    pub file_mode: Option<u32>,
    /// The mode of folders, as in 0750 [default: 0755 less the umask]
    #[arg(long, env = "POLKASHOTS_FOLDER_MODE", value_name = "MODE", value_parser = mode)]
    pub folder_mode: Option<u32>,
}

impl TrustFlags {
    /// As a request carries it. An empty value counts as none, as a container's unset variable is given.
    pub fn to_trust(&self) -> Trust {
        Trust {
            keys: self.key.iter().filter(|key| !key.is_empty()).map(|key| pinned(key)).collect(),
            chain: given(self.chain.as_deref()),
            genesis: self.genesis,
            min_height: self.min_height,
            max_age: self.max_age,
            allow_older: self.allow_older,
        }
    }
}

impl RestoreFlags {
    /// A restore of `name` from `source` below `base_path`, unless a chain's folder was given.
    pub fn to_request(&self, source: String, name: Option<&str>, base_path: Option<PathBuf>) -> RestoreRequest {
        let destination = match &self.chain_dir {
            Some(dir) => Destination::ChainDir(dir.clone()),
            None => Destination::BasePath(base_path.unwrap_or_default()),
        };
        let transfer = &self.transfer;
        let owner = Owner { uid: transfer.uid, gid: transfer.gid };
        RestoreRequest {
            trust: self.trust.to_trust(),
            allow_unsigned: self.allow_unsigned,
            existing: self.existing(),
            mirrors: transfer.mirror.iter().filter(|mirror| !mirror.is_empty()).cloned().collect(),
            transfer: transfer.to_transfer(),
            owner: (owner != Owner::default()).then_some(owner),
            file_mode: transfer.file_mode,
            folder_mode: transfer.folder_mode,
            clock: Arc::new(SystemClock),
            ..RestoreRequest::new(source, name, destination)
        }
    }

    fn existing(&self) -> Existing {
        match (self.force, self.repair, self.update) {
            (true, _, _) => Existing::Replace,
            (_, true, _) => Existing::Repair,
            (_, _, true) => Existing::Update,
            _ => Existing::Keep,
        }
    }
}

impl TransferFlags {
    fn to_transfer(&self) -> Transfer {
        Transfer {
            connections: self.connections,
            threads: self.threads,
            stall_timeout: self.stall_timeout,
            attempts: self.attempts,
            ..Transfer::default()
        }
    }
}

/// The text that was given; an empty one counts as none.
pub(crate) fn given(text: Option<&str>) -> Option<String> {
    text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn pinned(key: &str) -> Key {
    if PublicKey::is_text(key) { Key::Text(key.to_owned()) } else { Key::File(PathBuf::from(key)) }
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "expected an octal mode up to 0777, as in 0640".to_owned())
}
