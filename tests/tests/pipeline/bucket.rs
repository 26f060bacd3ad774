//! The bucket of a test, on the server that is as strict as Google's.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use polkashots_shared::adapters::gcs::{GcsSettings, GcsStore};
use polkashots_shared::ports::object_store::ObjectStore;
use polkashots_shared::testkit::servers::StrictGcs;

const NAME: &str = "snapshots";

/// A server with the bucket.
pub struct Bucket(StrictGcs);

impl Bucket {
    /// An empty bucket.
    pub async fn start() -> Result<Self> {
        Ok(Self(StrictGcs::start(NAME).await?))
    }

    /// What `POLKASHOTS_STORE` says.
    pub fn location(&self) -> String {
        format!("gs://{NAME}")
    }

    /// Where its JSON API is.
    pub fn data_endpoint(&self) -> String {
        self.0.endpoint()
    }

    /// Where its gRPC API is.
    pub fn control_endpoint(&self) -> String {
        self.0.endpoint()
    }

    /// Where the world reads its objects.
    pub fn public_url(&self) -> String {
        format!("{}/{NAME}/", self.data_endpoint())
    }

    /// Waits this long before each answer.
    pub fn slow_down(&self, by: Duration) {
        self.0.slow_down(by);
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
