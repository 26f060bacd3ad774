//! Volume snapshots on btrfs, on a real filesystem in a file.

mod support;

use std::fs;
use std::sync::Arc;

use polkashots_engine::VolumeSnapshots;
use polkashots_engine::adapters::local::{Method, Source};
use polkashots_shared::ids::DatabaseKind;
use support::{Btrfs, FakeNode, base_path, open, run, skipped, target, target_id, tree, version};

#[tokio::test(flavor = "multi_thread")]
async fn a_live_node_is_snapshotted_at_one_point_in_time() {
    let btrfs = match Btrfs::mount() {
        Ok(btrfs) => btrfs,
        Err(reason) => return skipped(&reason),
    };
    let node_dir = btrfs.mount.join("node");
    run("btrfs", &["subvolume".as_ref(), "create".as_ref(), node_dir.as_ref()]).expect("a subvolume");
    let base = base_path(&node_dir, DatabaseKind::ParityDb);
    let _node = FakeNode::start(&base);
    let (id, version) = (target_id("dot"), version("20261122-120000"));
    let source = Source::of_target(&target("dot", DatabaseKind::ParityDb), &base, Method::Btrfs);
    let volumes = Arc::new(open(&btrfs.mount.join("state"), [(id.clone(), source)]).await);
    volumes.acquire(&id, version).await.expect("acquired");
    let ready = volumes.ensure_snapshot(&id, version).await.expect("a snapshot of a live node");
    let before = tree(&base.join("chains/polkadot/paritydb"));
    fs::write(base.join("chains/polkadot/paritydb/full/metadata"), "written later").expect("written");
    assert_eq!(tree(&volumes.claims_dir().join(&ready.claim).join("paritydb")), before);
    assert!(fs::write(volumes.claims_dir().join(&ready.claim).join("x"), "").is_err(), "the snapshot is read-only");
    volumes.release(&id, version).await.expect("released");
    assert!(!btrfs.mount.join("state/volumes/dot").exists());
}

#[tokio::test]
async fn a_folder_that_is_not_on_btrfs_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = base_path(&folder.path().join("node"), DatabaseKind::ParityDb);
    let source = Source::of_target(&target("dot", DatabaseKind::ParityDb), &base, Method::Btrfs);
    let (id, version) = (target_id("dot"), version("20261122-120000"));
    let volumes = open(&folder.path().join("state"), [(id.clone(), source)]).await;
    volumes.acquire(&id, version).await.expect("acquired");
    let error = volumes.ensure_snapshot(&id, version).await.expect_err("not a subvolume");
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(text.contains("not on a btrfs subvolume") && text.contains("method = \"copy\""), "{text}");
}
