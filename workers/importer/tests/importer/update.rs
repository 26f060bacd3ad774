//! Updating and repairing a database that is there.

use std::path::Path;
use std::sync::atomic::Ordering;

use crate::common::server::{Faults, Server};
use crate::common::{Bucket, Snapshot, Tree, read_tree, restored, tree};
use anyhow::{Context as _, Result, ensure};
use polkashots_importer::{Existing, NoProgress, Outcome, RestoreRequest, restore};

/// The next snapshot of the same target.
fn next(tree: &Tree) -> Result<Snapshot> {
    Ok(Snapshot { version: "20261123-040000".parse()?, height: 500, ..Snapshot::new(tree.clone()) })
}

/// A bucket with an old and a new snapshot, of which the old one is restored in `chain`.
async fn bucket_with_two(old: &Tree, new: &Tree, chain: &Path) -> Result<Bucket> {
    let mut bucket = Bucket::with(old)?;
    restored(&bucket.request(&bucket.source(), chain)).await?;
    bucket.publish(&next(new)?)?;
    Ok(bucket)
}

fn updating(bucket: &Bucket, source: &str, chain: &Path) -> RestoreRequest {
    let mut request = bucket.request(source, chain);
    request.existing = Existing::Update;
    request
}

/// A tree of 256 MiB: tables that never change, and one that is written in place; frames are of 1 MiB.
fn large(random: &mut fastrand::Rng) -> Tree {
    let mut bytes = |size: usize| {
        let mut bytes = vec![0; size];
        random.fill(&mut bytes);
        bytes
    };
    let mut tree: Tree = (0..96).map(|number| (format!("db/full/{number:06}.sst"), bytes(2 << 20))).collect();
    tree.insert("db/full/table_00_1".into(), bytes(64 << 20));
    tree
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_which_two_percent_changed_fetches_less_than_five() -> Result<()> {
    let mut random = fastrand::Rng::with_seed(60);
    let old = large(&mut random);
    let mut new = old.clone();
    for number in 0..2 {
        let gone = new.remove(&format!("db/full/{number:06}.sst")).context("a table")?;
        new.insert(format!("db/full/{:06}.sst", 200 + number), gone.into_iter().map(|byte| byte ^ 0x5a).collect());
    }
    new.get_mut("db/full/table_00_1").context("a table")?[10 << 20..11 << 20].fill(9);
    let chain = tempfile::tempdir()?;
    let frame_size = 1 << 20;
    let mut bucket = Bucket::new()?;
    bucket.publish(&Snapshot { frame_size, ..Snapshot::new(old) })?;
    restored(&bucket.request(&bucket.source(), chain.path())).await?;
    let manifest = bucket.publish(&Snapshot { frame_size, ..next(&new)? })?;
    let server = Server::start(bucket.folder.path(), Faults::default()).await?;
    let updated = restored(&updating(&bucket, &server.url(), chain.path())).await?;
    ensure!(read_tree(chain.path())? == new, "another tree");
    let (sent, size) = (server.state.archive_bytes(), manifest.artifacts[0].size);
    ensure!(sent * 20 < size, "{sent} of {size} bytes were fetched");
    ensure!(updated.fetched_bytes == sent && updated.kept_bytes > 0, "{updated:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_deleted_and_an_update_is_done_once() -> Result<()> {
    let (old, mut new) = (tree(61), tree(61));
    new.remove("db/full/000008.sst");
    new.insert("db/full/000010.sst".into(), vec![5; 90_000]);
    let chain = tempfile::tempdir()?;
    let bucket = bucket_with_two(&old, &new, chain.path()).await?;
    std::fs::write(chain.path().join("db/full/LOG"), "the node's")?;
    std::fs::create_dir(chain.path().join("db/full/empty"))?;
    let request = updating(&bucket, &bucket.source(), chain.path());
    let updated = restored(&request).await?;
    ensure!(updated.manifest.block.height == 500 && read_tree(chain.path())? == new, "another tree");
    ensure!(!chain.path().join("db/full/empty").exists(), "a folder that is gone is there");
    let again = restore(&request, &NoProgress).await?;
    ensure!(matches!(&again, Outcome::AlreadyThere(there) if there.manifest.is_some()), "{again:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_fetches_what_is_damaged_and_keeps_other_names_of_a_file_as_they_are() -> Result<()> {
    let tree = tree(62);
    let chain = tempfile::tempdir()?;
    let bucket = Bucket::with(&tree)?;
    restored(&bucket.request(&bucket.source(), chain.path())).await?;
    let damaged = chain.path().join("db/full/000007.sst");
    let mut bytes = std::fs::read(&damaged)?;
    bytes[100_000] ^= 1;
    bytes.push(1);
    std::fs::write(&damaged, &bytes)?;
    let other = chain.path().join("checkpoint.sst");
    std::fs::hard_link(&damaged, &other)?;
    let sparse = std::fs::OpenOptions::new().write(true).open(chain.path().join("db/full/sparse"))?;
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"noise", 50_000)?;
    std::fs::remove_file(chain.path().join("db/full/CURRENT"))?;
    let server = Server::start(bucket.folder.path(), Faults::default()).await?;
    let mut request = updating(&bucket, &server.url(), chain.path());
    request.existing = Existing::Repair;
    let repaired = restored(&request).await?;
    ensure!(read_tree(chain.path())? == tree, "another tree");
    ensure!(std::fs::read(&other)? == bytes, "the other name's content was changed");
    ensure!(repaired.fetched_bytes < 60_000 && repaired.kept_bytes > 200_000, "{repaired:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_update_leaves_the_old_database_and_is_continued() -> Result<()> {
    let (old, new) = (tree(63), tree(64));
    let chain = tempfile::tempdir()?;
    let bucket = bucket_with_two(&old, &new, chain.path()).await?;
    let server = Server::start(bucket.folder.path(), Faults { one_short: true, ..Faults::default() }).await?;
    let request = updating(&bucket, &server.url(), chain.path());
    let error = restore(&request, &NoProgress).await.err().context("it was updated")?;
    let mut found = read_tree(chain.path())?;
    found.remove("db/full/LOCK");
    ensure!(found == old, "the old database was changed: {error}");
    *server.state.faults.lock().expect("not poisoned") = Faults::default();
    let before = server.state.body_bytes.load(Ordering::SeqCst);
    let updated = restored(&request).await?;
    ensure!(read_tree(chain.path())? == new, "another tree");
    ensure!(updated.resumed_bytes > 0 && server.state.body_bytes.load(Ordering::SeqCst) > before, "{updated:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_a_node_has_open_is_not_updated() -> Result<()> {
    let (old, new) = (tree(65), tree(66));
    let chain = tempfile::tempdir()?;
    let bucket = bucket_with_two(&old, &new, chain.path()).await?;
    let lock = std::fs::File::create(chain.path().join("db/full/LOCK"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    let request = updating(&bucket, &bucket.source(), chain.path());
    let error = restore(&request, &NoProgress).await.err().context("a node is running")?;
    ensure!(error.to_string().contains("stop it first"), "{error}");
    drop(lock);
    restored(&request).await?;
    ensure!(read_tree(chain.path())? == new, "another tree");
    Ok(())
}
