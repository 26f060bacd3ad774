//! What a site is made of, as plain values.

use chrono::{DateTime, Utc};
use polkashots_shared::failure::Failure;
use polkashots_shared::ids::Sha256;
use polkashots_shared::manifest::Manifest;
use polkashots_shared::minisign::PublicKey;
use polkashots_shared::target::Target;

use crate::Deps;
use crate::catalog::{Catalog, Signature, TargetCatalog};
use crate::index::SignedIndex;
use crate::keys::SiteKeys;
use crate::retention::{self, Plan};

/// Everything that the site shows.
#[derive(Debug, Clone)]
pub struct SiteInput {
    /// The key that signs.
    pub public_key: PublicKey,
    /// The announcements of new keys; none where there never was one.
    pub keys: Option<SiteKeys>,
    /// Every configured target, ordered by id.
    pub targets: Vec<SiteTarget>,
    /// The index with its signature.
    pub index: SignedIndex,
}

/// One target on the site.
#[derive(Debug, Clone)]
pub struct SiteTarget {
    /// As the host configured it.
    pub target: Target,
    /// Complete snapshots that are not about to be deleted, newest first.
    pub snapshots: Vec<SiteSnapshot>,
    /// Failures without a complete snapshot of the same version, newest first.
    pub failures: Vec<Failure>,
}

/// One complete snapshot on the site.
#[derive(Debug, Clone)]
pub struct SiteSnapshot {
    /// Its manifest.
    pub manifest: Manifest,
    /// The SHA-256 of the manifest.
    pub manifest_sha256: Sha256,
    /// The text of the manifest's signature.
    pub signature: String,
    /// Until when it stays, where it left the index; `None` while it is listed.
    pub kept_until: Option<DateTime<Utc>>,
}

impl SiteInput {
    /// Picks what the site shows: nothing that is about to be deleted.
    pub fn new(deps: &Deps, catalog: &Catalog, plan: &Plan, index: &SignedIndex, keys: Option<SiteKeys>) -> Self {
        let pick = |(id, found): (_, &TargetCatalog)| {
            let target: &Target = deps.targets.get(id)?;
            Some(SiteTarget {
                target: target.clone(),
                snapshots: snapshots(target, found, plan),
                failures: failures(target, found, plan),
            })
        };
        Self {
            public_key: deps.signing_key.public_key(),
            keys,
            targets: catalog.targets.iter().filter_map(pick).collect(),
            index: index.clone(),
        }
    }
}

fn snapshots(target: &Target, found: &TargetCatalog, plan: &Plan) -> Vec<SiteSnapshot> {
    let deleted_soon =
        |version| found.retired.contains_key(&version) && plan.versions.contains_key(&(target.id.clone(), version));
    found
        .complete()
        .filter(|(version, _)| !deleted_soon(*version))
        .map(|(version, snapshot)| SiteSnapshot {
            manifest: snapshot.manifest.clone(),
            manifest_sha256: Sha256::of(&snapshot.bytes),
            signature: match &snapshot.signature {
                Signature::Valid(text) => text.clone(),
                Signature::Missing | Signature::Invalid(_) => String::new(),
            },
            kept_until: found.retired.get(&version).map(|retired| retention::kept_until(retired, &target.retention)),
        })
        .collect()
}

fn failures(target: &Target, found: &TargetCatalog, plan: &Plan) -> Vec<Failure> {
    let complete = |version| found.complete().any(|(complete, _)| complete == version);
    found
        .failures
        .iter()
        .rev()
        .filter(|(version, _)| !complete(**version) && !plan.versions.contains_key(&(target.id.clone(), **version)))
        .map(|(_, failure)| failure.clone())
        .collect()
}
