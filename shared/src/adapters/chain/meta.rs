//! What column META and the headers of a Substrate database say, the same for both engines.
//!
//! Format: `sc-client-db`, `utils.rs` (`meta_keys`, lookup keys) and `lib.rs` (columns).

use std::path::Path;

use blake2::{Blake2b256, Digest};

use crate::ids::{BlockHash, BlockRef, DatabaseKind};
use crate::ports::chain_database::{ChainDatabaseError, Identity};

/// A column that is read here; its number is the same in both engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// The heads and the genesis hash.
    Meta = 0,
    /// What state pruning keeps its books in; holds its mode.
    StateMeta = 2,
    /// Headers by lookup key.
    Header = 4,
}

impl Column {
    /// All columns that are read.
    pub(super) const ALL: [Self; 3] = [Self::Meta, Self::StateMeta, Self::Header];
}

/// Reads single records of an open database.
pub(super) trait Records {
    /// The record's value; `None` where there is none.
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, ChainDatabaseError>;

    /// True where the column can be read; META always can.
    fn has(&self, column: Column) -> bool;
}

/// Reads the identity of the database `path`, and holds the heads against their headers where those can be read.
pub(super) fn identity(
    records: &impl Records,
    kind: DatabaseKind,
    path: &Path,
) -> Result<Identity, ChainDatabaseError> {
    let reader = Reader { records, path };
    let genesis_hash = reader.genesis()?;
    let genesis = BlockRef { height: 0, hash: genesis_hash };
    let best = reader.block("best")?.ok_or_else(|| reader.damaged("record \"best\" is missing, expected 36 bytes"))?;
    let finalized = reader.block("final")?.unwrap_or(genesis);
    let identity = Identity {
        database: kind,
        genesis_hash,
        best,
        finalized,
        finalized_state: reader.block("fstate")?,
        warp_gap: reader.gap()?,
        pruning: reader.pruning()?,
    };
    reader.check_heights(&identity)?;
    reader.check_headers(&identity)?;
    Ok(identity)
}

struct Reader<'a, R> {
    records: &'a R,
    path: &'a Path,
}

impl<R: Records> Reader<'_, R> {
    fn genesis(&self) -> Result<BlockHash, ChainDatabaseError> {
        let Some(bytes) = self.meta("gen")? else {
            return Err(ChainDatabaseError::Empty { path: self.path.to_owned() });
        };
        if let Some(other) = self.meta("type")?.filter(|kind| kind != b"full") {
            return Err(self.damaged(format!("record \"type\" is {}, expected \"full\"", shown(&other))));
        }
        let hash = <[u8; 32]>::try_from(bytes.as_slice());
        hash.map(BlockHash).map_err(|_| self.wrong_length("gen", &bytes, "32 bytes (a block hash)"))
    }

    /// A record that holds a lookup key: the height in 4 bytes, most significant first, then the hash.
    fn block(&self, name: &str) -> Result<Option<BlockRef>, ChainDatabaseError> {
        let Some(bytes) = self.meta(name)? else { return Ok(None) };
        let parts = bytes.split_first_chunk::<4>().and_then(|(height, hash)| Some((height, hash.try_into().ok()?)));
        match parts {
            Some((height, hash)) => Ok(Some(BlockRef { height: u32::from_be_bytes(*height), hash: BlockHash(hash) })),
            None => Err(self.wrong_length(name, &bytes, "36 bytes (height and block hash)")),
        }
    }

    /// Whether old blocks are missing: two heights, and since `gap_ver` 1 also a byte that says what is missing.
    fn gap(&self) -> Result<bool, ChainDatabaseError> {
        match self.meta("gap")? {
            None => Ok(false),
            Some(bytes) if matches!(bytes.len(), 8 | 9) => Ok(true),
            Some(bytes) => Err(self.wrong_length("gap", &bytes, "8 or 9 bytes (first and last height, kind)")),
        }
    }

    fn pruning(&self) -> Result<Option<String>, ChainDatabaseError> {
        if !self.records.has(Column::StateMeta) {
            return Ok(None);
        }
        let Some(bytes) = self.records.get(Column::StateMeta, b"mode")? else { return Ok(None) };
        match bytes.as_slice() {
            b"constrained" | b"archive" | b"archive_canonical" => Ok(String::from_utf8(bytes).ok()),
            other => Err(self.damaged(format!(
                "record \"mode\" of column 2 is {}, expected constrained, archive or archive_canonical",
                shown(other)
            ))),
        }
    }

    fn check_heights(&self, identity: &Identity) -> Result<(), ChainDatabaseError> {
        let Identity { genesis_hash, best, finalized, .. } = identity;
        if finalized.height > best.height {
            let (finalized, best) = (finalized.height, best.height);
            return Err(self.damaged(format!("record \"final\" is at height {finalized}, above \"best\" at {best}")));
        }
        for (name, block) in [("best", best), ("final", finalized)] {
            if block.height == 0 && block.hash != *genesis_hash {
                let found = block.hash;
                return Err(self.damaged(format!("record \"{name}\" is {found} at height 0, expected {genesis_hash}")));
            }
        }
        Ok(())
    }

    /// Holds the heads' hashes against their headers. Does nothing on a chain whose block 0 is not hashed with
    /// BLAKE2b-256, because its hash function is not known.
    fn check_headers(&self, identity: &Identity) -> Result<(), ChainDatabaseError> {
        let genesis = BlockRef { height: 0, hash: identity.genesis_hash };
        if !self.records.has(Column::Header) || self.header_hash(genesis)? != Some(genesis.hash) {
            return Ok(());
        }
        for (name, block) in [("best", identity.best), ("final", identity.finalized)] {
            let BlockRef { height, hash } = block;
            match self.header_hash(block)? {
                Some(found) if found == hash => {}
                Some(found) => {
                    let reason =
                        format!("record \"{name}\" says block {height} is {hash}, its header hashes to {found}");
                    return Err(self.damaged(reason));
                }
                None => {
                    let reason = format!("record \"{name}\" says block {height} is {hash}, which has no header");
                    return Err(self.damaged(reason));
                }
            }
        }
        Ok(())
    }

    fn header_hash(&self, block: BlockRef) -> Result<Option<BlockHash>, ChainDatabaseError> {
        let lookup_key = [block.height.to_be_bytes().as_slice(), &block.hash.0].concat();
        let header = self.records.get(Column::Header, &lookup_key)?;
        Ok(header.map(|bytes| BlockHash(Blake2b256::digest(bytes).into())))
    }

    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, ChainDatabaseError> {
        self.records.get(Column::Meta, name.as_bytes())
    }

    fn wrong_length(&self, name: &str, bytes: &[u8], expected: &str) -> ChainDatabaseError {
        self.damaged(format!("record \"{name}\" has {} bytes ({}), expected {expected}", bytes.len(), shown(bytes)))
    }

    fn damaged(&self, reason: impl Into<String>) -> ChainDatabaseError {
        ChainDatabaseError::Damaged { path: self.path.to_owned(), reason: format!("META: {}", reason.into()) }
    }
}

/// At most 40 bytes of a record, as text where it is text and in hexadecimal digits elsewhere.
fn shown(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(40)];
    match std::str::from_utf8(head) {
        Ok(text) if text.chars().all(|c| c.is_ascii_graphic()) => format!("{text:?}"),
        _ => format!("0x{}", hex::encode(head)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    struct Table(BTreeMap<(u8, Vec<u8>), Vec<u8>>);

    impl Table {
        fn with(mut self, column: Column, key: &[u8], value: &[u8]) -> Self {
            self.0.insert((column as u8, key.to_vec()), value.to_vec());
            self
        }

        fn reason(&self) -> String {
            match identity(self, DatabaseKind::RocksDb, Path::new("db/full")) {
                Ok(identity) => panic!("expected an error, got {identity:?}"),
                Err(error) => error.to_string(),
            }
        }
    }

    impl Records for Table {
        fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, ChainDatabaseError> {
            Ok(self.0.get(&(column as u8, key.to_vec())).cloned())
        }

        fn has(&self, _: Column) -> bool {
            true
        }
    }

    fn lookup_key(height: u32, hash: [u8; 32]) -> Vec<u8> {
        [height.to_be_bytes().as_slice(), &hash].concat()
    }

    /// A chain of two blocks, `b"zero"` and `b"one"` being their headers.
    fn two_blocks() -> Table {
        let [zero, one] = [b"zero".as_slice(), b"one"].map(|header| <[u8; 32]>::from(Blake2b256::digest(header)));
        Table::default()
            .with(Column::Meta, b"type", b"full")
            .with(Column::Meta, b"gen", &zero)
            .with(Column::Meta, b"best", &lookup_key(1, one))
            .with(Column::Header, &lookup_key(0, zero), b"zero")
            .with(Column::Header, &lookup_key(1, one), b"one")
    }

    #[test]
    fn without_a_finalized_block_genesis_is_the_finalized_one() {
        let table = two_blocks().with(Column::StateMeta, b"mode", b"archive").with(Column::Meta, b"gap", &[0; 9]);
        let identity = identity(&table, DatabaseKind::ParityDb, Path::new("full")).expect("a sound database");
        assert_eq!((identity.best.height, identity.finalized.height), (1, 0));
        assert_eq!(identity.finalized.hash, identity.genesis_hash);
        assert_eq!((identity.warp_gap, identity.pruning.as_deref()), (true, Some("archive")));
    }

    #[test]
    fn a_meta_without_genesis_is_an_empty_database() {
        assert!(Table::default().with(Column::Meta, b"type", b"full").reason().contains("empty database"));
    }

    #[test]
    fn a_damaged_record_is_named_with_what_was_expected_and_found() {
        let cases: [(&[u8], &[u8], &str); 6] = [
            (b"gen", b"short", "record \"gen\" has 5 bytes (\"short\"), expected 32 bytes"),
            (b"best", &[7; 35], "record \"best\" has 35 bytes"),
            (b"final", &[0; 37], "record \"final\" has 37 bytes"),
            (b"fstate", &[0; 4], "record \"fstate\" has 4 bytes (0x00000000), expected 36 bytes"),
            (b"gap", &[0; 3], "record \"gap\" has 3 bytes (0x000000), expected 8 or 9 bytes"),
            (b"type", b"light", "record \"type\" is \"light\", expected \"full\""),
        ];
        for (key, value, expected) in cases {
            let reason = two_blocks().with(Column::Meta, key, value).reason();
            assert!(reason.contains(expected), "{reason}");
        }
        let reason = two_blocks().with(Column::StateMeta, b"mode", b"some").reason();
        assert!(reason.contains("record \"mode\" of column 2 is \"some\""), "{reason}");
    }

    #[test]
    fn heads_that_contradict_their_headers_or_each_other_are_damage() {
        let above = two_blocks().with(Column::Meta, b"final", &lookup_key(2, [1; 32])).reason();
        assert!(above.contains("record \"final\" is at height 2, above \"best\" at 1"), "{above}");
        let other = two_blocks().with(Column::Meta, b"best", &lookup_key(0, [1; 32])).reason();
        assert!(other.contains("record \"best\" is 0x0101"), "{other}");
        let headerless = two_blocks().with(Column::Meta, b"best", &lookup_key(9, [1; 32])).reason();
        assert!(headerless.contains("which has no header"), "{headerless}");
        let forged = two_blocks();
        let best = forged.0[&(Column::Meta as u8, b"best".to_vec())].clone();
        let forged = forged.with(Column::Header, &best, b"two").reason();
        assert!(forged.contains("its header hashes to"), "{forged}");
    }

    #[test]
    fn headers_of_a_chain_with_another_hash_function_are_left_unchecked() {
        let mut table = two_blocks();
        for value in table.0.iter_mut().filter(|((column, _), _)| *column == Column::Header as u8).map(|(_, v)| v) {
            value.push(b'!');
        }
        identity(&table, DatabaseKind::RocksDb, Path::new("full")).expect("nothing to hold against the heads");
    }
}
