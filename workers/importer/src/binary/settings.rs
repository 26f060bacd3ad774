//! The settings of `polkashots-importer`: those of `polkashots restore`, as an init container is given them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use polkashots_shared::clock::SystemClock;
use polkashots_shared::ids::{BlockHash, Height};
use polkashots_shared::settings::{LogSettings, Settings, duration};

use crate::{Destination, Key, Owner, RestoreRequest, Transfer, Trust};

/// Every setting of `polkashots-importer`.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "a doc comment on a flattened part would become its heading's text")]
pub struct ImporterSettings {
    /// A site or bucket, or one manifest: an http(s) or file address, or a path; empty means that nothing is restored
    #[arg(long, env = "POLKASHOTS_SOURCE", value_name = "URL")]
    pub source: Option<String>,
    /// The same as --source, under the name that polkadot-k8s gives it; a manifest or a .tar.zst beside one, too
    #[arg(long, env = "ARCHIVE_URL", value_name = "URL")]
    pub archive_url: Option<String>,
    /// The target's permalink or id, as in dot/paritydb; not needed with a manifest
    #[arg(long, env = "POLKASHOTS_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// The node's base path; the database goes to chains/<id>/ in it
    #[arg(long, env = "POLKASHOTS_BASE_PATH", value_name = "DIR", default_value = "/polkadot/.local/share/polkadot")]
    pub base_path: PathBuf,
    /// The chain's own folder, instead of --base-path; the database goes to db/ or paritydb/ in it
    #[arg(long, env = "POLKASHOTS_CHAIN_DIR", value_name = "DIR")]
    pub chain_dir: Option<PathBuf>,
    #[command(flatten)]
    pub trust: TrustSettings,
    #[command(flatten)]
    pub transfer: TransferSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

/// What a snapshot must be signed with and what it must be.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub struct TrustSettings {
    /// Pinned public keys, comma-separated: minisign .pub files, or their lines of text; one of them must have signed
    #[arg(long, env = "POLKASHOTS_KEY", value_name = "FILE|KEY", value_delimiter = ',')]
    pub key: Vec<String>,
    /// Refuse any other chain, by name (polkadot) or folder (ksmcc3)
    #[arg(long, env = "POLKASHOTS_CHAIN", value_name = "CHAIN")]
    pub expect_chain: Option<String>,
    /// The same as --expect-chain, under the name that polkadot-k8s gives it
    #[arg(long, env = "CHAIN", value_name = "CHAIN")]
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

/// How the archive is fetched and written.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Transfer")]
pub struct TransferSettings {
    /// Replace a complete database that is there: at every start of the pod, so think twice
    #[arg(long, env = "POLKASHOTS_FORCE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub force: bool,
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

impl Settings for ImporterSettings {
    const NAME: &'static str = "polkashots-importer";
    const ABOUT: &'static str = "Restores a published snapshot before a node starts: verified, resumable, in place";
}

impl ImporterSettings {
    /// The restore that is asked for; `None` where no source is given or the one given is empty.
    pub fn to_request(&self) -> Option<RestoreRequest> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let source = given(&self.source).or_else(|| given(&self.archive_url).map(|url| manifest_beside(&url)))?;
        let destination = match &self.chain_dir {
            Some(dir) => Destination::ChainDir(dir.clone()),
            None => Destination::BasePath(self.base_path.clone()),
        };
        let (trust, transfer) = (&self.trust, &self.transfer);
        let owner = Owner { uid: transfer.uid, gid: transfer.gid };
        let name = given(&self.name);
        Some(RestoreRequest {
            trust: Trust {
                keys: trust.key.iter().filter(|key| !key.is_empty()).map(|key| pinned(key)).collect(),
                chain: given(&trust.expect_chain).or_else(|| given(&trust.chain)),
                genesis: trust.genesis,
                min_height: trust.min_height,
                max_age: trust.max_age,
                allow_older: trust.allow_older,
            },
            force: transfer.force,
            transfer: Transfer {
                connections: transfer.connections,
                threads: transfer.threads,
                stall_timeout: transfer.stall_timeout,
                attempts: transfer.attempts,
                ..Transfer::default()
            },
            owner: (owner != Owner::default()).then_some(owner),
            file_mode: transfer.file_mode,
            folder_mode: transfer.folder_mode,
            clock: Arc::new(SystemClock),
            ..RestoreRequest::new(source, name.as_deref(), destination)
        })
    }
}

/// polkadot-k8s names an archive; what is verified is the manifest beside it.
fn manifest_beside(url: &str) -> String {
    let archive = [".tar.zst", ".tar.lz4"].into_iter().find_map(|suffix| url.strip_suffix(suffix));
    archive.map_or_else(|| url.to_owned(), |stem| format!("{stem}.manifest.json"))
}

/// A key's base64 line always starts with the letters of `Ed`.
fn pinned(key: &str) -> Key {
    let is_text = key.starts_with("RW") && key.len() == 56 && !key.contains('.');
    if is_text { Key::Text(key.to_owned()) } else { Key::File(PathBuf::from(key)) }
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "expected an octal mode up to 0777, as in 0640".to_owned())
}
