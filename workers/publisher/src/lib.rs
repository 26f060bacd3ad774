//! The publisher: checks what was uploaded, signs it, keeps the index, renders the site and announces the snapshot.
//!
//! Everything it writes is a function of what lies in the store and of its settings, never of an event's payload, so that
//! a missed or doubled event heals itself at the next one. The order is: signatures, index, site, event; deletions come
//! last. See [`handle`](mod@handle) for the order and [`retention`] for what is deleted when.

pub mod adapters;
pub mod binary;
pub mod catalog;
pub mod error;
pub mod handle;
pub mod host;
pub mod index;
pub mod keys;
pub mod latest_tree;
pub mod retention;
pub mod sign;
pub mod site;
#[cfg(feature = "testkit")]
pub mod testkit;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use polkashots_shared::clock::Clock;
use polkashots_shared::event::Event;
use polkashots_shared::ids::TargetId;
use polkashots_shared::minisign::{PublicKey, SecretKey};
use polkashots_shared::ports::object_store::ObjectStore;
use polkashots_shared::target::Target;
use polkashots_shared::worker::{HandleError, Outcome, Worker};

pub use crate::error::PublishError;
pub use crate::handle::{handle, refresh};
pub use crate::host::SiteHost;
pub use crate::site::SiteSettings;

/// The worker's name in events, logs and failure records.
pub const NAME: &str = "publisher";

/// Everything the publisher has an effect through.
#[derive(Clone)]
pub struct Deps {
    /// The targets that are listed; a target that is not here is neither listed nor touched.
    pub targets: Arc<BTreeMap<TargetId, Target>>,
    /// Where snapshots and index lie.
    pub store: Arc<dyn ObjectStore>,
    /// Signs manifests, sums and index.
    pub signing_key: Arc<SecretKey>,
    /// Public keys of before a rotation: what they signed stays listed.
    pub old_keys: Vec<PublicKey>,
    /// How the site is rendered and where it is served.
    pub site: SiteSettings,
    /// Where the site is deployed to.
    pub host: Arc<dyn SiteHost>,
    /// When a snapshot leaves the index, and what is old enough to be deleted.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deps").field("targets", &self.targets.keys()).field("site", &self.site).finish_non_exhaustive()
    }
}

/// The publisher as the shared loop runs it; one run at a time, however many events arrive.
#[derive(Debug)]
pub struct Publisher {
    deps: Deps,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl Publisher {
    /// A publisher on `deps`.
    pub fn new(deps: Deps) -> Self {
        Self { deps, one_at_a_time: tokio::sync::Mutex::new(()) }
    }

    /// Brings signatures, index and site up to date without an event, and deletes what is due.
    pub async fn refresh(&self) -> Result<(), PublishError> {
        let _turn = self.one_at_a_time.lock().await;
        refresh(&self.deps).await.map(|_| ())
    }
}

#[async_trait]
impl Worker for Publisher {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn handle(&self, event: &Event) -> Result<Outcome, HandleError> {
        let _turn = self.one_at_a_time.lock().await;
        handle(event, &self.deps).await
    }
}
