//! The targets file: a JSON array of targets, as a ConfigMap mounts it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::chain::Chain;
use crate::ids::TargetId;
use crate::target::{Format, Target};

/// The least hours that a snapshot stays after it left the index.
const MIN_GRACE_HOURS: u32 = 72;

/// Which targets there are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Targets")]
pub struct TargetsSettings {
    /// A JSON file with all targets: an array of {id, permalink, chain, database, pruning, ..}
    #[arg(long, env = "POLKASHOTS_TARGETS", value_name = "FILE")]
    pub targets: PathBuf,
}

impl TargetsSettings {
    /// Reads and checks the file.
    pub fn load(&self) -> Result<BTreeMap<TargetId, Target>, TargetsError> {
        load(&self.targets)
    }
}

/// Says what is wrong with a targets file.
#[derive(Debug, thiserror::Error)]
pub enum TargetsError {
    /// It cannot be read.
    #[error("targets file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a JSON array of objects.
    #[error("targets file {}: {reason}", path.display())]
    NotTargets {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// A target in it is wrong.
    #[error("targets file {}: {place}: {reason}", path.display())]
    Target {
        /// The file.
        path: PathBuf,
        /// Which target: its place and, where it has one, its id.
        place: String,
        /// The field, what was found and what was expected.
        reason: String,
    },
}

/// Reads and checks a targets file. A built-in chain may be given by its name alone: `"chain": "polkadot"`; it has links to
/// explorers unless the target says which.
pub fn load(path: &Path) -> Result<BTreeMap<TargetId, Target>, TargetsError> {
    let bytes = std::fs::read(path).map_err(|source| TargetsError::Unreadable { path: path.to_owned(), source })?;
    let not_targets = |reason: String| TargetsError::NotTargets { path: path.to_owned(), reason };
    let values: Vec<Value> = serde_json::from_slice(&bytes)
        .map_err(|error| not_targets(format!("expected a JSON array of targets: {error}")))?;
    if values.is_empty() {
        return Err(not_targets("expected at least one target, found an empty array".into()));
    }
    let mut targets: BTreeMap<TargetId, Target> = BTreeMap::new();
    for (index, value) in values.into_iter().enumerate() {
        let id = value.get("id").and_then(Value::as_str).unwrap_or("no id");
        let place = format!("target {index} ({id})");
        let wrong = |reason| TargetsError::Target { path: path.to_owned(), place: place.clone(), reason };
        let target = read(value).and_then(|target| check(target, &targets)).map_err(wrong)?;
        targets.insert(target.id.clone(), target);
    }
    Ok(targets)
}

fn read(mut value: Value) -> Result<Target, String> {
    let fields = value.as_object_mut().ok_or("expected an object {\"id\": .., \"permalink\": .., ..}")?;
    if let Some(name) = fields.get("chain").and_then(Value::as_str) {
        let chain = Chain::built_in(name).ok_or_else(|| {
            let known: Vec<_> = Chain::built_in_names().collect();
            format!(
                "chain \"{name}\" is not built in (built in are {}): give {{\"name\": .., \"id\": .., \"genesis_hash\": ..}}",
                known.join(", ")
            )
        })?;
        let chain = serde_json::to_value(chain).map_err(|error| error.to_string())?;
        fields.insert("chain".into(), chain);
    }
    // One field at a time where that is possible, so that the error names it.
    for (name, read_field) in FIELDS {
        if let Some(field) = fields.get(name) {
            read_field(field).map_err(|reason| format!("{name}: {reason}"))?;
        }
    }
    let links_given = value.get("explorers").is_some();
    let mut target: Target = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if !links_given {
        target.explorers = target.chain.explorers();
    }
    Ok(target)
}

type ReadField = fn(&Value) -> Result<(), String>;

/// The fields whose readers' own errors do not say which field they read.
const FIELDS: [(&str, ReadField); 12] = [
    ("id", of_type::<TargetId>),
    ("permalink", of_type::<crate::ids::Permalink>),
    ("chain", of_type::<Chain>),
    ("database", of_type::<crate::ids::DatabaseKind>),
    ("pruning", of_type::<String>),
    ("node", of_type::<Option<crate::target::Node>>),
    ("formats", of_type::<Vec<Format>>),
    ("compression", of_type::<crate::target::Compression>),
    ("retention", of_type::<crate::target::Retention>),
    ("schedule", of_type::<Option<String>>),
    ("time_zone", of_type::<String>),
    ("explorers", of_type::<Vec<crate::target::Explorer>>),
];

fn of_type<T: serde::de::DeserializeOwned>(value: &Value) -> Result<(), String> {
    T::deserialize(value).map(drop).map_err(|error| error.to_string())
}

fn check(target: Target, before: &BTreeMap<TargetId, Target>) -> Result<Target, String> {
    if before.contains_key(&target.id) {
        return Err("id: is another target's too, expected one of its own".into());
    }
    if let Some(other) = before.values().find(|other| other.permalink == target.permalink) {
        return Err(format!("permalink: {} is that of {} too, expected one of its own", target.permalink, other.id));
    }
    if target.retention.keep == 0 {
        return Err("retention.keep: expected at least 1, found 0".into());
    }
    if target.retention.grace_hours < MIN_GRACE_HOURS {
        let found = target.retention.grace_hours;
        return Err(format!("retention.grace_hours: expected at least {MIN_GRACE_HOURS}, found {found}"));
    }
    if !target.formats.contains(&Format::TarZst) {
        return Err("formats: expected \"tar.zst\" among them, it is always published".into());
    }
    let built_in = Chain::built_in(&target.chain.name).filter(|known| known.genesis_hash != target.chain.genesis_hash);
    if let Some(known) = built_in {
        let found = target.chain.genesis_hash;
        return Err(format!("chain.genesis_hash: {} has {}, found {found}", known.name, known.genesis_hash));
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, Result};
    use serde_json::json;

    use super::*;

    fn target(id: &str) -> Value {
        json!({ "id": id, "permalink": format!("dot/{id}"), "chain": "polkadot", "database": "paritydb", "pruning": "256" })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut target = target("dot");
        target[field] = value;
        target
    }

    fn load_json(value: &Value) -> Result<Result<BTreeMap<TargetId, Target>, TargetsError>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("targets.json");
        std::fs::write(&path, value.to_string())?;
        Ok(load(&path))
    }

    #[test]
    fn built_in_chains_are_named_and_others_are_spelled_out() -> Result<()> {
        let mut own = target("own");
        own["chain"] = json!({ "name": "own", "id": "own_local", "genesis_hash": format!("0x{}", "ab".repeat(32)) });
        let targets = load_json(&json!([target("dot"), own]))??;
        let chains: Vec<_> = targets.values().map(|target| target.chain.id.as_str()).collect();
        assert_eq!(chains, ["polkadot", "own_local"]);
        Ok(())
    }

    #[test]
    fn a_built_in_chain_has_its_explorers_unless_the_target_names_its_own() -> Result<()> {
        let own = json!([{ "name": "Mine", "url": "https://explorer.example/{hash}" }]);
        let mut none = with("explorers", json!([]));
        none["id"] = json!("none");
        none["permalink"] = json!("dot/none");
        let mut mine = with("explorers", own);
        mine["id"] = json!("mine");
        mine["permalink"] = json!("dot/mine");
        let targets = load_json(&json!([target("dot"), none, mine]))??;
        let links = |id: &str| targets.iter().find(|(known, _)| known.as_str() == id).map(|(_, t)| t.explorers.clone());
        assert_eq!(links("dot"), Chain::built_in("polkadot").map(|chain| chain.explorers()));
        assert_eq!(links("none"), Some(Vec::new()));
        assert_eq!(links("mine").map(|links| links.len()), Some(1));
        Ok(())
    }

    #[test]
    fn every_mistake_is_told_with_file_target_and_field() -> Result<()> {
        let mistakes = [
            (json!({}), "expected a JSON array"),
            (json!([]), "at least one target"),
            (json!(["dot"]), "target 0 (no id): expected an object"),
            (json!([with("id", json!("Dot"))]), "target 0 (Dot): id: "),
            (json!([with("chain", json!("doge"))]), "chain \"doge\" is not built in"),
            (json!([with("chain", json!({"name": "x"}))]), "target 0 (dot): chain: missing field `id`"),
            (json!([with("database", json!("sqlite"))]), "database: "),
            (json!([with("formats", json!(["zip"]))]), "formats: "),
            (json!([with("formats", json!(["tree"]))]), "expected \"tar.zst\" among them"),
            (json!([with("retention", json!({"keep": 0}))]), "retention.keep"),
            (json!([with("retention", json!({"grace_hours": 1}))]), "retention.grace_hours"),
            (json!([with("retention", json!({"kep": 1}))]), "retention: unknown field `kep`, expected one of `keep`"),
            (json!([with("explorer", json!([]))]), "unknown field `explorer`"),
            (json!([target("a"), target("a")]), "target 1 (a): id: is another target's"),
            (json!([target("a"), with("permalink", json!("dot/a"))]), "target 1 (dot): permalink: dot/a is that of a"),
        ];
        for (file, expected) in mistakes {
            let error = load_json(&file)?.err().with_context(|| format!("{file} was accepted"))?.to_string();
            assert!(error.starts_with("targets file ") && error.contains("targets.json"), "{error}");
            assert!(error.contains(expected), "expected {expected:?} in {error:?}");
        }
        Ok(())
    }
}
