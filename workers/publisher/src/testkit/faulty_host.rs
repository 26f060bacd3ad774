//! A [`SiteHost`] whose calls go through a fault plan.

use async_trait::async_trait;
use polkashots_shared::ids::Sha256;
use polkashots_shared::testkit::{Faulty, Injected};

use crate::host::{HostError, SiteHost};
use crate::site::RenderedSite;

impl Injected for HostError {
    fn injected(call: &str) -> Self {
        Self::Transient { operation: "injected fault at", subject: call.into(), source: "planned by the test".into() }
    }
}

#[async_trait]
impl<T: SiteHost + ?Sized + 'static> SiteHost for Faulty<T> {
    async fn current(&self) -> Result<Option<Sha256>, HostError> {
        self.plan.around("site_host.current", || self.inner.current()).await
    }

    async fn deploy(&self, site: &RenderedSite) -> Result<(), HostError> {
        self.plan.around("site_host.deploy", || self.inner.deploy(site)).await
    }
}
