//! The chains whose genesis hash is built in, and those that a host configures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::BlockHash;
use crate::target::Explorer;

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

/// Chain, Subscan's host, the node that Polkadot-JS Apps connects to, and Statescan's host.
const EXPLORERS: [(&str, &str, &str, Option<&str>); 4] = [
    ("polkadot", "polkadot.subscan.io", "rpc.polkadot.io", Some("polkadot.statescan.io")),
    ("kusama", "kusama.subscan.io", "kusama-rpc.polkadot.io", Some("kusama.statescan.io")),
    ("westend", "westend.subscan.io", "westend-rpc.polkadot.io", Some("westend.statescan.io")),
    ("paseo", "paseo.subscan.io", "paseo.rpc.amforc.com", None),
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

    /// Where people look a block of a built-in chain up; none for any other chain, whatever its name.
    pub fn explorers(&self) -> Vec<Explorer> {
        let built_in = Self::built_in(&self.name).is_some_and(|known| known.genesis_hash == self.genesis_hash);
        let known = EXPLORERS.into_iter().find(|(name, ..)| built_in && *name == self.name);
        let Some((_, subscan, rpc, statescan)) = known else { return Vec::new() };
        let apps = format!("https://polkadot.js.org/apps/?rpc=wss%3A%2F%2F{rpc}#/explorer/query/{{hash}}");
        let links = [
            Some(("Subscan", format!("https://{subscan}/block/{{height}}"))),
            Some(("Polkadot-JS Apps", apps)),
            statescan.map(|host| ("Statescan", format!("https://{host}/#/blocks/{{height}}"))),
        ];
        links.into_iter().flatten().map(|(name, url)| Explorer { name: name.to_owned(), url }).collect()
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

    #[test]
    fn every_built_in_chain_has_explorers_that_name_the_block_and_its_namesake_has_none() {
        for mut chain in Chain::built_in_names().filter_map(Chain::built_in) {
            let explorers = chain.explorers();
            assert!(explorers.len() >= 2, "{}", chain.name);
            for Explorer { url, .. } in explorers {
                assert!(url.contains("{height}") || url.contains("{hash}"), "{url}");
                assert!(url::Url::parse(&url).is_ok(), "{url}");
            }
            chain.genesis_hash = BlockHash([7; 32]);
            assert_eq!(chain.explorers(), []);
        }
    }
}
