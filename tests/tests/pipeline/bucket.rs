//! The bucket of a test, on the server that is as strict as Google's, or on the one that many use.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use polkashots_shared::adapters::gcs::{GcsSettings, GcsStore};
use polkashots_shared::ports::object_store::ObjectStore;
use polkashots_shared::testkit::servers::{FakeGcs, StrictGcs};

const NAME: &str = "snapshots";

/// A server with the bucket.
pub enum Bucket {
    /// Our own, which refuses what Google's does, and can be slow.
    Strict(StrictGcs),
    /// fake-gcs-server.
    Fake(FakeGcs),
}

impl Bucket {
    /// An empty bucket on the strict server.
    pub async fn start() -> Result<Self> {
        Ok(Self::Strict(StrictGcs::start(NAME).await?))
    }

    /// An empty bucket on fake-gcs-server; none, and said so, where that is missing.
    pub async fn start_fake_or_skip(test: &str) -> Option<Self> {
        Some(Self::Fake(FakeGcs::start_or_skip(test, NAME).await?))
    }

    /// What `POLKASHOTS_STORE` says.
    pub fn location(&self) -> String {
        format!("gs://{NAME}")
    }

    /// Where its JSON API is.
    pub fn data_endpoint(&self) -> String {
        match self {
            Self::Strict(server) => server.endpoint(),
            Self::Fake(server) => server.data_endpoint(),
        }
    }

    /// Where its gRPC API is.
    pub fn control_endpoint(&self) -> String {
        match self {
            Self::Strict(server) => server.endpoint(),
            Self::Fake(server) => server.control_endpoint(),
        }
    }

    /// Where the world reads its objects.
    pub fn public_url(&self) -> String {
        format!("{}/{NAME}/", self.data_endpoint())
    }

    /// Waits this long before each answer, where the server can.
    pub fn slow_down(&self, by: Duration) {
        if let Self::Strict(server) = self {
            server.slow_down(by);
        }
    }

    /// The objects, as our adapter sees them.
    pub async fn open(&self) -> Result<Arc<dyn ObjectStore>> {
        let settings = GcsSettings {
            data_endpoint: Some(self.data_endpoint()),
            control_endpoint: Some(self.control_endpoint()),
            ..GcsSettings::new(NAME)
        };
        Ok(Arc::new(GcsStore::connect(settings).await?))
    }
}
