//! The place where the site is served from.

use async_trait::async_trait;
use polkashots_shared::ids::Sha256;

use crate::site::RenderedSite;

/// Serves one whole site at a time.
///
/// Contract, held by `testkit::site_host_contract` on every adapter: a visitor sees the site of before a deploy or the one
/// of after it, never a mixture (only a bucket cannot swap at once, and says so); a deploy that failed or was killed leaves the old one. Both calls may be repeated; after
/// an error it is unknown whether the deploy took effect, and `current` tells. Nobody retries inside an adapter beyond
/// what its client library does: the event comes again.
#[async_trait]
pub trait SiteHost: Send + Sync {
    /// The [`RenderedSite::digest`] of what is served; `None` where nothing is.
    async fn current(&self) -> Result<Option<Sha256>, HostError>;

    /// Serves `site` from now on.
    async fn deploy(&self, site: &RenderedSite) -> Result<(), HostError>;
}

/// Says why the site is not deployed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A later call may succeed.
    #[error("{operation} {subject}: {source}")]
    Transient {
        /// What was tried.
        operation: &'static str,
        /// The file or address.
        subject: String,
        /// The adapter's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No later call will succeed without a person's help.
    #[error("{operation} {subject}: {source}")]
    Permanent {
        /// What was tried.
        operation: &'static str,
        /// The file or address.
        subject: String,
        /// The adapter's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl HostError {
    /// True where the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }
}
