//! The chains of the targets, each with a page of its own.

use std::collections::BTreeMap;

use polkashots_shared::chain::Chain;

use super::{SiteInput, SiteSettings, SiteTarget};

/// Targets by the chain's slug, in the targets' order.
pub fn of(input: &SiteInput) -> BTreeMap<String, Vec<&SiteTarget>> {
    let mut chains: BTreeMap<String, Vec<&SiteTarget>> = BTreeMap::new();
    for target in &input.targets {
        chains.entry(slug(&target.target.chain)).or_default().push(target);
    }
    chains
}

/// What names a chain in an address: its name for the built-in ones; others have a piece of their genesis hash with it,
/// because two hosts' private chains may well have the same name.
pub fn slug(chain: &Chain) -> String {
    if Chain::built_in(&chain.name).is_some_and(|known| known.genesis_hash == chain.genesis_hash) {
        return chain.name.clone();
    }
    let name: String =
        chain.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let name: String = name.trim_matches('-').chars().take(40).collect();
    let genesis: String = chain.genesis_hash.to_string().chars().skip(2).take(8).collect();
    if name.is_empty() { genesis } else { format!("{name}-{genesis}") }
}

/// The path of a chain's page.
pub fn path(settings: &SiteSettings, slug: &str) -> String {
    format!("{}/chains/{slug}/", settings.base_path())
}

/// A chain's name with only what may stand in front matter.
pub fn plain(name: &str) -> String {
    let plain: String =
        name.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.')).take(80).collect();
    let plain = plain.trim();
    if plain.is_empty() { "Chain".to_owned() } else { plain.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_plain_and_tell_chains_of_one_name_apart() {
        let chain = |name: &str, genesis: &str| Chain {
            name: name.into(),
            id: "x".into(),
            genesis_hash: format!("0x{}", genesis.repeat(32)).parse().expect("a hash"),
        };
        let kusama = Chain::built_in("kusama").expect("built in");
        assert_eq!(slug(&kusama), "kusama");
        assert_eq!(slug(&chain("kusama", "ab")), "kusama-abababab");
        assert_eq!(slug(&chain("\"><script>/..", "01")), "script-01010101");
        assert_eq!(slug(&chain("…", "01")), "01010101");
        assert_eq!(plain("\"My: chain\"\n"), "My chain");
    }
}
