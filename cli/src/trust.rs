//! Whom and what `restore` and `verify` believe, as flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use polkashots_importer::{Key, Trust};
use polkashots_shared::ids::{BlockHash, Height};

use crate::keygen::looks_like_key;

/// What a snapshot must be signed with and what it must be.
#[derive(Debug, Args)]
#[command(next_help_heading = "Trust")]
pub struct TrustArgs {
    /// A pinned public key: a minisign .pub file, or its one line of text; may be given several times
    #[arg(long = "key", env = "POLKASHOTS_KEY", value_name = "FILE|KEY", value_delimiter = ',', required = true)]
    pub keys: Vec<String>,
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
    #[arg(long, env = "POLKASHOTS_MAX_AGE", value_name = "AGE", value_parser = parse_age)]
    pub max_age: Option<Duration>,
    /// Accept a snapshot older than the newest one ever restored here
    #[arg(long)]
    pub allow_older: bool,
}

impl TrustArgs {
    /// As the importer takes it.
    pub fn to_trust(&self) -> Trust {
        let key = |text: &String| {
            if looks_like_key(text) { Key::Text(text.clone()) } else { Key::File(PathBuf::from(text)) }
        };
        Trust {
            keys: self.keys.iter().map(key).collect(),
            chain: self.chain.clone(),
            genesis: self.genesis,
            min_height: self.min_height,
            max_age: self.max_age,
            allow_older: self.allow_older,
        }
    }
}

/// Reads a number with a unit: `90s`, `90m`, `36h`, `3d`.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number with its unit, as in 90s, 90m, 36h or 3d".to_owned();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(expected()),
    };
    let count: u64 = digits.parse().map_err(|_| expected())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_unit() {
        assert_eq!(parse_age("36h"), Ok(Duration::from_secs(36 * 3600)));
        assert_eq!(parse_age("3d"), Ok(Duration::from_secs(3 * 24 * 3600)));
        for bad in ["", "3", "h", "3w", "-1h", "99999999999999999999s", "9999999999999999999d"] {
            assert!(parse_age(bad).is_err(), "{bad} was accepted");
        }
    }
}
