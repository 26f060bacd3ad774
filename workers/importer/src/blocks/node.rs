//! The chain's own node, told to import blocks and asked for its head.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::Stdio;

use polkashots_shared::ids::{BlockHash, BlockRef, DatabaseKind, Height};
use polkashots_shared::node::Node;
use serde::Deserialize;

use super::BlocksError;
use super::archive::Checked;

/// The most that is kept of what a node prints, in bytes.
const MAX_OUTPUT_BYTES: u64 = 64 * 1024;

/// A node's binary and the data that it works on.
pub struct Importing {
    /// Its binary.
    pub binary: PathBuf,
    /// `--chain`.
    pub chain: String,
    /// `--base-path`.
    pub base_path: PathBuf,
    /// `--database`.
    pub database: DatabaseKind,
}

/// What `chain-info` prints, as far as it matters here.
#[derive(Deserialize)]
struct ChainInfo {
    best_hash: BlockHash,
    best_number: Height,
}

impl Importing {
    /// Feeds the blocks to the node and waits for its end; dropping the future kills it.
    pub async fn import(&self, archive: Checked) -> Result<(), BlocksError> {
        self.run("import-blocks", &["--binary"], Some(archive)).await.map(drop)
    }

    /// The best block that the node has.
    pub async fn best(&self) -> Result<BlockRef, BlocksError> {
        let printed = self.run("chain-info", &[], None).await?;
        let info: ChainInfo =
            serde_json::from_slice(&printed).map_err(|error| self.cannot_run(io::Error::other(error)))?;
        Ok(BlockRef { height: info.best_number, hash: info.best_hash })
    }

    /// Runs one command to its end and returns what it printed.
    async fn run(
        &self,
        command: &'static str,
        options: &[&str],
        input: Option<Checked>,
    ) -> Result<Vec<u8>, BlocksError> {
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        let started = Node::start_with(&self.binary, &self.arguments(command, options), stdin);
        let (mut node, stdout, stdin) = started.map_err(|error| self.cannot_run(error))?;
        let reading = tokio::task::spawn_blocking(move || read_all(stdout));
        let feeding = input.zip(stdin).map(|(archive, stdin)| tokio::task::spawn_blocking(|| archive.unpack(stdin)));
        let (status, said) = node.wait().await.map_err(|error| self.cannot_run(error))?;
        if !status.success() {
            return Err(BlocksError::Failed { binary: self.binary.clone(), command, status: status.to_string(), said });
        }
        if let Some(feeding) = feeding {
            // A node that read too little is found out by its head.
            let _broken_pipe = feeding.await.map_err(|_| BlocksError::Thread)?;
        }
        let printed = reading.await.map_err(|_| BlocksError::Thread)?;
        printed.map_err(|error| self.cannot_run(error))
    }

    fn arguments(&self, command: &str, options: &[&str]) -> Vec<String> {
        let base_path = self.base_path.display().to_string();
        let database = self.database.to_string();
        let named = ["--chain", &self.chain, "--base-path", &base_path, "--database", &database];
        [command].iter().chain(options).chain(&named).map(|word| (*word).to_owned()).collect()
    }

    fn cannot_run(&self, source: io::Error) -> BlocksError {
        BlocksError::Run { binary: self.binary.clone(), source }
    }
}

/// Reads to the end, so that the node never waits, and keeps the beginning.
fn read_all(mut stdout: File) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    (&mut stdout).take(MAX_OUTPUT_BYTES).read_to_end(&mut kept)?;
    io::copy(&mut stdout, &mut io::sink())?;
    Ok(kept)
}
