//! From what a person names to a manifest that a pinned key signed.

use polkashots_shared::ids::Sha256;
use polkashots_shared::index::{Index, MAX_INDEX_BYTES, SCHEMA};
use polkashots_shared::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError};
use polkashots_shared::minisign::Verified;
use polkashots_shared::names::{INDEX_KEY, KEYS_KEY, MANIFEST_SUFFIX, SIGNATURE_SUFFIX};
use polkashots_shared::rotation::{KeyAnnouncements, MAX_KEYS_BYTES};

use crate::source::{Fetched, Location, Source, SourceError};
use crate::trust::{PinnedKeys, TrustError};

/// The largest signature file that is read, in bytes.
const MAX_SIGNATURE_BYTES: u64 = 16 * 1024;
/// How often a file and its signature are read anew when they do not match: one may have been swapped in between.
const PAIR_READS: u32 = 4;
/// What the names of archives end with; not all of them can be read, but each is told from a site.
const ARCHIVE_SUFFIXES: [&str; 7] = [".tar.zst", ".tar.lz4", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"];
/// The length of `YYYYMMDD-HHMMSS`.
const VERSION_CHARS: usize = 15;

/// A manifest whose signature is right.
#[derive(Debug)]
pub struct Resolved {
    /// Where it is; its relative addresses start there.
    pub location: Location,
    /// The manifest.
    pub manifest: Manifest,
    /// Its bytes, as they were signed.
    pub bytes: Vec<u8>,
    /// What its signature says.
    pub signature: Verified,
}

/// Says why no manifest was found.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Something cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Something is not to be believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The manifest is not one.
    #[error("{location}: {source}")]
    Manifest {
        /// Its address.
        location: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The index is not one.
    #[error("{location}: {reason}")]
    Index {
        /// Its address.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The source is a site, and no target was named.
    #[error("{location} is a site: name one of its targets: {known}")]
    NameNeeded {
        /// The site.
        location: String,
        /// The targets there are.
        known: String,
    },
    /// The site has no such target.
    #[error("{location} has no target {asked:?}: it has {known}")]
    UnknownTarget {
        /// The site.
        location: String,
        /// What was asked for.
        asked: String,
        /// The targets there are.
        known: String,
    },
    /// The signature's text is not text.
    #[error("{location}: the signature is not UTF-8 text")]
    SignatureText {
        /// Its address.
        location: String,
    },
}

/// Finds the manifest that `address` and `name` mean and checks its signature.
///
/// `address` is a manifest, an artifact beside one, or a site or bucket with an index, in which `name` is looked up. Where a
/// key signed that is not pinned, the site's announcements of new keys are read, and believed where a pinned key made them.
pub async fn resolve(
    source: &Source,
    keys: &PinnedKeys,
    address: &str,
    name: Option<&str>,
) -> Result<Resolved, ResolveError> {
    let error = match find(source, keys, address, name).await {
        Err(ResolveError::Trust(error @ TrustError::OtherKey { .. })) => error,
        found => return found,
    };
    match announced(source, keys, &Location::parse(address)?).await {
        Some(more) => find(source, &more, address, name).await,
        None => Err(error.into()),
    }
}

/// The pinned keys and those announced beside the index, which a manifest's folder lies next to.
async fn announced(source: &Source, keys: &PinnedKeys, location: &Location) -> Option<PinnedKeys> {
    let root = location.as_folder().join(KEYS_KEY);
    for candidate in [location.sibling(KEYS_KEY), root, location.above(KEYS_KEY)].into_iter().flatten() {
        let Ok(fetched) = source.get(&candidate, MAX_KEYS_BYTES).await else { continue };
        match KeyAnnouncements::from_bytes(&fetched.bytes) {
            Ok(announcements) => return keys.with_announced(&announcements),
            Err(error) => tracing::warn!(location = %candidate, %error, "announcements of new keys are not readable"),
        }
    }
    None
}

async fn find(source: &Source, keys: &PinnedKeys, address: &str, name: Option<&str>) -> Result<Resolved, ResolveError> {
    let location = Location::parse(address)?;
    let file = location.file_name();
    if file.ends_with(MANIFEST_SUFFIX) {
        return read_manifest(source, keys, &location, None).await;
    }
    if let Some(manifest) = manifest_beside(&location) {
        return read_manifest(source, keys, &manifest?, None).await;
    }
    let index = if file == INDEX_KEY { location } else { location.as_folder().join(INDEX_KEY)? };
    from_index(source, keys, &index, name).await
}

/// Where the manifest of an artifact is: beside it, under the name of its version, or of its permalink.
fn manifest_beside(artifact: &Location) -> Option<Result<Location, SourceError>> {
    let file = artifact.file_name();
    let stem = version_of_artifact(file).or_else(|| stem_of_archive(file))?;
    Some(artifact.sibling(&format!("{stem}{MANIFEST_SUFFIX}")))
}

/// Where the manifest of an archive is, if it is one of ours; `None` where `location` is no archive by its name.
pub fn manifest_of_archive(location: &Location) -> Option<Result<Location, SourceError>> {
    stem_of_archive(location.file_name()).and_then(|_| manifest_beside(location))
}

fn stem_of_archive(file: &str) -> Option<&str> {
    let stem = ARCHIVE_SUFFIXES.into_iter().find_map(|suffix| file.strip_suffix(suffix));
    stem.filter(|stem| !stem.is_empty())
}

/// `20261122-040000.tar.zst` and the like lie beside their manifest.
fn version_of_artifact(file: &str) -> Option<&str> {
    let (version, rest) = file.split_at_checked(VERSION_CHARS)?;
    version.parse::<polkashots_shared::ids::Version>().ok()?;
    rest.starts_with('.').then_some(version)
}

async fn from_index(
    source: &Source,
    keys: &PinnedKeys,
    location: &Location,
    name: Option<&str>,
) -> Result<Resolved, ResolveError> {
    let (fetched, _) = read_signed(source, keys, location, MAX_INDEX_BYTES).await?;
    let bad = |reason: String| ResolveError::Index { location: fetched.location.to_string(), reason };
    let index: Index = serde_json::from_slice(&fetched.bytes).map_err(|error| bad(error.to_string()))?;
    if index.schema > SCHEMA {
        return Err(bad(format!("has schema {}, this program reads up to {SCHEMA}: update polkashots", index.schema)));
    }
    let known = || index.targets.iter().map(|target| target.permalink.to_string()).collect::<Vec<_>>().join(", ");
    let site = location.to_string();
    let Some(asked) = name else { return Err(ResolveError::NameNeeded { location: site, known: known() }) };
    let found = index.find(asked.trim_matches('/'));
    let Some(target) = found else {
        return Err(ResolveError::UnknownTarget { location: site, asked: asked.into(), known: known() });
    };
    let newest = target.snapshots.iter().max_by_key(|snapshot| snapshot.version);
    let newest = newest.ok_or_else(|| bad(format!("target {} has no snapshot", target.id)))?;
    let base = match index.archive_url.as_str() {
        "" => fetched.location.clone(),
        archive => fetched.location.join(archive)?.as_folder(),
    };
    read_manifest(source, keys, &base.join(&newest.manifest)?, Some(newest.manifest_sha256)).await
}

async fn read_manifest(
    source: &Source,
    keys: &PinnedKeys,
    location: &Location,
    expected: Option<Sha256>,
) -> Result<Resolved, ResolveError> {
    let (fetched, signature) = read_signed(source, keys, location, MAX_MANIFEST_BYTES).await?;
    let location = fetched.location;
    let bad = |source| ResolveError::Manifest { location: location.to_string(), source };
    let manifest = Manifest::from_bytes(&fetched.bytes).map_err(bad)?;
    if expected.is_some_and(|expected| expected != Sha256::of(&fetched.bytes)) {
        let reason = "is not the manifest that the signed index names".to_owned();
        return Err(ResolveError::Index { location: location.to_string(), reason });
    }
    Ok(Resolved { location, manifest, bytes: fetched.bytes, signature })
}

/// Reads a file and the signature beside it, which must be by a pinned key.
async fn read_signed(
    source: &Source,
    keys: &PinnedKeys,
    location: &Location,
    max_bytes: u64,
) -> Result<(Fetched, Verified), ResolveError> {
    let mut reads = 0;
    loop {
        reads += 1;
        let fetched = source.get(location, max_bytes).await?;
        let beside = fetched.location.with_suffix(SIGNATURE_SUFFIX);
        let text = source.get(&beside, MAX_SIGNATURE_BYTES).await?;
        let text =
            String::from_utf8(text.bytes).map_err(|_| ResolveError::SignatureText { location: beside.to_string() })?;
        match keys.verify(&fetched.location.to_string(), &fetched.bytes, &text) {
            Ok(verified) => return Ok((fetched, verified)),
            // The file may have been swapped after it was read and before its signature was.
            Err(TrustError::Signature { .. }) if reads < PAIR_READS => {
                tracing::debug!(%location, reads, "file and signature do not match, reading both again");
            }
            Err(error) => return Err(error.into()),
        }
    }
}
