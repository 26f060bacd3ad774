//! Every name of an object or a resource, derived here and nowhere else.

use crate::ids::{TargetId, Version};

/// The key of the list of all live snapshots.
pub const INDEX_KEY: &str = "index.json";
/// The key of the index's signature.
pub const INDEX_SIGNATURE_KEY: &str = "index.json.minisig";
/// The key of the announcements of new public keys.
pub const KEYS_KEY: &str = "keys.json";
/// The ending of a detached signature in minisign's format.
pub const SIGNATURE_SUFFIX: &str = ".minisig";
/// The folder of uploads under way, in a bucket whose store has no multipart upload of its own.
pub const PARTS_PREFIX: &str = ".uploads/";
/// The ending of a manifest's key.
pub const MANIFEST_SUFFIX: &str = ".manifest.json";
/// The ending of a failure record's key.
pub const FAILURE_SUFFIX: &str = ".failed.json";

/// The ending of the list of the SHA-256 sums of a snapshot's tree.
pub const TREE_SUMS_SUFFIX: &str = ".tree.SHA256SUMS";
/// The ending of the note beside a snapshot's tree: its size, its head, the node's version.
pub const TREE_META_SUFFIX: &str = ".meta.txt";
/// The ending of a snapshot's metalink on the site.
pub const METALINK_SUFFIX: &str = ".meta4";

/// The ending of the record that says when a snapshot left the index.
pub const RETIRED_SUFFIX: &str = ".retired.json";

/// The label by which our Kubernetes objects are found; its value is [`MANAGED_BY`].
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "polkashots";
/// The label that names the target of a Kubernetes object.
pub const TARGET_LABEL: &str = "polkashots.io/target";
/// The annotation that names the version a claim or volume snapshot was made for.
pub const VERSION_ANNOTATION: &str = "polkashots.io/version";
/// The annotation of a claim that says when its volume snapshot was taken, once it was ready.
pub const TAKEN_AT_ANNOTATION: &str = "polkashots.io/volume-snapshot-taken-at";

/// The prefix of all keys of a target.
pub fn target_prefix(target: &TargetId) -> String {
    format!("{target}/")
}

/// The key of one snapshot's object: `<target>/<version><suffix>`; the suffix has its leading dot.
pub fn object_key(target: &TargetId, version: Version, suffix: &str) -> String {
    format!("{target}/{version}{suffix}")
}

/// The key of a snapshot's manifest.
pub fn manifest_key(target: &TargetId, version: Version) -> String {
    object_key(target, version, MANIFEST_SUFFIX)
}

/// The key of the signature of a snapshot's manifest.
pub fn manifest_signature_key(target: &TargetId, version: Version) -> String {
    manifest_key(target, version) + SIGNATURE_SUFFIX
}

/// The key of a snapshot's list of SHA-256 sums, as `sha256sum -c` reads it.
pub fn sums_key(target: &TargetId, version: Version) -> String {
    object_key(target, version, ".SHA256SUMS")
}

/// The key of a file of a snapshot's tree; `path` is relative to the database's folder.
pub fn tree_key(target: &TargetId, version: Version, path: &str) -> String {
    format!("{target}/{version}/{path}")
}

/// The key of the file that names the newest snapshot with a tree, as Parity's chart reads it.
pub fn latest_tree_key(target: &TargetId) -> String {
    format!("{target}/latest_version.meta.txt")
}

/// The key of the frames index of a snapshot's `.tar.zst`.
pub fn frames_key(target: &TargetId, version: Version) -> String {
    object_key(target, version, ".frames.json.zst")
}

/// The key of the record that says why a snapshot failed.
pub fn failure_key(target: &TargetId, version: Version) -> String {
    object_key(target, version, FAILURE_SUFFIX)
}

/// The key of the record that says when a snapshot left the index.
pub fn retirement_key(target: &TargetId, version: Version) -> String {
    object_key(target, version, RETIRED_SUFFIX)
}

/// Reads target, version and suffix (with its leading dot or slash) back from a key; `None` for any other key.
pub fn parse_object_key(key: &str) -> Option<(TargetId, Version, &str)> {
    let (target, rest) = key.split_once('/')?;
    let (version, suffix) = rest.split_at_checked("YYYYMMDD-HHMMSS".len())?;
    if !suffix.starts_with(['.', '/']) {
        return None;
    }
    Some((target.parse().ok()?, version.parse().ok()?, suffix))
}

/// The file part of a key: what follows `<target>/`.
pub fn file_of_key(key: &str) -> &str {
    key.split_once('/').map_or(key, |(_, file)| file)
}

/// The fixed name of a target's restore claim; creating it is the lock on the target.
pub fn claim_name(target: &TargetId) -> String {
    format!("{target}-restore")
}

/// The name of the volume snapshot that a tick asks for.
pub fn volume_snapshot_name(target: &TargetId, version: Version) -> String {
    format!("{target}-{version}")
}

/// The subscription by which a worker reads a topic: `<worker>.<topic>`, per target where `target` is given.
pub fn subscription_name(worker: &str, topic: &str, target: Option<&TargetId>) -> String {
    match target {
        Some(target) => format!("{worker}.{topic}.{target}"),
        None => format!("{worker}.{topic}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        let target: TargetId = "polkadot-paritydb-prune".parse().expect("legal");
        let version: Version = "20261122-040000".parse().expect("legal");
        let key = manifest_key(&target, version);
        assert_eq!(key, "polkadot-paritydb-prune/20261122-040000.manifest.json");
        assert_eq!(parse_object_key(&key), Some((target.clone(), version, MANIFEST_SUFFIX)));
        assert_eq!(file_of_key(&key), "20261122-040000.manifest.json");
        for foreign in ["index.json", "a/b", "a/20261122-040000", "A/20261122-040000.x", "a/20261122-0400001.x"] {
            assert_eq!(parse_object_key(foreign), None, "{foreign} was accepted");
        }
    }
}
