//! The demo's folder: where everything lies, made once and used again by later demos.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use super::fixture::{FIXTURES, Fixture};
use crate::config::Config;
use crate::keygen;
use crate::output::CommandError;

/// The file that tells a demo's folder from anybody else's.
const MARKER: &str = "polkashots-demo.txt";
const MARKER_TEXT: &str = "This folder was made by `polkashots demo`. Everything in it can be deleted.\n";

/// The demo's folder.
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Makes the folder, or takes an earlier demo's; anything else that is not empty is refused and left alone.
    pub(super) fn prepare(root: &Path) -> Result<Self, CommandError> {
        let io = |error: std::io::Error| CommandError::failed(format!("{}: {error}", root.display()));
        std::fs::create_dir_all(root).map_err(io)?;
        let root = root.canonicalize().map_err(io)?;
        let empty = std::fs::read_dir(&root).map_err(io)?.next().is_none();
        if !empty && !root.join(MARKER).is_file() {
            let error = format!("{}: is not empty and not of an earlier demo, nothing was touched", root.display());
            return Err(CommandError::usage(error).hint("choose a new or empty folder with --dir DIR"));
        }
        std::fs::write(root.join(MARKER), MARKER_TEXT).map_err(io)?;
        let folder = Self { root };
        folder.fill()?;
        Ok(folder)
    }

    fn fill(&self) -> Result<(), CommandError> {
        let io = |error: std::io::Error| CommandError::failed(format!("{}: {error}", self.root.display()));
        std::fs::create_dir_all(self.root.join("bucket")).map_err(io)?;
        if self.root.join("restored").exists() {
            std::fs::remove_dir_all(self.root.join("restored")).map_err(io)?;
        }
        if !self.public_key().is_file() {
            keygen::generate(&self.root.join("keys"), None)?;
        }
        FIXTURES.iter().try_for_each(|fixture| self.unpack(fixture))
    }

    /// Unpacks a node's base path once. It has keys beside the database, as a real one: they must not leave the machine.
    fn unpack(&self, fixture: &Fixture) -> Result<(), CommandError> {
        let node_dir = self.node_dir(fixture);
        if node_dir.is_dir() {
            return Ok(());
        }
        let unfinished = self.root.join("node").join(format!(".{}.partial", fixture.target));
        let io = |error: std::io::Error| CommandError::failed(format!("{}: {error}", unfinished.display()));
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(io)?;
        }
        let chain_dir = unfinished.join("chains").join(fixture.chain_id);
        for (folder, file) in [("keystore", "a-session-key"), ("network", "secret_ed25519")] {
            std::fs::create_dir_all(chain_dir.join(folder)).map_err(io)?;
            std::fs::write(chain_dir.join(folder).join(file), "secret: must never be published\n").map_err(io)?;
        }
        fixture.unpack(&chain_dir)?;
        std::fs::rename(&unfinished, &node_dir).map_err(io)
    }

    /// Writes the config file, with a port that is free now, and reads it as the service would.
    pub(super) fn write_config(&self) -> Result<Config, CommandError> {
        let address = free_address().map_err(|error| CommandError::failed(error).doing("find a free port"))?;
        let text = config_text(address)?;
        let path = self.config_path();
        std::fs::write(&path, &text).map_err(|error| CommandError::failed(format!("{}: {error}", path.display())))?;
        Config::parse(&path, &text).map_err(CommandError::failed)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.root.join("polkashots.toml")
    }

    pub(super) fn public_key(&self) -> PathBuf {
        self.root.join("keys").join(keygen::PUBLIC_KEY_FILE)
    }

    /// The base path of the node that wrote the database.
    pub(super) fn node_dir(&self, fixture: &Fixture) -> PathBuf {
        self.root.join("node").join(fixture.target)
    }

    /// The base path that the database is restored to.
    pub(super) fn restored_dir(&self, fixture: &Fixture) -> PathBuf {
        self.root.join("restored").join(fixture.target)
    }

    pub(super) fn original_chain_dir(&self, fixture: &Fixture) -> PathBuf {
        self.node_dir(fixture).join("chains").join(fixture.chain_id)
    }

    pub(super) fn restored_chain_dir(&self, fixture: &Fixture) -> PathBuf {
        self.restored_dir(fixture).join("chains").join(fixture.chain_id)
    }
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn config_text(listen: SocketAddr) -> Result<String, CommandError> {
    let genesis = FIXTURES[0].truth()?.genesis_hash;
    let mut text = format!(
        r#"# The config of `polkashots demo`. Try: polkashots status --config {file}

state_dir = "state"
store_dir = "bucket"
site_dir = "site"

[site]
title = "Polkashots demo"
listen = "{listen}"

[signing]
secret_key = "keys/{key}"

# A chain that is not built in needs its genesis hash.
[chains.fixture_relay]
genesis_hash = "{genesis}"
"#,
        file = "polkashots.toml",
        key = keygen::SECRET_KEY_FILE,
    );
    for fixture in &FIXTURES {
        let Fixture { target, permalink, chain, kind, .. } = fixture;
        let written = write!(
            text,
            r#"
[[target]]
id = "{target}"
permalink = "{permalink}"
chain = "{chain}"
database = "{kind}"
pruning = "256"
source = {{ path = "node/{target}", method = "copy" }}
node = {{ name = "polkadot", version = "1.25.1" }}
"#
        );
        written.map_err(CommandError::failed)?;
    }
    Ok(text)
}
