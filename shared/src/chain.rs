//! The chains whose genesis hash is built in, and those that a host configures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::BlockHash;

/// A chain, as operators name it and as its node lays it out on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chain {
    /// What `--chain` takes: `polkadot`.
    pub name: String,
    /// The folder under `chains/`: `polkadot`, `ksmcc3`, `westend2`, `paseo`.
    pub id: String,
    /// The hash of block 0.
    pub genesis_hash: BlockHash,
}

/// Name, folder and genesis hash of the built-in chains.
const BUILT_IN: [(&str, &str, &str); 4] = [
    ("polkadot", "polkadot", "0x91b171bb158e2d3848fa23a9f1c25182fb8e20313b2c1eb49219da7a70ce90c3"),
    ("kusama", "ksmcc3", "0xb0a8d493285c2df73290dfb7e61f870f17b41801197a149ca93654499ea3dafe"),
    ("westend", "westend2", "0xe143f23803ac50e8f6f8e62695d1ce9e4e1d68aa36c1cd2cfd15340213f3423e"),
    ("paseo", "paseo", "0x77afd6190f1554ad45fd0d31aee62aacc33c6db0ea801129acb813f913e0764f"),
];

impl Chain {
    /// The built-in chain of that name.
    pub fn built_in(name: &str) -> Option<Self> {
        let (name, id, genesis) = BUILT_IN.into_iter().find(|(known, ..)| *known == name)?;
        Some(Self { name: name.into(), id: id.into(), genesis_hash: genesis.parse().ok()? })
    }

    /// The names of all built-in chains.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.into_iter().map(|(name, ..)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_chain_parses() {
        assert_eq!(Chain::built_in_names().filter_map(Chain::built_in).count(), BUILT_IN.len());
        assert_eq!(Chain::built_in("kusama").map(|chain| chain.id), Some("ksmcc3".into()));
        assert_eq!(Chain::built_in("kulupu"), None);
    }
}
