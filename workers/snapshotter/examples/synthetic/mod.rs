//! Synthetic databases from a seed: RocksDB-like tables of trie nodes, and ParityDB-like sparse files.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

const SEED: u64 = 20_261_122;
const SST_BYTES: u64 = 64 * 1024 * 1024;
const PAGE_BYTES: usize = 4096;
/// Share of a sparse table's pages that are filled, as in the ParityDB of a young relay chain.
const FILLED_PERCENT: u8 = 17;

/// Writes `db/full` of `bytes` bytes in tables of 64 MiB; zstd at level 3 makes about two thirds of it.
pub fn rocksdb_like(chain_dir: &Path, bytes: u64) -> io::Result<()> {
    let full = chain_dir.join("db/full");
    std::fs::create_dir_all(&full)?;
    let mut random = fastrand::Rng::with_seed(SEED);
    for (number, start) in (0..bytes).step_by(SST_BYTES as usize).enumerate() {
        let length = SST_BYTES.min(bytes - start) as usize;
        let mut file = BufWriter::with_capacity(1 << 20, File::create(full.join(format!("{number:06}.sst")))?);
        let mut table = Vec::with_capacity(length + 4096);
        while table.len() < length {
            trie_node(&mut random, &mut table);
        }
        file.write_all(&table[..length])?;
        file.flush()?;
    }
    Ok(())
}

/// Writes `paritydb/full` with one sparse table of `bytes` bytes.
pub fn paritydb_like(chain_dir: &Path, bytes: u64) -> io::Result<()> {
    let full = chain_dir.join("paritydb/full");
    std::fs::create_dir_all(&full)?;
    let mut random = fastrand::Rng::with_seed(SEED + 1);
    let table = File::create(full.join("table_00_15"))?;
    table.set_len(bytes)?;
    // Filled in runs of up to 4 MiB, with holes between.
    let mut at = 0;
    while at < bytes {
        let pages = random.usize(1..1024);
        let run = ((pages * PAGE_BYTES) as u64).min(bytes - at);
        if random.u8(0..100) < FILLED_PERCENT {
            let mut filled = Vec::with_capacity(run as usize + 4096);
            while (filled.len() as u64) < run {
                trie_node(&mut random, &mut filled);
            }
            table.write_all_at(&filled[..run as usize], at)?;
        }
        at += run;
    }
    Ok(())
}

/// A key with a shared prefix, a few small numbers, and some hashes: what state tries are made of.
fn trie_node(random: &mut fastrand::Rng, out: &mut Vec<u8>) {
    const PREFIXES: [&[u8; 16]; 4] =
        [b"System.Account\0\0", b"Staking.Ledger\0\0", b"Balances.Locks\0\0", b":child_storage:d"];
    out.extend_from_slice(PREFIXES[random.usize(0..PREFIXES.len())]);
    out.extend_from_slice(&random.u32(0..100_000).to_le_bytes());
    out.extend_from_slice(&u64::from(random.u32(..)).to_le_bytes());
    for _ in 0..random.usize(1..4) {
        let mut hash = [0; 32];
        random.fill(&mut hash);
        out.extend_from_slice(&hash);
    }
    out.extend_from_slice(&[0; 12]);
}
