//! The handler: signatures, index, site, event, and deletions last.
//!
//! An event only says that something happened: what is done follows from the store. The index is read before everything
//! else and swapped only if it is still the same, so that of two publishers the slower one starts again.

use polkashots_shared::event::{Event, Payload, SnapshotPublished, SnapshotUploaded, Topic};
use polkashots_shared::ids::{Sha256, TargetId};
use polkashots_shared::index::Index;
use polkashots_shared::minisign::PublicKey;
use polkashots_shared::worker::{HandleError, Outcome, error_chain};
use tracing::{info, warn};

use crate::catalog::{self, Catalog, Signature, Snapshot};
use crate::index::{self, SignedIndex, StoredIndex, Swap};
use crate::keys::SiteKeys;
use crate::retention::{self, Plan};
use crate::site::{self, SiteInput};
use crate::{Deps, NAME, PublishError, latest_tree, sign};

/// How often a run starts again because somebody else swapped the index.
const MAX_TRIES: u32 = 10;

/// What is published after a run.
#[derive(Debug)]
pub struct Published {
    /// What lies in the store.
    pub catalog: Catalog,
    /// What is listed.
    pub index: Index,
}

/// Brings everything up to date after an event; announces the event's snapshot if it is listed, at every delivery.
pub async fn handle(event: &Event, deps: &Deps) -> Result<Outcome, HandleError> {
    check_target(event.payload.target(), deps)?;
    match &event.payload {
        Payload::SnapshotUploaded(uploaded) => {
            let published = refresh(deps).await?;
            announce(event, uploaded, &published, deps)
        }
        Payload::SnapshotFailed(_) => {
            refresh(deps).await?;
            Ok(Outcome::done())
        }
        other => Err(HandleError::permanent(format!(
            "the publisher reads {} and {}, not {}",
            Topic::SnapshotUploaded,
            Topic::SnapshotFailed,
            other.topic()
        ))),
    }
}

/// Signs what is unsigned, swaps the index, deploys the site, and deletes what is due.
pub async fn refresh(deps: &Deps) -> Result<Published, PublishError> {
    for _ in 0..MAX_TRIES {
        if let Some((published, plan)) = try_refresh(deps).await? {
            if let Err(error) = retention::carry_out(deps.store.as_ref(), &plan).await {
                warn!(error = error_chain(&error), "deletion cut short, the next run goes on");
            }
            return Ok(published);
        }
        info!("index changed meanwhile, starting again");
    }
    Err(PublishError::Busy { tries: MAX_TRIES })
}

/// One try; `None` where somebody else changed the index meanwhile.
async fn try_refresh(deps: &Deps) -> Result<Option<(Published, Plan)>, PublishError> {
    let store = deps.store.as_ref();
    let before = StoredIndex::read(store).await?;
    let keys = known_keys(deps);
    let mut catalog = catalog::read(store, &deps.targets, &keys).await?;
    if sign::sign_all(deps, &catalog).await? {
        catalog = catalog::read(store, &deps.targets, &keys).await?;
    }
    let index = index::build(&catalog, &deps.targets, &deps.site.archive_url);
    before.check_not_backwards(&index, &catalog)?;
    let signed = SignedIndex::new(&index, &deps.signing_key)?;
    if before.swap(store, &signed).await? == Swap::Changed {
        return Ok(None);
    }
    if latest_tree::point(store, &catalog, &deps.targets).await? == Swap::Changed {
        return Ok(None);
    }
    let left = retention::newly_retired(&catalog, &deps.targets);
    if !left.is_empty() {
        retention::retire(store, &left, deps.clock.now()).await?;
        catalog = catalog::read(store, &deps.targets, &keys).await?;
    }
    let plan = retention::plan(&catalog, &deps.targets, deps.clock.now());
    let announced = SiteKeys::read(store, &deps.signing_key, &deps.old_keys).await?;
    let rendered = site::render(&deps.site, &SiteInput::new(deps, &catalog, &plan, &signed, announced)).await?;
    if deps.host.current().await? != Some(rendered.digest()) {
        deps.host.deploy(&rendered).await?;
    }
    let current = index::is_current(store, &signed.bytes).await?;
    Ok(current.then_some((Published { catalog, index }, plan)))
}

fn known_keys(deps: &Deps) -> Vec<PublicKey> {
    std::iter::once(deps.signing_key.public_key()).chain(deps.old_keys.iter().cloned()).collect()
}

fn check_target(target: &TargetId, deps: &Deps) -> Result<(), HandleError> {
    if deps.targets.contains_key(target) {
        return Ok(());
    }
    let known: Vec<&str> = deps.targets.keys().map(TargetId::as_str).collect();
    Err(HandleError::permanent(format!("unknown target {target}: known are {}", known.join(", "))))
}

fn announce(
    event: &Event,
    uploaded: &SnapshotUploaded,
    published: &Published,
    deps: &Deps,
) -> Result<Outcome, HandleError> {
    let (target, version) = (&uploaded.target, uploaded.version);
    let listed = published.index.find(target.as_str());
    let is_listed = listed.is_some_and(|listed| listed.snapshots.iter().any(|snapshot| snapshot.version == version));
    let found = &published.catalog.targets[target];
    if let Some(snapshot) = found.snapshots.get(&version).filter(|_| is_listed) {
        return Ok(Outcome::emit(published_event(event, snapshot, deps)));
    }
    if let Some(reason) = sign::refusal(found, version) {
        return Err(HandleError::permanent(format!("publish {target} {version}: {reason}")));
    }
    if let Some(reason) = found.unreadable.get(&version) {
        return Err(HandleError::permanent(format!("publish {target} {version}: {reason}")));
    }
    if let Some(Signature::Invalid(error)) = found.snapshots.get(&version).map(|snapshot| &snapshot.signature) {
        return Err(HandleError::permanent(format!(
            "publish {target} {version}: its signature is of no known key ({error}): add the key to the old public keys or delete the signature"
        )));
    }
    let newest = listed.and_then(|listed| listed.snapshots.first()).map(|snapshot| snapshot.version);
    if newest > Some(version) {
        return Ok(Outcome::skipped(format!("{target} {version} is no longer among the newest")));
    }
    Err(HandleError::transient(format!("publish {target} {version}: {} is not there", uploaded.manifest)))
}

fn published_event(cause: &Event, snapshot: &Snapshot, deps: &Deps) -> Event {
    let manifest = &snapshot.manifest;
    let payload = Payload::SnapshotPublished(SnapshotPublished {
        target: manifest.target.clone(),
        version: manifest.version,
        url: deps.site.url_of(&polkashots_shared::names::manifest_key(&manifest.target, manifest.version)),
        height: manifest.block.height,
        hash: manifest.block.hash,
        sha256: Sha256::of(&snapshot.bytes),
    });
    Event::new(NAME, cause.time, payload)
}
