//! Every adapter keeps the port's contract.

mod support;

use std::path::Path;
use std::sync::Arc;

use polkashots_engine::adapters::local::{Method, Source};
use polkashots_engine::testkit::{MemoryVolumeSnapshots, volume_snapshots_contract};
use polkashots_shared::ids::DatabaseKind;
use support::{Btrfs, base_path, clock, open, run, skipped, target, target_id};

#[tokio::test]
async fn memory_keeps_the_contract() {
    let volumes = Arc::new(MemoryVolumeSnapshots::new(clock()));
    volume_snapshots_contract::run(volumes, &target_id("first"), &target_id("second")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    keeps_the_contract(folder.path(), Method::Copy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn btrfs_keeps_the_contract() {
    let btrfs = match Btrfs::mount() {
        Ok(btrfs) => btrfs,
        Err(reason) => return skipped(&reason),
    };
    for subvolume in ["first", "second"] {
        let path = btrfs.mount.join(subvolume);
        run("btrfs", &["subvolume".as_ref(), "create".as_ref(), path.as_ref()]).expect("a subvolume");
    }
    keeps_the_contract(&btrfs.mount, Method::Btrfs).await;
}

async fn keeps_the_contract(root: &Path, method: Method) {
    let sources = [("first", DatabaseKind::RocksDb), ("second", DatabaseKind::ParityDb)].map(|(id, kind)| {
        let path = base_path(&root.join(id), kind);
        (target_id(id), Source::of_target(&target(id, kind), path, method))
    });
    let volumes = open(&root.join("state"), sources).await;
    let state = root.join("state");
    volume_snapshots_contract::run(Arc::new(volumes), &target_id("first"), &target_id("second")).await;
    for folder in ["claims", "volumes"] {
        assert_eq!(support::tree(&state.join(folder)), [].into(), "{folder} is not empty");
    }
}
