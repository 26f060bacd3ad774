//! A Kubernetes name that may depend on the target.

use std::fmt;
use std::str::FromStr;

use polkashots_shared::ids::TargetId;

const PLACEHOLDER: &str = "{target}";
/// The longest label that Kubernetes takes, in bytes.
const MAX_LABEL_BYTES: usize = 63;

/// A name in which `{target}` stands for the target's id: `chain-data-node-0`, `{target}`, `snapshots-{target}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    /// The name for `target`.
    pub fn name(&self, target: &TargetId) -> String {
        self.0.replace(PLACEHOLDER, target.as_str())
    }

    /// True where every target has a name of its own.
    pub fn is_per_target(&self) -> bool {
        self.0.contains(PLACEHOLDER)
    }
}

impl FromStr for NamePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected lower-case letters, digits and dashes, in which {target} stands for the target's id, \
                        as in chain-data-node-0 or {target}";
        let label = text.replace(PLACEHOLDER, "t");
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if label.is_empty() || label.len() > MAX_LABEL_BYTES || !label.chars().all(legal) {
            return Err(expected.into());
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(expected.into());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_each_target() {
        let target: TargetId = "polkadot-paritydb-prune".parse().expect("legal");
        let name = |pattern: &str| pattern.parse::<NamePattern>().map(|pattern| pattern.name(&target));
        assert_eq!(name("{target}").as_deref(), Ok("polkadot-paritydb-prune"));
        assert_eq!(name("snapshots-{target}").as_deref(), Ok("snapshots-polkadot-paritydb-prune"));
        assert_eq!(name("chain-data-node-0").as_deref(), Ok("chain-data-node-0"));
        for bad in ["", "Upper", "{other}", "-x", "x-", "a/b", "a.b", "{target"] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad} was accepted");
        }
    }
}
