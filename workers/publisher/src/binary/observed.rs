//! The site's host with its calls timed.

use std::sync::Arc;

use async_trait::async_trait;
use polkashots_shared::ids::Sha256;
use polkashots_shared::service::Metrics;

use crate::host::{HostError, SiteHost};
use crate::site::RenderedSite;

/// Times the calls of the host that it decorates, each as a stage.
pub struct ObservedHost {
    inner: Arc<dyn SiteHost>,
    metrics: Arc<Metrics>,
}

impl ObservedHost {
    /// Decorates `inner`.
    pub fn new(inner: Arc<dyn SiteHost>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }
}

#[async_trait]
impl SiteHost for ObservedHost {
    async fn current(&self) -> Result<Option<Sha256>, HostError> {
        self.metrics.time("look at site", self.inner.current()).await
    }

    async fn deploy(&self, site: &RenderedSite) -> Result<(), HostError> {
        self.metrics.time("deploy site", self.inner.deploy(site)).await
    }
}
