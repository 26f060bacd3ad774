//! The databases that ship with the program, each with what its node said of it.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path};

use polkashots_shared::ids::{BlockHash, BlockRef, DatabaseKind};
use polkashots_shared::ports::chain_database::Identity;
use serde::Deserialize;

use crate::output::CommandError;

/// One database, written by a real node.
pub(super) struct Fixture {
    pub target: &'static str,
    pub permalink: &'static str,
    /// The chain's name in the config.
    pub chain: &'static str,
    /// The folder under `chains/`.
    pub chain_id: &'static str,
    pub kind: DatabaseKind,
    /// A `.tar.zst` whose root is the chain folder.
    archive: &'static [u8],
    /// What the node said: genesis, best and finalized block.
    truth: &'static str,
}

macro_rules! fixture_file {
    ($include:ident, $name:literal) => {
        $include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/", $name))
    };
}

/// All of them.
pub(super) static FIXTURES: [Fixture; 4] = [
    Fixture {
        target: "relay-rocksdb",
        permalink: "demo/rocksdb",
        chain: "fixture_relay",
        chain_id: "fixture_relay",
        kind: DatabaseKind::RocksDb,
        archive: fixture_file!(include_bytes, "relay400-rocksdb.tar.zst"),
        truth: fixture_file!(include_str, "relay400-rocksdb.json"),
    },
    Fixture {
        target: "relay-paritydb",
        permalink: "demo/paritydb",
        chain: "fixture_relay",
        chain_id: "fixture_relay",
        kind: DatabaseKind::ParityDb,
        archive: fixture_file!(include_bytes, "relay400-paritydb.tar.zst"),
        truth: fixture_file!(include_str, "relay400-paritydb.json"),
    },
    Fixture {
        target: "polkadot-rocksdb",
        permalink: "dot/rocksdb",
        chain: "polkadot",
        chain_id: "polkadot",
        kind: DatabaseKind::RocksDb,
        archive: fixture_file!(include_bytes, "polkadot-genesis-rocksdb.tar.zst"),
        truth: fixture_file!(include_str, "polkadot-genesis-rocksdb.json"),
    },
    Fixture {
        target: "polkadot-paritydb",
        permalink: "dot/paritydb",
        chain: "polkadot",
        chain_id: "polkadot",
        kind: DatabaseKind::ParityDb,
        archive: fixture_file!(include_bytes, "polkadot-genesis-paritydb.tar.zst"),
        truth: fixture_file!(include_str, "polkadot-genesis-paritydb.json"),
    },
];

/// What the node said of its database.
#[derive(Debug, Deserialize)]
pub(super) struct Truth {
    pub genesis_hash: BlockHash,
    best_number: u32,
    best_hash: BlockHash,
    finalized_number: u32,
    finalized_hash: BlockHash,
}

impl Fixture {
    /// Reads what the node said.
    pub(super) fn truth(&self) -> Result<Truth, CommandError> {
        serde_json::from_str(self.truth).map_err(|error| CommandError::failed(error).doing(self.target))
    }

    /// Compares what a database says of itself with what its node said.
    pub(super) fn check(&self, identity: &Identity) -> Result<(), CommandError> {
        let truth = self.truth()?;
        let block = |height, hash| BlockRef { height, hash };
        let pairs = [
            ("genesis", block(0, identity.genesis_hash), block(0, truth.genesis_hash)),
            ("best block", identity.best, block(truth.best_number, truth.best_hash)),
            ("finalized block", identity.finalized, block(truth.finalized_number, truth.finalized_hash)),
        ];
        for (what, found, expected) in pairs {
            if found != expected {
                let (found, expected) = (show(found), show(expected));
                return Err(CommandError::failed(format!(
                    "{}: {what} is {found}, its node said {expected}",
                    self.target
                )));
            }
        }
        Ok(())
    }

    /// Unpacks the database into a chain folder. Runs of zeros become holes, as they were in the node's own files.
    pub(super) fn unpack(&self, chain_dir: &Path) -> Result<(), CommandError> {
        unpack(self.archive, chain_dir).map_err(|error| {
            CommandError::failed(format!("unpack {} into {}: {error}", self.target, chain_dir.display()))
        })
    }
}

fn show(block: BlockRef) -> String {
    format!("#{} {}", block.height, block.hash)
}

fn unpack(archive: &[u8], chain_dir: &Path) -> std::io::Result<()> {
    let mut archive = tar::Archive::new(zstd::Decoder::new(archive)?);
    for entry in archive.entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        if !path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir)) {
            return Err(std::io::Error::other(format!("{} leaves the folder", path.display())));
        }
        let place = chain_dir.join(path);
        match entry.header().entry_type() {
            tar::EntryType::Directory => std::fs::create_dir_all(&place)?,
            tar::EntryType::Regular | tar::EntryType::GNUSparse => {
                if let Some(folder) = place.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                write_with_holes(&mut BufReader::with_capacity(1024 * 1024, entry), &mut File::create(&place)?)?;
            }
            other => return Err(std::io::Error::other(format!("{other:?} in the archive"))),
        }
    }
    Ok(())
}

fn write_with_holes(from: &mut impl Read, to: &mut File) -> std::io::Result<()> {
    // Comparing with zeros is one call of memcmp, which is fast in a debug build too.
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut block = Vec::with_capacity(ZEROS.len());
    let (mut size, mut written) = (0, 0);
    loop {
        block.clear();
        let count = from.by_ref().take(ZEROS.len() as u64).read_to_end(&mut block)?;
        if count == 0 {
            return to.set_len(size);
        }
        if block != ZEROS[..count] {
            if written != size {
                to.seek(SeekFrom::Start(size))?;
            }
            to.write_all(&block)?;
            written = size + count as u64;
        }
        size += count as u64;
    }
}
