//! `polkashots.toml`: read, checked and turned into types that cannot be wrong.

mod check;
mod file;
mod problem;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use polkashots_shared::ids::TargetId;
use polkashots_shared::target::Target;
use serde::Serialize;
use url::Url;

pub use problem::{ConfigError, Problem, nearest};

/// Everything that a host says about its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from.
    pub path: PathBuf,
    /// Where the queue, the claims and the lock lie.
    pub state_dir: PathBuf,
    /// The directory that is the bucket.
    pub store_dir: PathBuf,
    /// Where the site is deployed to.
    pub site_dir: PathBuf,
    /// The site.
    pub site: Site,
    /// What signs.
    pub signing: Signing,
    /// What exports blocks, for the targets that publish `blocks.zst`.
    pub export_blocks: Option<ExportBlocks>,
    /// The targets, by id.
    pub targets: BTreeMap<TargetId, TargetConfig>,
}

/// The site's own words and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Shown on every page.
    pub title: String,
    /// Where people reach it, ending in `/`; none means `http://<listen>/`.
    pub base_url: Option<Url>,
    /// Where the web server listens.
    pub listen: SocketAddr,
    /// A folder with the host's own Jekyll source; none means the built-in one.
    pub source: Option<PathBuf>,
    /// The program that builds it, `jekyll`; none means the built-in renderer.
    pub jekyll: Option<PathBuf>,
    /// Where people reach the same files too, each ending in `/`; metalinks name them.
    pub mirrors: Vec<Url>,
}

/// The secret key that signs manifests and the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// A secret key file in minisign's format.
    pub secret_key: PathBuf,
    /// A file whose first line is the key's password; none for an unencrypted key.
    pub password_file: Option<PathBuf>,
    /// Public keys of before a rotation: what they signed stays listed.
    pub old_public_keys: Vec<PathBuf>,
}

/// The chain's own node, run on a snapshot to export its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportBlocks {
    /// Its binary.
    pub node_binary: PathBuf,
    /// What it takes as `--chain`; none means the name of the target's chain.
    pub node_chain: Option<String>,
    /// How long an export may take.
    pub deadline: Duration,
}

/// One target and where its database comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// What every worker reads.
    pub target: Target,
    /// What the engine of one machine reads.
    pub source: Source,
}

/// Where a node keeps its database, and how a point-in-time image is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The node's base path, its chain folder, or the database folder.
    pub path: PathBuf,
    /// How the image is made.
    pub method: Method,
    /// Commands that stop the node for the copy and start it again.
    pub quiesce: Option<Quiesce>,
    /// A folder on the filesystem of `path` for btrfs snapshots; none means the state directory.
    pub snapshots: Option<PathBuf>,
}

/// How a point-in-time image is made on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A copy, by reference where the filesystem can; the node must not be running.
    Copy,
    /// An atomic btrfs subvolume snapshot; the node may be running.
    Btrfs,
}

/// A pair of commands around a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiesce {
    /// Program and arguments that stop the node: `systemctl`, `stop`, `polkadot`.
    pub stop: Vec<String>,
    /// Program and arguments that start it again; must do no harm to a node that runs.
    pub start: Vec<String>,
    /// After this long the node is started again, whatever became of the copy.
    pub deadline: Duration,
}

impl Config {
    /// Reads and checks a file; the error names every problem found, each with its line.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Reads and checks the text of a file; relative paths in it start at the file's folder.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let positions = problem::Positions::new(path, text);
        let raw = file::parse(text, &positions)?;
        check::check(raw, &positions)
    }

    /// The targets as workers read them.
    pub fn targets(&self) -> BTreeMap<TargetId, Target> {
        self.targets.iter().map(|(id, config)| (id.clone(), config.target.clone())).collect()
    }

    /// The database of the queue.
    pub fn queue_path(&self) -> PathBuf {
        self.state_dir.join("queue.sqlite")
    }

    /// The file that remembers each target's last tick.
    pub fn schedule_path(&self) -> PathBuf {
        self.state_dir.join("schedule.json")
    }
}

/// Reads the address under which people reach the site; the error says what was expected.
pub fn base_url(text: &str) -> Result<Url, &'static str> {
    const EXPECTED: &str = "an http(s) address without query, as in https://snapshots.example.org/";
    let mut url = Url::parse(text).map_err(|_| EXPECTED)?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err(EXPECTED);
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}
