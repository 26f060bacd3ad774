//! Holds the Cloud Storage adapter to the contract on fake-gcs-server, as far as that server goes.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use polkashots_shared::adapters::gcs::{GcsSettings, GcsStore};
use polkashots_shared::ports::object_store::ObjectStore;
use polkashots_shared::testkit::object_store_contract::{self, StoreUnderTest};
use polkashots_shared::testkit::servers::FakeGcs;

struct Fake {
    store: GcsStore,
}

#[async_trait]
impl StoreUnderTest for Fake {
    async fn store(&self) -> Box<dyn ObjectStore> {
        Box::new(self.store.clone())
    }

    fn cannot(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("an_upload_never_replaces", "compose ignores ifGenerationMatch"),
            ("of_concurrent_uploads_exactly_one_wins", "compose ignores ifGenerationMatch"),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fake_gcs_server_holds_the_contract_but_for_what_it_cannot() -> Result<()> {
    let test = "fake_gcs_server_holds_the_contract_but_for_what_it_cannot";
    let Some(server) = FakeGcs::start_or_skip(test, "snapshots").await else { return Ok(()) };
    let settings = GcsSettings {
        data_endpoint: Some(server.data_endpoint()),
        control_endpoint: Some(server.control_endpoint()),
        part_size_bytes: 1024 * 1024,
        retry_for: Duration::from_secs(5),
        retry_pause: Duration::from_millis(2),
        ..GcsSettings::new("snapshots")
    };
    let store = GcsStore::connect(settings).await?;
    object_store_contract::run(&Fake { store }).await;
    Ok(())
}
