//! Retention: what left the index, and what may be deleted now.
//!
//! A complete snapshot beyond the newest `retention.keep` leaves the index; a record beside it says when, and from then it
//! stays for the grace period (at least 72 hours), so that a restore that started from the old index can end. A snapshot
//! that left never comes back. The newest complete snapshot of a target is never deleted, and only complete ones count.
//! Deleted is in the opposite order of publication: signature, manifest, files; the record last, so that a deletion that
//! was cut short is finished by the next run. Also deleted are failed snapshots once their record expires, and what
//! crashed runs left: objects of a version without any record, older than [`ORPHAN_AGE_DAYS`].

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{Headers, ObjectStore, Precondition, StoreError};
use polkashots_shared::target::{Retention, Target};
use tracing::{info, warn};

use crate::catalog::{Catalog, Retirement, Signature, TargetCatalog};

/// The shortest grace period, in hours, whatever is configured.
pub const MIN_GRACE_HOURS: u32 = 72;
/// How old, in days, objects without manifest and without record must be to be deleted.
pub const ORPHAN_AGE_DAYS: i64 = 7;

/// What may be deleted now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Each version's keys, in the order in which they must go.
    pub versions: BTreeMap<(TargetId, Version), Vec<String>>,
}

/// The complete snapshots that are no longer listed and have no record of it yet.
pub fn newly_retired(catalog: &Catalog, targets: &BTreeMap<TargetId, Target>) -> Vec<(TargetId, Version)> {
    let mut left = Vec::new();
    for (id, found) in &catalog.targets {
        let Some(target) = targets.get(id) else { continue };
        let listed = found.listed(target.retention.keep).map(|(version, _)| version).min();
        let unlisted = found.complete().map(|(version, _)| version).filter(|version| Some(*version) < listed);
        left.extend(
            unlisted.filter(|version| !found.retired.contains_key(version)).map(|version| (id.clone(), version)),
        );
    }
    left
}

/// Writes the records of [`newly_retired`]; to be called once the index without them is in the store.
pub async fn retire(
    store: &dyn ObjectStore,
    left: &[(TargetId, Version)],
    left_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    for (target, version) in left {
        let mut bytes = serde_json::to_vec_pretty(&Retirement { left_at }).expect("a time always serialises");
        bytes.push(b'\n');
        let key = names::retirement_key(target, *version);
        match store.put(&key, bytes.into(), Precondition::Create, &Headers::immutable("application/json")).await {
            Ok(_) => info!(%target, %version, "left the index"),
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// When a retired snapshot may be deleted.
pub fn kept_until(retired: &Retirement, retention: &Retention) -> DateTime<Utc> {
    let hours = retention.grace_hours.max(MIN_GRACE_HOURS);
    retired.left_at.checked_add_signed(TimeDelta::hours(hours.into())).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// What may be deleted at `now`.
pub fn plan(catalog: &Catalog, targets: &BTreeMap<TargetId, Target>, now: DateTime<Utc>) -> Plan {
    let mut plan = Plan::default();
    for (id, found) in &catalog.targets {
        let Some(target) = targets.get(id) else { continue };
        for version in found.objects.keys() {
            if let Some(keys) = due(id, found, *version, &target.retention, now) {
                plan.versions.insert((id.clone(), *version), keys);
            }
        }
    }
    plan
}

/// Deletes what the plan names. An error ends it; the next run goes on.
pub async fn carry_out(store: &dyn ObjectStore, plan: &Plan) -> Result<(), StoreError> {
    for ((target, version), keys) in &plan.versions {
        for key in keys {
            store.delete(key).await?;
        }
        info!(%target, %version, objects = keys.len(), "deleted");
    }
    Ok(())
}

fn due(
    id: &TargetId,
    found: &TargetCatalog,
    version: Version,
    retention: &Retention,
    now: DateTime<Utc>,
) -> Option<Vec<String>> {
    let signature = found.snapshots.get(&version).map(|snapshot| &snapshot.signature);
    if matches!(signature, Some(Signature::Invalid(_))) || found.unreadable.contains_key(&version) {
        warn!(target_id = %id, %version, "not deleted: its manifest or signature needs a person's look");
        return None;
    }
    if let Some(retired) = found.retired.get(&version) {
        let newest = found.complete().next().map(|(newest, _)| newest);
        return (newest != Some(version) && kept_until(retired, retention) <= now).then(|| ordered(found, version));
    }
    if let Some(failure) = found.failures.get(&version) {
        let until = failure.failed_at + TimeDelta::hours(retention.failure_hours.into());
        let complete = matches!(signature, Some(Signature::Valid(_)));
        return match complete {
            // It succeeded in the end: only the record goes.
            true => (until <= now).then(|| vec![names::failure_key(id, version)]),
            false => (until <= now).then(|| ordered(found, version)),
        };
    }
    let orphaned = signature.is_none() && is_older_than_orphan_age(found, version, now);
    orphaned.then(|| ordered(found, version))
}

fn is_older_than_orphan_age(found: &TargetCatalog, version: Version, now: DateTime<Utc>) -> bool {
    let written = found.objects[&version].iter().map(|meta| meta.updated).max();
    let youngest = written.map_or(version.time(), |written| written.max(version.time()));
    youngest + TimeDelta::days(ORPHAN_AGE_DAYS) <= now
}

/// All keys of a version: its manifest's signature, its manifest, the rest, and the records last.
fn ordered(found: &TargetCatalog, version: Version) -> Vec<String> {
    let rank = |key: &str| {
        let suffix = names::parse_object_key(key).map_or("", |(_, _, suffix)| suffix);
        match suffix.strip_suffix(names::SIGNATURE_SUFFIX).unwrap_or(suffix) {
            names::MANIFEST_SUFFIX if suffix != names::MANIFEST_SUFFIX => 0,
            names::MANIFEST_SUFFIX => 1,
            names::RETIRED_SUFFIX | names::FAILURE_SUFFIX => 3,
            _ => 2,
        }
    };
    let mut keys: Vec<String> = found.objects[&version].iter().map(|meta| meta.key.clone()).collect();
    keys.sort_by_key(|key| rank(key));
    keys
}
