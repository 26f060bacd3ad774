//! `_data/*.json`: what the templates are filled with, every number and time already in words.

use chrono::{DateTime, Utc};
use polkashots_shared::failure::Failure;
use polkashots_shared::manifest::{Artifact, FileRef, Manifest};
use polkashots_shared::names;
use polkashots_shared::rotation::Announced;
use polkashots_shared::target::{Explorer, Format};
use serde_json::{Value, json};
use url::Url;

use super::chart::{self, Sample};
use super::{SiteInput, SiteSettings, SiteSnapshot, SiteTarget, chains, freshness};

/// The same value without the characters that no page or feed may hold: control characters, those that XML refuses, and
/// those that turn the direction of what follows, with which a name could look like another.
pub fn printable(mut value: Value) -> Value {
    clean(&mut value);
    value
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => text.retain(|c| c == '\n' || is_printable(c)),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        _ => {}
    }
}

/// True for a character that may stand in a line of a page.
pub fn is_printable(c: char) -> bool {
    let turns_direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let no_character = u32::from(c) & 0xfffe == 0xfffe;
    !c.is_control() && !turns_direction && !no_character
}

/// `_data/host.json`: what is true of the whole site.
pub fn host(settings: &SiteSettings, input: &SiteInput) -> Value {
    let announced = |key: &Announced| {
        json!({
            "public_key": key.key.to_base64(),
            "key_id": key.key.id().to_string(),
            "by": key.by.to_string(),
            "at": machine_time(key.at),
            "at_text": human_time(key.at),
        })
    };
    let keys = input.keys.as_ref();
    let newest =
        input.targets.iter().filter_map(|target| target.snapshots.first()).map(|s| s.manifest.created_at).max();
    json!({
        "title": settings.title,
        "address": settings.address(),
        "base_path": settings.base_path(),
        "archive_url": settings.url_of(""),
        "public_key": input.public_key.to_base64(),
        "key_id": input.public_key.id().to_string(),
        "has_keys": keys.is_some(),
        "key_announced": keys.and_then(|keys| keys.of(&input.public_key)).map(announced),
        "next_keys": keys.map_or(Vec::new(), |keys| keys.after(&input.public_key).into_iter().map(announced).collect()),
        "updated": newest.map_or_else(|| machine_time(DateTime::UNIX_EPOCH), machine_time),
    })
}

/// `_data/targets.json`: every target, ordered by id.
pub fn targets(settings: &SiteSettings, input: &SiteInput) -> Value {
    input.targets.iter().map(|target| of_target(settings, target)).collect()
}

/// `_data/target_by_id.json`: the same, by id.
pub fn target_by_id(settings: &SiteSettings, input: &SiteInput) -> Value {
    let by_id = |target: &SiteTarget| (target.target.id.to_string(), of_target(settings, target));
    Value::Object(input.targets.iter().map(by_id).collect())
}

/// `_data/chains.json`: every chain with its targets, in the targets' order.
pub fn chains(settings: &SiteSettings, input: &SiteInput) -> Value {
    let chains = chains::of(input);
    let of_chain = |(slug, targets): (&String, &Vec<&SiteTarget>)| {
        json!({
            "slug": slug,
            "path": chains::path(settings, slug),
            "name": targets[0].target.chain.name,
            "id": targets[0].target.chain.id,
            "genesis_hash": targets[0].target.chain.genesis_hash,
            "target_ids": targets.iter().map(|target| &target.target.id).collect::<Vec<_>>(),
        })
    };
    chains.iter().map(of_chain).collect()
}

fn of_target(settings: &SiteSettings, site_target: &SiteTarget) -> Value {
    let SiteTarget { target, snapshots, failures } = site_target;
    let newest = snapshots.first().map(|snapshot| snapshot.manifest.version.time());
    let due = newest.and_then(|newest| freshness::next_due(target, newest));
    let failed_since = failures.iter().find(|failure| Some(failure.version.time()) > newest);
    let history: Vec<Sample> = snapshots.iter().rev().filter_map(of_history).collect();
    let snapshots: Vec<Value> = snapshots.iter().map(|s| of_snapshot(settings, s, &target.explorers)).collect();
    json!({
        "chain_path": chains::path(settings, &chains::slug(&target.chain)),
        "due": due.map_or_else(String::new, |due| machine_time(due.at)),
        "due_text": due.map_or_else(String::new, |due| human_time(due.at)),
        "late_after": due.map_or_else(String::new, |due| machine_time(due.late_after)),
        "failed_since": failed_since.map(of_failure),
        "chart": chart::of(&history),
        "id": target.id,
        "path": format!("{}/targets/{}/", settings.base_path(), target.id),
        "permalink": target.permalink,
        "chain": target.chain.name,
        "chain_id": target.chain.id,
        "genesis_hash": target.chain.genesis_hash,
        "database": target.database,
        "folder": target.database.folder(),
        "pruning": target.pruning,
        "schedule": target.schedule.clone().unwrap_or_default(),
        "time_zone": target.time_zone,
        "keep": target.retention.keep,
        "latest": snapshots.first(),
        "snapshots": snapshots,
        "failures": failures.iter().map(of_failure).collect::<Vec<_>>(),
    })
}

fn of_history(snapshot: &SiteSnapshot) -> Option<Sample> {
    let archive = archive(&snapshot.manifest)?;
    let time = snapshot.manifest.version.time();
    Some(Sample { time, download: archive.size, extracted: archive.uncompressed_size })
}

/// The artifact that most people want.
fn archive(manifest: &Manifest) -> Option<&Artifact> {
    manifest.artifact(Format::TarZst).or(manifest.artifacts.first())
}

fn of_snapshot(settings: &SiteSettings, snapshot: &SiteSnapshot, explorers: &[Explorer]) -> Value {
    let manifest = &snapshot.manifest;
    let (target, version) = (&manifest.target, manifest.version);
    let archive = archive(manifest);
    let sums = names::sums_key(target, version);
    json!({
        "target": target,
        "version": version,
        "created_at": machine_time(manifest.created_at),
        "created_text": human_time(manifest.created_at),
        "height": grouped(manifest.block.height.into()),
        "hash": manifest.block.hash,
        "best_height": grouped(manifest.block.best_height.into()),
        "best_hash": manifest.block.best_hash,
        "pruning": manifest.database.pruning,
        "warp_gap": manifest.database.warp_gap,
        "node": manifest.node.as_ref().map_or_else(String::new, |node| format!("{} {}", node.name, node.version)),
        "tool": manifest.tool,
        "file_count": grouped(manifest.files),
        "disk_required": size(manifest.disk_required),
        "size": archive.map_or_else(String::new, |archive| size(archive.size)),
        "uncompressed_size": archive.map_or_else(String::new, |archive| size(archive.uncompressed_size)),
        "has_lz4": manifest.artifact(Format::TarLz4).is_some(),
        "has_tree": manifest.artifact(Format::Tree).is_some(),
        "archive": archive.map(|archive| of_artifact(settings, manifest, archive)),
        "artifacts": manifest.artifacts.iter().map(|a| of_artifact(settings, manifest, a)).collect::<Vec<_>>(),
        "manifest_url": settings.url_of(&names::manifest_key(target, version)),
        "manifest_file": format!("{version}{}", names::MANIFEST_SUFFIX),
        "manifest_sha256": snapshot.manifest_sha256,
        "signature_url": settings.url_of(&names::manifest_signature_key(target, version)),
        "signature": snapshot.signature.trim_end(),
        "sums_url": settings.url_of(&sums),
        "sums_signature_url": settings.url_of(&(sums + names::SIGNATURE_SUFFIX)),
        "sums_file": format!("{version}.SHA256SUMS"),
        "explorers": explorers.iter().filter_map(|explorer| of_explorer(explorer, manifest)).collect::<Vec<_>>(),
        "listed": snapshot.kept_until.is_none(),
        "kept_until": snapshot.kept_until.map_or_else(String::new, machine_time),
        "kept_until_text": snapshot.kept_until.map_or_else(String::new, human_time),
    })
}

fn of_artifact(settings: &SiteSettings, manifest: &Manifest, artifact: &Artifact) -> Value {
    json!({
        "file": artifact.file,
        "format": artifact.format,
        "url": file_url(settings, manifest, &artifact.url, &artifact.file),
        "size": size(artifact.size),
        "size_bytes": artifact.size.to_string(),
        "uncompressed_size": size(artifact.uncompressed_size),
        "sha256": artifact.sha256,
    })
}

fn of_explorer(explorer: &Explorer, manifest: &Manifest) -> Option<Value> {
    let block = &manifest.block;
    let url = explorer.url.replace("{height}", &block.height.to_string()).replace("{hash}", &block.hash.to_string());
    is_web(&url).then(|| json!({ "name": explorer.name, "url": url }))
}

fn of_failure(failure: &Failure) -> Value {
    json!({
        "version": failure.version,
        "worker": failure.worker,
        "reason": failure.reason,
        "failed_at": machine_time(failure.failed_at),
        "failed_text": human_time(failure.failed_at),
    })
}

/// Where the manifest says that a file is served, if that is a web address; otherwise beside the manifest.
pub fn file_url(settings: &SiteSettings, manifest: &Manifest, stated: &str, file: &str) -> String {
    let beside = || settings.url_of(&manifest.key_of(file));
    let base = Url::parse(&settings.url_of(&names::manifest_key(&manifest.target, manifest.version)));
    let joined = base.and_then(|base| base.join(stated)).map(String::from);
    joined.ok().filter(|url| is_web(url)).unwrap_or_else(beside)
}

/// Where the frames index or another file beside the manifest is served.
pub fn file_ref_url(settings: &SiteSettings, manifest: &Manifest, file: &FileRef) -> String {
    file_url(settings, manifest, &file.url, &file.file)
}

fn is_web(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"))
}

/// RFC 3339, for `datetime` attributes and feeds.
pub fn machine_time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn human_time(time: DateTime<Utc>) -> String {
    time.format("%-d %b %Y, %H:%M UTC").to_string()
}

/// `1234567` as `1 234 567`, with no-break spaces.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// Bytes as `1.5 GiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes}\u{a0}bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1}\u{a0}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_have_units() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1234567), "1\u{a0}234\u{a0}567");
        assert_eq!(size(1023), "1023\u{a0}bytes");
        assert_eq!(size(1536), "1.5\u{a0}KiB");
        assert_eq!(size(1024 * 1024 - 1), "1.0\u{a0}MiB");
        assert_eq!(size(u64::MAX), "16384.0\u{a0}PiB");
    }
}
