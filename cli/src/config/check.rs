//! Turns the file as written into [`Config`], collecting every problem instead of stopping at the first.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use polkashots_shared::chain::Chain;
use polkashots_shared::ids::{BlockHash, DatabaseKind, Permalink, TargetId};
use polkashots_shared::target::{Compression, Explorer, Format, Node, Retention, Target};
use toml::Spanned;
use url::Url;

use super::file::{
    ChainSection, CompressionSection, ExplorerSection, ExportBlocksSection, File, QuiesceSection, RetentionSection,
    SigningSection, SiteSection, SourceSection, TargetSection, Text,
};
use super::problem::{ConfigError, Positions, Problem, nearest};
use super::{Config, ExportBlocks, Method, Quiesce, Signing, Site, Source, TargetConfig};
use crate::schedule::Schedule;

/// Longest time for which a node may be stopped, in seconds.
const MAX_QUIESCE_SECONDS: i64 = 24 * 3600;
/// Longest time that an export of blocks may take, in seconds.
const MAX_EXPORT_SECONDS: i64 = 7 * 24 * 3600;
/// The format that needs a node.
const BLOCKS: &str = "blocks.zst";
/// Memory use grows with the frame, in bytes.
const FRAME_SIZE_BYTES: RangeInclusive<i64> = 256 * 1024..=64 * 1024 * 1024;

pub(super) fn check(file: File, positions: &Positions<'_>) -> Result<Config, ConfigError> {
    let mut check = Check { positions, problems: Vec::new() };
    let chains = check.chains(&file.chains);
    let config = Config {
        path: positions.path().to_owned(),
        state_dir: check.path_or(file.state_dir.as_ref(), "state_dir", "state"),
        store_dir: check.path_or(file.store_dir.as_ref(), "store_dir", "bucket"),
        site_dir: check.path_or(file.site_dir.as_ref(), "site_dir", "site"),
        site: check.site(&file.site),
        signing: check.signing(file.signing.as_ref()),
        export_blocks: file.export_blocks.as_ref().map(|section| check.export_blocks(section)),
        targets: check.targets(&file.target, &chains),
    };
    check.directories(&config);
    check.blocks_have_a_node(&file);
    if check.problems.is_empty() {
        return Ok(config);
    }
    check.problems.sort_by_key(|problem| problem.line);
    Err(ConfigError::Invalid(check.problems))
}

/// A chain that targets may name, with the explorers that its section gives.
struct KnownChain {
    chain: Chain,
    explorers: Vec<Explorer>,
}

struct Check<'a> {
    positions: &'a Positions<'a>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn report(&mut self, span: Range<usize>, message: String) {
        self.problems.push(self.positions.problem(Some(span), message));
    }

    /// Reports that the value of `key` is not what was expected.
    fn wrong(&mut self, span: Range<usize>, key: &str, value: impl Display, expected: impl Display) {
        self.report(span, format!("{key} = \"{value}\": expected {expected}"));
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, text: &Text, key: &str) -> Option<T> {
        match text.get_ref().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.report(text.span(), format!("{key}: {error}"));
                None
            }
        }
    }

    fn filled(&mut self, text: &Text, key: &str) -> String {
        if text.get_ref().trim().is_empty() {
            self.wrong(text.span(), key, text.get_ref(), "some text");
        }
        text.get_ref().clone()
    }

    fn number<T: TryFrom<i64>>(
        &mut self,
        value: Option<&Spanned<i64>>,
        key: &str,
        range: RangeInclusive<i64>,
        default: T,
    ) -> T {
        let Some(value) = value else { return default };
        let number = *value.get_ref();
        match T::try_from(number) {
            Ok(converted) if range.contains(&number) => converted,
            _ => {
                let (low, high) = (range.start(), range.end());
                let expected = if *high == i64::MAX { format!("at least {low}") } else { format!("{low} to {high}") };
                self.report(value.span(), format!("{key} = {number}: expected {expected}"));
                default
            }
        }
    }

    fn path(&mut self, text: &Text, key: &str) -> PathBuf {
        let text = self.filled(text, key);
        self.resolve(&text)
    }

    /// A program by its name, which the `PATH` finds, or by its path.
    fn program(&mut self, text: &Text, key: &str) -> PathBuf {
        let text = self.filled(text, key);
        if text.contains('/') { self.resolve(&text) } else { text.into() }
    }

    fn path_or(&mut self, text: Option<&Text>, key: &str, default: &str) -> PathBuf {
        match text {
            Some(text) => self.path(text, key),
            None => self.resolve(default),
        }
    }

    fn resolve(&self, text: &str) -> PathBuf {
        let folder = self.positions.path().parent().unwrap_or_else(|| Path::new(""));
        folder.join(text)
    }

    fn site(&mut self, section: &SiteSection) -> Site {
        let listen = section.listen.as_ref().and_then(|text| self.listen(text));
        Site {
            title: section.title.as_ref().map_or_else(|| "Polkashots".into(), |text| self.filled(text, "site.title")),
            base_url: section.base_url.as_ref().and_then(|text| self.base_url(text, "site.base_url")),
            listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
            source: section.source.as_ref().map(|text| self.path(text, "site.source")),
            jekyll: section.jekyll.as_ref().map(|text| self.program(text, "site.jekyll")),
            mirrors: section.mirrors.iter().filter_map(|text| self.base_url(text, "site.mirrors")).collect(),
        }
    }

    fn listen(&mut self, text: &Text) -> Option<SocketAddr> {
        let parsed = text.get_ref().parse().ok();
        if parsed.is_none() {
            let expected = "an address and a port, as in 127.0.0.1:8080 or [::]:8080";
            self.wrong(text.span(), "site.listen", text.get_ref(), expected);
        }
        parsed
    }

    fn base_url(&mut self, text: &Text, key: &str) -> Option<Url> {
        match super::base_url(text.get_ref()) {
            Ok(url) => Some(url),
            Err(expected) => {
                self.wrong(text.span(), key, text.get_ref(), expected);
                None
            }
        }
    }

    fn signing(&mut self, section: Option<&SigningSection>) -> Signing {
        let Some(section) = section else {
            let message = "section [signing] is missing: expected [signing] with secret_key = \"FILE\"; \
                           make a key with: polkashots keygen --out DIR";
            self.problems.push(self.positions.problem(None, message));
            return Signing { secret_key: PathBuf::new(), password_file: None, old_public_keys: Vec::new() };
        };
        Signing {
            secret_key: self.path(&section.secret_key, "signing.secret_key"),
            password_file: section.password_file.as_ref().map(|text| self.path(text, "signing.password_file")),
            old_public_keys: section
                .old_public_keys
                .iter()
                .map(|text| self.path(text, "signing.old_public_keys"))
                .collect(),
        }
    }

    fn chains(&mut self, sections: &BTreeMap<String, Spanned<ChainSection>>) -> BTreeMap<String, KnownChain> {
        let built_in = Chain::built_in_names().filter_map(Chain::built_in);
        let mut chains: BTreeMap<String, KnownChain> =
            built_in.map(|chain| (chain.name.clone(), KnownChain { explorers: chain.explorers(), chain })).collect();
        for (name, section) in sections {
            if Chain::built_in(name).is_some() {
                let message =
                    format!("[chains.{name}]: the chain is built in: remove the section or name it otherwise");
                self.report(section.span(), message);
                continue;
            }
            if let Some(chain) = self.chain(name, section.get_ref()) {
                chains.insert(name.clone(), chain);
            }
        }
        chains
    }

    fn chain(&mut self, name: &str, section: &ChainSection) -> Option<KnownChain> {
        let id = section.id.as_ref().map_or_else(|| name.to_owned(), |text| text.get_ref().clone());
        let legal = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        if let Some(text) = section.id.as_ref().filter(|_| !legal || id.starts_with('.')) {
            let expected = "the name of a folder under chains/, as in ksmcc3";
            self.wrong(text.span(), &format!("chains.{name}.id"), &id, expected);
        }
        let genesis_hash: BlockHash = self.parsed(&section.genesis_hash, &format!("chains.{name}.genesis_hash"))?;
        let explorers = self.explorers(&section.explorers, &format!("chains.{name}"));
        Some(KnownChain { chain: Chain { name: name.to_owned(), id, genesis_hash }, explorers })
    }

    fn explorers(&mut self, sections: &[Spanned<ExplorerSection>], of: &str) -> Vec<Explorer> {
        let mut explorers = Vec::new();
        for section in sections {
            let ExplorerSection { name, url } = section.get_ref();
            let text = url.get_ref();
            let web = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if !web || !(text.contains("{height}") || text.contains("{hash}")) {
                let expected = "an http(s) address with {height} or {hash} in it";
                self.wrong(url.span(), &format!("{of}.explorers.url"), text, expected);
                continue;
            }
            explorers.push(Explorer { name: name.clone(), url: text.clone() });
        }
        explorers
    }

    fn targets(
        &mut self,
        sections: &[Spanned<TargetSection>],
        chains: &BTreeMap<String, KnownChain>,
    ) -> BTreeMap<TargetId, TargetConfig> {
        if sections.is_empty() {
            let message = "no target: expected at least one [[target]] section";
            self.problems.push(self.positions.problem(None, message));
        }
        let mut targets: BTreeMap<TargetId, TargetConfig> = BTreeMap::new();
        for section in sections {
            let section = section.get_ref();
            let Some(config) = self.target(section, chains) else { continue };
            let (id, permalink) = (&config.target.id, &config.target.permalink);
            if targets.contains_key(id) {
                self.report(
                    section.id.span(),
                    format!("target.id = \"{id}\": an earlier target has it, expected another"),
                );
                continue;
            }
            if let Some(other) = targets.values().find(|other| other.target.permalink == *permalink) {
                let message = format!(
                    "target.permalink = \"{permalink}\": target \"{}\" has it, expected another",
                    other.target.id
                );
                self.report(section.permalink.span(), message);
            }
            targets.insert(id.clone(), config);
        }
        targets
    }

    fn target(&mut self, section: &TargetSection, chains: &BTreeMap<String, KnownChain>) -> Option<TargetConfig> {
        let id: Option<TargetId> = self.parsed(&section.id, "target.id");
        let permalink: Option<Permalink> = self.parsed(&section.permalink, "target.permalink");
        let chain = self.known_chain(&section.chain, chains);
        let database: Option<DatabaseKind> = self.parsed(&section.database, "target.database");
        let pruning = self.pruning(&section.pruning);
        let (schedule, time_zone) = self.schedule(section);
        let formats = self.formats(section.formats.as_deref());
        let compression = self.compression(&section.compression);
        let retention = self.retention(&section.retention);
        let own_explorers = section.explorers.as_ref().map(|list| self.explorers(list, "target"));
        let node = section.node.as_ref().map(|node| Node {
            name: self.filled(&node.name, "target.node.name"),
            version: self.filled(&node.version, "target.node.version"),
        });
        let source = self.source(&section.source);
        let chain = chain?;
        let target = Target {
            id: id?,
            permalink: permalink?,
            chain: chain.chain.clone(),
            database: database?,
            pruning,
            node,
            formats,
            compression,
            retention,
            schedule,
            time_zone,
            explorers: own_explorers.unwrap_or_else(|| chain.explorers.clone()),
        };
        Some(TargetConfig { target, source })
    }

    fn known_chain<'c>(&mut self, text: &Text, chains: &'c BTreeMap<String, KnownChain>) -> Option<&'c KnownChain> {
        let name = text.get_ref();
        let found = chains.get(name);
        if found.is_none() {
            let names = || chains.keys().map(String::as_str);
            let guess = nearest(name, names()).map(|near| format!("did you mean \"{near}\"? ")).unwrap_or_default();
            let known = names().collect::<Vec<_>>().join(", ");
            let message = format!(
                "target.chain = \"{name}\": unknown chain; {guess}known are {known}; any other needs a section [chains.{name}]"
            );
            self.report(text.span(), message);
        }
        found
    }

    fn pruning(&mut self, text: &Text) -> String {
        let value = text.get_ref();
        let blocks = value.parse::<u32>().is_ok_and(|blocks| blocks > 0);
        if !blocks && !matches!(value.as_str(), "archive" | "archive-canonical") {
            let expected = "what the node's --state-pruning was: a number of blocks, archive or archive-canonical";
            self.wrong(text.span(), "target.pruning", value, expected);
        }
        value.clone()
    }

    fn schedule(&mut self, section: &TargetSection) -> (Option<String>, String) {
        let zone = section.time_zone.as_ref().map_or("UTC", |text| text.get_ref());
        if let Some(text) = section.time_zone.as_ref().filter(|text| text.get_ref().parse::<chrono_tz::Tz>().is_err()) {
            self.wrong(
                text.span(),
                "target.time_zone",
                text.get_ref(),
                "an IANA time zone, as in Europe/Berlin or UTC",
            );
        }
        let Some(text) = &section.schedule else { return (None, zone.to_owned()) };
        if let Err(error) = Schedule::parse(text.get_ref(), "UTC") {
            let expected = format!("a cron expression of five fields, as in 0 4 * * * ({error})");
            self.wrong(text.span(), "target.schedule", text.get_ref(), expected);
        }
        (Some(text.get_ref().clone()), zone.to_owned())
    }

    fn formats(&mut self, texts: Option<&[Text]>) -> Vec<Format> {
        const KNOWN: [(&str, Format); 4] = [
            ("tar.zst", Format::TarZst),
            ("tar.lz4", Format::TarLz4),
            ("tree", Format::Tree),
            (BLOCKS, Format::BlocksZst),
        ];
        let mut formats = vec![Format::TarZst];
        for text in texts.unwrap_or_default() {
            match KNOWN.into_iter().find(|(name, _)| *name == text.get_ref()) {
                Some((_, format)) if formats.contains(&format) => {}
                Some((_, format)) => formats.push(format),
                None => {
                    let known = KNOWN.map(|(name, _)| name).join(", ");
                    self.wrong(text.span(), "target.formats", text.get_ref(), format!("any of {known}"));
                }
            }
        }
        formats
    }

    fn compression(&mut self, section: &CompressionSection) -> Compression {
        let default = Compression::default();
        Compression {
            level: self.number(section.level.as_ref(), "target.compression.level", 1..=19, default.level),
            frame_size_bytes: self.number(
                section.frame_size_bytes.as_ref(),
                "target.compression.frame_size_bytes",
                FRAME_SIZE_BYTES,
                default.frame_size_bytes,
            ),
            threads: self.number(section.threads.as_ref(), "target.compression.threads", 0..=256, default.threads),
        }
    }

    fn retention(&mut self, section: &RetentionSection) -> Retention {
        let default = Retention::default();
        let most = i64::from(u32::MAX);
        let mut number = |value: &Option<Spanned<i64>>, key: &str, least: i64, default: u32| {
            self.number(value.as_ref(), &format!("target.retention.{key}"), least..=most, default)
        };
        Retention {
            keep: number(&section.keep, "keep", 1, default.keep),
            grace_hours: number(&section.grace_hours, "grace_hours", 72, default.grace_hours),
            failure_hours: number(&section.failure_hours, "failure_hours", 1, default.failure_hours),
        }
    }

    fn source(&mut self, section: &SourceSection) -> Source {
        let method = match section.method.as_ref().map(|text| text.get_ref().as_str()) {
            None | Some("copy") => Method::Copy,
            Some("btrfs") => Method::Btrfs,
            Some(other) => {
                let span = section.method.as_ref().map(Spanned::span).unwrap_or_default();
                self.wrong(span, "target.source.method", other, "copy or btrfs");
                Method::Copy
            }
        };
        let quiesce = section.quiesce.as_ref().map(|section| self.quiesce(section));
        if let Some(section) = section.quiesce.as_ref().filter(|_| method == Method::Btrfs) {
            let message = "target.source.quiesce: a btrfs snapshot is atomic and stops no node: expected method = \"copy\" \
                           or no quiesce";
            self.report(section.stop.span(), message.to_owned());
        }
        let snapshots = section.snapshots.as_ref().map(|text| self.path(text, "target.source.snapshots"));
        if let Some(text) = section.snapshots.as_ref().filter(|_| method == Method::Copy) {
            let expected = "no such key with method = \"copy\": it says where btrfs snapshots lie";
            self.wrong(text.span(), "target.source.snapshots", text.get_ref(), expected);
        }
        Source { path: self.path(&section.path, "target.source.path"), method, quiesce, snapshots }
    }

    fn quiesce(&mut self, section: &QuiesceSection) -> Quiesce {
        let key = "target.source.quiesce.deadline_seconds";
        let seconds: u64 = self.number(section.deadline_seconds.as_ref(), key, 1..=MAX_QUIESCE_SECONDS, 3600);
        Quiesce {
            stop: self.command(&section.stop, "stop"),
            start: self.command(&section.start, "start"),
            deadline: Duration::from_secs(seconds),
        }
    }

    fn command(&mut self, words: &Spanned<Vec<String>>, key: &str) -> Vec<String> {
        if words.get_ref().first().is_none_or(|program| program.trim().is_empty()) {
            let expected = format!("a program and its arguments, as in [\"systemctl\", \"{key}\", \"polkadot\"]");
            self.report(words.span(), format!("target.source.quiesce.{key}: empty, expected {expected}"));
        }
        words.get_ref().clone()
    }

    fn export_blocks(&mut self, section: &ExportBlocksSection) -> ExportBlocks {
        let deadline = section.deadline_seconds.as_ref();
        let seconds: u64 = self.number(deadline, "export_blocks.deadline_seconds", 1..=MAX_EXPORT_SECONDS, 12 * 3600);
        ExportBlocks {
            node_binary: self.program(&section.node_binary, "export_blocks.node_binary"),
            node_chain: section.node_chain.as_ref().map(|text| self.filled(text, "export_blocks.node_chain")),
            deadline: Duration::from_secs(seconds),
        }
    }

    /// Blocks are exported by the chain's own node; without one, each of the target's runs would fail.
    fn blocks_have_a_node(&mut self, file: &File) {
        if file.export_blocks.is_some() {
            return;
        }
        let texts = file.target.iter().filter_map(|section| section.get_ref().formats.as_ref()).flatten();
        for text in texts.filter(|text| text.get_ref() == BLOCKS) {
            let expected = "a section [export_blocks] with node_binary, the chain's own node, which exports them";
            self.wrong(text.span(), "target.formats", text.get_ref(), expected);
        }
    }

    /// The directories must not lie in each other: the store is served whole, the state must not be.
    fn directories(&mut self, config: &Config) {
        let named =
            [("state_dir", &config.state_dir), ("store_dir", &config.store_dir), ("site_dir", &config.site_dir)];
        for (position, (name, path)) in named.iter().enumerate() {
            for (other_name, other) in &named[position + 1..] {
                if path.starts_with(other) || other.starts_with(path) {
                    let message = format!(
                        "{name} = \"{}\" and {other_name} = \"{}\": one lies in the other, expected separate directories",
                        path.display(),
                        other.display()
                    );
                    self.problems.push(self.positions.problem(None, message));
                }
            }
        }
    }
}
