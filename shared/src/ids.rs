//! The words of the domain as types that cannot be wrong: parsed once at the edge, never checked again.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with_str::{deserialize_str, serialize_str};

/// Says what was wrong with a word that a person or another program wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} \"{value}\" is not valid: expected {expected}")]
pub struct ParseIdError {
    /// The kind of word, as in `target id`.
    pub what: &'static str,
    /// What was found, cut to 80 characters.
    pub value: String,
    /// What would have been accepted.
    pub expected: &'static str,
}

impl ParseIdError {
    fn new(what: &'static str, value: &str, expected: &'static str) -> Self {
        Self { what, value: value.chars().take(80).collect(), expected }
    }
}

/// Names one chain x database x pruning that is snapshotted, as in `polkadot-paritydb-prune`.
///
/// A DNS label of at most 40 characters, so that names derived from it (claims, subscriptions, Jobs) stay legal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(String);

impl TargetId {
    /// The longest target id, in characters.
    pub const MAX_LEN: usize = 40;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TargetId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
        let legal = text.len() <= Self::MAX_LEN
            && text.chars().all(inner)
            && edge(text.chars().next())
            && edge(text.chars().last());
        if !legal {
            return Err(ParseIdError::new("target id", text, "1 to 40 of a-z, 0-9 and '-', with no '-' at either end"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The second at which a snapshot's tick was published, in UTC: the immutable `YYYYMMDD-HHMMSS` of a snapshot.
///
/// Versions order by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(NaiveDateTime);

impl Version {
    const FORMAT: &'static str = "%Y%m%d-%H%M%S";

    /// The version of a tick published at `time`; fractions of a second are dropped.
    pub fn from_time(time: DateTime<Utc>) -> Self {
        let whole = time.naive_utc();
        Self(chrono::Timelike::with_nanosecond(&whole, 0).unwrap_or(whole))
    }

    /// The time that the version names.
    pub fn time(self) -> DateTime<Utc> {
        self.0.and_utc()
    }
}

impl FromStr for Version {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "YYYYMMDD-HHMMSS in UTC, as in 20261122-040000";
        let parsed = NaiveDateTime::parse_from_str(text, Self::FORMAT)
            .map_err(|_| ParseIdError::new("version", text, expected))?;
        let is_leap_second = chrono::Timelike::nanosecond(&parsed) != 0;
        if is_leap_second || parsed.format(Self::FORMAT).to_string() != text {
            return Err(ParseIdError::new("version", text, expected));
        }
        Ok(Self(parsed))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format(Self::FORMAT))
    }
}

/// The stable path of a target on the site, as in `dot/paritydb`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permalink(String);

impl Permalink {
    /// The permalink as text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Permalink {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let segment =
            |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let segments: Vec<&str> = text.split('/').collect();
        let legal = text.len() <= 80 && (2..=3).contains(&segments.len()) && segments.iter().all(|s| segment(s));
        if !legal {
            return Err(ParseIdError::new(
                "permalink",
                text,
                "two or three segments of a-z, 0-9 and '-', as in dot/paritydb",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Permalink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 of some bytes; 64 lower-case hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl FromStr for Sha256 {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex32(text)
            .map(Self)
            .ok_or_else(|| ParseIdError::new("SHA-256", text, "64 lower-case hexadecimal digits"))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

/// The hash of a block; `0x` and 64 lower-case hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockHash(pub [u8; 32]);

impl FromStr for BlockHash {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("0x")
            .and_then(parse_hex32)
            .map(Self)
            .ok_or_else(|| ParseIdError::new("block hash", text, "0x and 64 lower-case hexadecimal digits"))
    }
}

impl fmt::Display for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockHash({self})")
    }
}

fn parse_hex32(text: &str) -> Option<[u8; 32]> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// A block's height. Relay chains and parachains number their blocks with 32 bits.
pub type Height = u32;

/// A block of a chain: its height and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockRef {
    /// Blocks above genesis.
    pub height: Height,
    /// The block's hash.
    pub hash: BlockHash,
}

/// The database engine that a node was started with (`--database`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum DatabaseKind {
    /// RocksDB, in `chains/<id>/db/full`.
    RocksDb,
    /// ParityDB, in `chains/<id>/paritydb/full`.
    ParityDb,
}

impl DatabaseKind {
    /// Both kinds, in the order in which they are looked for.
    pub const ALL: [Self; 2] = [Self::RocksDb, Self::ParityDb];

    /// The node's word for it: `rocksdb` or `paritydb`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RocksDb => "rocksdb",
            Self::ParityDb => "paritydb",
        }
    }

    /// The folder inside `chains/<id>` that holds it, which is also the top entry of its archives: `db` or `paritydb`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::RocksDb => "db",
            Self::ParityDb => "paritydb",
        }
    }
}

impl FromStr for DatabaseKind {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| ParseIdError::new("database", text, "rocksdb or paritydb"))
    }
}

impl fmt::Display for DatabaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Serde for types whose text form is `Display` and `FromStr`.
mod serde_with_str {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize_str<T: Display, S: Serializer>(value: &T, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(value)
    }

    pub fn deserialize_str<'de, T, D>(input: D) -> Result<T, D::Error>
    where
        T: FromStr,
        T::Err: Display,
        D: Deserializer<'de>,
    {
        let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
        text.parse().map_err(D::Error::custom)
    }
}

macro_rules! text_in_serde {
    ($($type:ty, $pattern:literal, $doc:literal;)*) => {$(
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                serialize_str(self, out)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                deserialize_str(input)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "description": $doc })
            }
        }
    )*};
}

text_in_serde! {
    TargetId, "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", "A target's id.";
    Version, "^[0-9]{8}-[0-9]{6}$", "A snapshot's version: YYYYMMDD-HHMMSS in UTC.";
    Permalink, "^[a-z0-9-]+(/[a-z0-9-]+){1,2}$", "A target's stable path on the site.";
    Sha256, "^[0-9a-f]{64}$", "A SHA-256 in hexadecimal.";
    BlockHash, "^0x[0-9a-f]{64}$", "A block's hash.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_ids_are_dns_labels() {
        for good in ["a", "polkadot-paritydb-prune", "0x", &"a".repeat(40)] {
            assert_eq!(good.parse::<TargetId>().map(|id| id.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", "..", &"a".repeat(41), "ä"] {
            assert!(bad.parse::<TargetId>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn versions_round_trip_and_order_by_time() {
        let early: Version = "20261122-040000".parse().expect("legal");
        let late: Version = "20261122-100000".parse().expect("legal");
        assert!(early < late);
        assert_eq!(early.to_string(), "20261122-040000");
        assert_eq!(Version::from_time(early.time()), early);
        for bad in ["", "20261322-040000", "20261122-040060", "2026-11-22", "20261122-0400000", " 20261122-040000"] {
            assert!(bad.parse::<Version>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn hashes_refuse_upper_case_and_wrong_lengths() {
        assert!("0xAB".parse::<BlockHash>().is_err());
        assert!("ab".repeat(32).parse::<Sha256>().is_ok());
        assert!("AB".repeat(32).parse::<Sha256>().is_err());
        assert!("ab".repeat(33).parse::<Sha256>().is_err());
    }

    #[test]
    fn permalinks_have_two_or_three_segments() {
        assert!("dot/paritydb".parse::<Permalink>().is_ok());
        assert!("dot/paritydb/archive".parse::<Permalink>().is_ok());
        for bad in ["dot", "/dot/paritydb", "dot//x", "dot/../x", "dot/x/", "a/b/c/d"] {
            assert!(bad.parse::<Permalink>().is_err(), "{bad} was accepted");
        }
    }
}
