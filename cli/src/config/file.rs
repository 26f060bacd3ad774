//! The config file as it is written: every key optional where a default exists, every value with its place.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::problem::{ConfigError, Positions, Problem, nearest};

/// A value with its place in the text.
pub(super) type Text = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub state_dir: Option<Text>,
    pub store_dir: Option<Text>,
    pub site_dir: Option<Text>,
    #[serde(default)]
    pub site: SiteSection,
    pub signing: Option<SigningSection>,
    pub export_blocks: Option<ExportBlocksSection>,
    #[serde(default)]
    pub chains: BTreeMap<String, Spanned<ChainSection>>,
    #[serde(default)]
    pub target: Vec<Spanned<TargetSection>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SiteSection {
    pub title: Option<Text>,
    pub base_url: Option<Text>,
    pub listen: Option<Text>,
    pub source: Option<Text>,
    pub jekyll: Option<Text>,
    #[serde(default)]
    pub mirrors: Vec<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SigningSection {
    pub secret_key: Text,
    pub password_file: Option<Text>,
    #[serde(default)]
    pub old_public_keys: Vec<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportBlocksSection {
    pub node_binary: Text,
    pub node_chain: Option<Text>,
    pub deadline_seconds: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChainSection {
    pub id: Option<Text>,
    pub genesis_hash: Text,
    #[serde(default)]
    pub explorers: Vec<Spanned<ExplorerSection>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplorerSection {
    pub name: String,
    pub url: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetSection {
    pub id: Text,
    pub permalink: Text,
    pub chain: Text,
    pub database: Text,
    pub pruning: Text,
    pub source: SourceSection,
    pub schedule: Option<Text>,
    pub time_zone: Option<Text>,
    pub formats: Option<Vec<Text>>,
    #[serde(default)]
    pub compression: CompressionSection,
    #[serde(default)]
    pub retention: RetentionSection,
    pub explorers: Option<Vec<Spanned<ExplorerSection>>>,
    pub node: Option<NodeSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceSection {
    pub path: Text,
    pub method: Option<Text>,
    pub quiesce: Option<QuiesceSection>,
    pub snapshots: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuiesceSection {
    pub stop: Spanned<Vec<String>>,
    pub start: Spanned<Vec<String>>,
    pub deadline_seconds: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CompressionSection {
    pub level: Option<Spanned<i64>>,
    pub frame_size_bytes: Option<Spanned<i64>>,
    pub threads: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetentionSection {
    pub keep: Option<Spanned<i64>>,
    pub grace_hours: Option<Spanned<i64>>,
    pub failure_hours: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeSection {
    pub name: Text,
    pub version: Text,
}

/// Reads the text; an unknown key is an error that lists the known ones.
pub(super) fn parse(text: &str, positions: &Positions<'_>) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Invalid(vec![explain(&error, positions)]))
}

fn explain(error: &toml::de::Error, positions: &Positions<'_>) -> Problem {
    let message = error.message();
    if let Some((key, known)) = unknown_field(message) {
        return positions.problem(error.span(), unknown_key_message(key, &known));
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return positions.problem(error.span(), format!("key {} is missing", key.replace('`', "\"")));
    }
    let line = error.span().map(|span| positions.text_of_line(&span)).unwrap_or_default();
    let found = if line.is_empty() { String::new() } else { format!(", in: {line}") };
    positions.problem(error.span(), format!("{}{found}", message.replace('\n', ", ").replace('`', "\"")))
}

fn unknown_key_message(key: &str, known: &[&str]) -> String {
    let guess =
        nearest(key, known.iter().copied()).map(|name| format!("did you mean \"{name}\"? ")).unwrap_or_default();
    format!("unknown key \"{key}\": {guess}known keys here are {}", known.join(", "))
}

/// Takes serde's message about an unknown field apart: the field and the known ones.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).collect();
    Some((key, known))
}
