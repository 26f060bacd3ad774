//! Where people look a block up: the explorers of the built-in chains, here and nowhere else.

use polkashots_shared::target::Explorer;

/// Chain, Subscan's host, the node that Polkadot-JS Apps connects to, and Statescan's host.
const BUILT_IN: [(&str, &str, &str, Option<&str>); 4] = [
    ("polkadot", "polkadot.subscan.io", "rpc.polkadot.io", Some("polkadot.statescan.io")),
    ("kusama", "kusama.subscan.io", "kusama-rpc.polkadot.io", Some("kusama.statescan.io")),
    ("westend", "westend.subscan.io", "westend-rpc.polkadot.io", Some("westend.statescan.io")),
    ("paseo", "paseo.subscan.io", "paseo.rpc.amforc.com", None),
];

/// The explorers of a built-in chain; none for any other.
pub(super) fn of_chain(chain: &str) -> Vec<Explorer> {
    let Some((_, subscan, rpc, statescan)) = BUILT_IN.into_iter().find(|(name, ..)| *name == chain) else {
        return Vec::new();
    };
    let subscan = ("Subscan", format!("https://{subscan}/block/{{height}}"));
    let apps =
        ("Polkadot-JS Apps", format!("https://polkadot.js.org/apps/?rpc=wss%3A%2F%2F{rpc}#/explorer/query/{{hash}}"));
    let statescan = statescan.map(|host| ("Statescan", format!("https://{host}/#/blocks/{{height}}")));
    [Some(subscan), Some(apps), statescan]
        .into_iter()
        .flatten()
        .map(|(name, url)| Explorer { name: name.to_owned(), url })
        .collect()
}

#[cfg(test)]
mod tests {
    use polkashots_shared::chain::Chain;

    use super::*;

    #[test]
    fn every_built_in_chain_has_explorers_that_name_the_block() {
        for chain in Chain::built_in_names() {
            let explorers = of_chain(chain);
            assert!(explorers.len() >= 2, "{chain}");
            for explorer in explorers {
                assert!(explorer.url.contains("{height}") || explorer.url.contains("{hash}"), "{}", explorer.url);
                assert!(url::Url::parse(&explorer.url).is_ok(), "{}", explorer.url);
            }
        }
    }
}
