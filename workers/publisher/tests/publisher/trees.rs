//! Snapshots with a tree: what is read before they are signed, what points at them, and how they go.

use std::time::Duration;

use crate::common::{DOT, World, version};
use polkashots_publisher::refresh;
use polkashots_publisher::testkit::{fake_manifest, put_fake_files};
use polkashots_shared::ids::Sha256;
use polkashots_shared::manifest::Artifact;
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{Headers, ObjectStore, Precondition};
use polkashots_shared::target::Format;
use polkashots_shared::tree::{TreeFile, sums_to_bytes};

const V1: &str = "20261119-040000";
const V2: &str = "20261120-040000";
const POINTER: &str = "polkadot-paritydb-prune/latest_version.meta.txt";
const HOUR: Duration = Duration::from_secs(3600);

/// Puts a snapshot of a database of two files, with its tree.
async fn upload_with_tree(world: &World, version_text: &str) -> anyhow::Result<()> {
    let (target, version, store) = (world.target(DOT), version(version_text), world.store.as_ref());
    let put = async |key: String, bytes: Vec<u8>| {
        store.put(&key, bytes.into(), Precondition::Create, &Headers::immutable("text/plain")).await
    };
    let mut files = Vec::new();
    for (path, content) in
        [("files.txt", "full/metadata\nfull/table_00_15\n"), ("full/metadata", "1"), ("full/table_00_15", "2")]
    {
        put(names::tree_key(&target.id, version, path), content.into()).await?;
        files.push(TreeFile { path: format!("{version}/{path}"), sha256: Sha256::of(content.as_bytes()) });
    }
    let sums = sums_to_bytes(&files);
    let file = format!("{version}{}", names::TREE_SUMS_SUFFIX);
    let mut manifest = fake_manifest(&target, version, 396, b"archive");
    manifest.artifacts.push(Artifact {
        format: Format::Tree,
        url: file.clone(),
        file,
        size: sums.len() as u64,
        sha256: Sha256::of(&sums),
        uncompressed_size: 2,
        frames: None,
    });
    put(names::object_key(&target.id, version, names::TREE_SUMS_SUFFIX), sums).await?;
    put_fake_files(store, &manifest, b"archive").await?;
    put(names::manifest_key(&target.id, version), manifest.to_bytes()).await?;
    Ok(())
}

fn pointer(world: &World) -> Option<String> {
    world.bytes(POINTER).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn the_newest_tree_is_pointed_at_and_never_an_older_one() -> anyhow::Result<()> {
    let world = World::new();
    upload_with_tree(&world, V2).await?;
    world.handle(DOT, V2).await?;
    assert_eq!(pointer(&world), Some(format!("{V2}\n")));
    assert_eq!(world.store.objects()[POINTER].headers.cache_control, "no-cache");
    upload_with_tree(&world, V1).await?;
    world.handle(DOT, V1).await?;
    world.publish(DOT, "20261121-040000", 397).await?;
    assert_eq!(pointer(&world), Some(format!("{V2}\n")), "a later snapshot without a tree is not pointed at");
    assert_eq!(world.listed(DOT).len(), 3);
    let before = world.store.objects();
    world.handle(DOT, V2).await?;
    assert_eq!(world.store.objects(), before);
    Ok(())
}

#[tokio::test]
async fn a_wrong_or_missing_file_of_a_tree_is_never_signed() -> anyhow::Result<()> {
    for (version, harm, reason) in [(V1, "tamper", "has SHA-256"), (V2, "delete", "is not there")] {
        let world = World::new();
        upload_with_tree(&world, version).await?;
        let key = format!("{DOT}/{version}/full/table_00_15");
        match harm {
            "tamper" => assert!(world.store.tamper(&key, "3")),
            _ => world.store.delete(&key).await?,
        }
        let error = world.handle(DOT, version).await.expect_err("the tree is wrong");
        assert!(
            error.is_permanent() && error.to_string().contains(reason) && error.to_string().contains(&key),
            "{error}"
        );
        assert_eq!((world.listed(DOT).len(), pointer(&world)), (0, None));
    }
    Ok(())
}

#[tokio::test]
async fn a_tree_goes_whole_and_its_pointer_before_it() -> anyhow::Result<()> {
    let world = World::new();
    upload_with_tree(&world, V1).await?;
    world.handle(DOT, V1).await?;
    for day in [20, 21, 22] {
        world.publish(DOT, &format!("202611{day}-040000"), day).await?;
    }
    assert_eq!(pointer(&world), None, "the snapshot left the index, and no listed one has a tree");
    let of_tree = |world: &World| world.store.keys().iter().filter(|key| key.contains(V1)).count();
    assert!(of_tree(&world) > 8, "the grace period is not over");
    world.clock.advance(73 * HOUR);
    refresh(&world.deps).await?;
    assert_eq!(of_tree(&world), 0, "{:?}", world.store.keys());
    Ok(())
}
