//! Holds the stores of memory and directory to the contract of the port.
#![cfg(feature = "testkit")]

use std::fs::{self, File};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use async_trait::async_trait;
use chrono::Utc;
use polkashots_shared::adapters::directory_store::DirectoryStore;
use polkashots_shared::clock::ManualClock;
use polkashots_shared::ports::object_store::ObjectStore;
use polkashots_shared::testkit::object_store_contract::{self, StoreUnderTest};
use polkashots_shared::testkit::{FaultPlan, Faulty, MemoryStore};
use tempfile::TempDir;

struct Memory {
    clock: Arc<ManualClock>,
    store: MemoryStore,
}

impl Memory {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Utc::now()));
        Self { store: MemoryStore::new(clock.clone()), clock }
    }
}

#[async_trait]
impl StoreUnderTest for Memory {
    async fn store(&self) -> Box<dyn ObjectStore> {
        Box::new(self.store.clone())
    }

    async fn age_uploads(&self, by: Duration) -> bool {
        self.clock.advance(by);
        true
    }
}

#[tokio::test]
async fn memory_holds_the_contract() {
    object_store_contract::run(&Memory::new()).await;
}

struct Decorated(Memory);

#[async_trait]
impl StoreUnderTest for Decorated {
    async fn store(&self) -> Box<dyn ObjectStore> {
        Box::new(Faulty::new(Arc::new(self.0.store.clone()), &FaultPlan::none()))
    }
}

#[tokio::test]
async fn a_plan_without_faults_changes_nothing() {
    object_store_contract::run(&Decorated(Memory::new())).await;
}

/// A new handle at each call, so that every check runs across two.
struct Directory(TempDir);

impl Directory {
    fn age(&self, by: Duration) -> Result<()> {
        for part in fs::read_dir(self.0.path().join(".uploads"))? {
            File::options().write(true).open(part?.path())?.set_modified(SystemTime::now() - by)?;
        }
        Ok(())
    }
}

#[async_trait]
impl StoreUnderTest for Directory {
    async fn store(&self) -> Box<dyn ObjectStore> {
        Box::new(DirectoryStore::open(self.0.path()).expect("the directory is there"))
    }

    async fn age_uploads(&self, by: Duration) -> bool {
        self.age(by).expect("parts can be aged");
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_holds_the_contract() -> Result<()> {
    object_store_contract::run(&Directory(tempfile::tempdir().context("a scratch directory")?)).await;
    Ok(())
}
