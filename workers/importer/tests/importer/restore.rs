//! Restores that succeed, and what they leave.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use crate::common::server::{Faults, Server};
use crate::common::{Bucket, Snapshot, read_tree, restored, tree};
use anyhow::{Context as _, Result};
use polkashots_importer::{
    Destination, Existing, NoProgress, Outcome, Owner, Phase, Progress, Update, preview, restore,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_on_disk_is_restored_and_nothing_else_is_left() -> Result<()> {
    let tree = tree(1);
    let bucket = Bucket::with(&tree)?;
    let chain = tempfile::tempdir()?;
    let restored = restored(&bucket.request(&bucket.source(), chain.path())).await?;
    assert_eq!(read_tree(chain.path())?, tree);
    assert_eq!(restored.database_dir, chain.path().join("db"));
    let mut left: Vec<_> = std::fs::read_dir(chain.path().join(".polkashots"))?
        .map(|e| e.map(|e| e.file_name()))
        .collect::<Result<_, _>>()?;
    left.sort();
    assert_eq!(left, ["db.complete.json", "db.lock", "db.newest.json"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_address_leads_to_the_snapshot() -> Result<()> {
    let tree = tree(2);
    let bucket = Bucket::with(&tree)?;
    let server = Server::start(bucket.folder.path(), Faults::default()).await?;
    let manifest = "testnet-rocksdb-prune/20261122-040000.manifest.json";
    let redirects = [
        ("test/rocksdb.manifest.json".to_owned(), format!("{}/{manifest}", server.url())),
        ("moved".to_owned(), format!("{}/{manifest}", server.url())),
    ];
    server.state.faults.lock().expect("not poisoned").redirects = redirects.into();
    let sources = [
        server.url(),
        format!("{}/index.json", server.url()),
        format!("{}/{manifest}", server.url()),
        format!("{}/test/rocksdb.manifest.json", server.url()),
        format!("file://{}", bucket.source()),
        bucket.path(manifest).display().to_string(),
        bucket.path("testnet-rocksdb-prune/20261122-040000.tar.zst").display().to_string(),
    ];
    for source in sources {
        let chain = tempfile::tempdir()?;
        restored(&bucket.request(&source, chain.path())).await.with_context(|| source.clone())?;
        assert_eq!(read_tree(chain.path())?, tree, "{source}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_of_several_snapshots_is_restored_from_another_hosts_archive() -> Result<()> {
    let (old, new) = (tree(3), tree(4));
    let mut bucket = Bucket::with(&old)?;
    let next = Snapshot { version: "20261123-040000".parse()?, height: 500, ..Snapshot::new(new.clone()) };
    bucket.publish(&next)?;
    let archive = Server::start(bucket.folder.path(), Faults::default()).await?;
    bucket.write_index(&archive.url())?;
    let site = tempfile::tempdir()?;
    for file in ["index.json", "index.json.minisig"] {
        std::fs::copy(bucket.path(file), site.path().join(file))?;
    }
    let site = Server::start(site.path(), Faults::default()).await?;
    let chain = tempfile::tempdir()?;
    let restored = restored(&bucket.request(&site.url(), chain.path())).await?;
    assert_eq!(restored.manifest.block.height, 500);
    assert_eq!(read_tree(chain.path())?, new);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_there_is_not_touched_and_needs_no_network() -> Result<()> {
    let bucket = Bucket::with(&tree(5))?;
    let base = tempfile::tempdir()?;
    let mut request = bucket.request(&bucket.source(), base.path());
    request.destination = Destination::BasePath(base.path().to_owned());
    restored(&request).await?;
    let chain = base.path().join("chains/testnet1");
    std::fs::write(chain.join("db/full/CURRENT"), "the node changed it")?;
    let before = read_tree(&chain)?;
    request.source = "http://127.0.0.1:9/gone".into();
    let outcome = restore(&request, &NoProgress).await?;
    assert!(matches!(&outcome, Outcome::AlreadyThere(there) if there.manifest.is_some()), "{outcome:?}");
    assert_eq!(read_tree(&chain)?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_from_elsewhere_is_not_touched() -> Result<()> {
    let bucket = Bucket::with(&tree(5))?;
    let chain = tempfile::tempdir()?;
    std::fs::create_dir_all(chain.path().join("db/full"))?;
    std::fs::write(chain.path().join("db/full/CURRENT"), "mine")?;
    let outcome = restore(&bucket.request(&bucket.source(), chain.path()), &NoProgress).await?;
    assert!(matches!(&outcome, Outcome::AlreadyThere(there) if there.manifest.is_none()), "{outcome:?}");
    assert_eq!(read_tree(chain.path())?.len(), 1);
    assert!(!chain.path().join(".polkashots").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn force_replaces_a_database_but_not_one_that_a_node_has_open() -> Result<()> {
    let tree = tree(6);
    let bucket = Bucket::with(&tree)?;
    let chain = tempfile::tempdir()?;
    let full = chain.path().join("db/full");
    std::fs::create_dir_all(&full)?;
    std::fs::write(full.join("old"), "old")?;
    let mut request = bucket.request(&bucket.source(), chain.path());
    request.existing = Existing::Replace;
    let lock = std::fs::File::create(full.join("LOCK"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    let error = restore(&request, &NoProgress).await.err().context("a node is running")?;
    assert!(error.to_string().contains("stop it first"), "{error}");
    assert!(full.join("old").exists());
    drop(lock);
    restored(&request).await?;
    assert_eq!(read_tree(chain.path())?, tree);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_counts_as_no_database() -> Result<()> {
    let tree = tree(7);
    let bucket = Bucket::with(&tree)?;
    let chain = tempfile::tempdir()?;
    std::fs::create_dir(chain.path().join("db"))?;
    restored(&bucket.request(&bucket.source(), chain.path())).await?;
    assert_eq!(read_tree(chain.path())?, tree);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_stay_holes() -> Result<()> {
    let mut tree = tree(8);
    let mut sparse = vec![0; 32 * 1024 * 1024];
    sparse[20_000_000..20_000_100].fill(7);
    tree.insert("db/full/table_00_1".into(), sparse);
    let bucket = Bucket::with(&tree)?;
    let chain = tempfile::tempdir()?;
    let restored = restored(&bucket.request(&bucket.source(), chain.path())).await?;
    assert_eq!(read_tree(chain.path())?, tree);
    let on_disk = std::fs::metadata(chain.path().join("db/full/table_00_1"))?.blocks() * 512;
    assert!(on_disk <= 64 * 1024, "{on_disk} bytes on disk");
    assert!(restored.written_bytes < 600_000, "{} bytes written", restored.written_bytes);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_and_owner_come_from_the_request() -> Result<()> {
    let bucket = Bucket::with(&tree(9))?;
    let base = tempfile::tempdir()?;
    let mut request = bucket.request(&bucket.source(), base.path());
    request.destination = Destination::BasePath(base.path().to_owned());
    (request.file_mode, request.folder_mode) = (Some(0o640), Some(0o750));
    let root = rustix::process::getuid().is_root();
    if root {
        request.owner = Some(Owner { uid: Some(1000), gid: Some(1001) });
    }
    restored(&request).await?;
    for (path, mode) in
        [("chains/testnet1", 0o750), ("chains/testnet1/db/full", 0o750), ("chains/testnet1/db/full/CURRENT", 0o640)]
    {
        let found = std::fs::metadata(base.path().join(path))?;
        assert_eq!(found.permissions().mode() & 0o777, mode, "{path}");
        if root {
            assert_eq!((found.uid(), found.gid()), (1000, 1001), "{path}");
        }
    }
    Ok(())
}

#[derive(Default)]
struct Heard(Mutex<Vec<Update>>);

impl Progress for Heard {
    fn update(&self, update: &Update) {
        self.0.lock().expect("not poisoned").push(*update);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_ends_at_the_total_and_never_goes_back() -> Result<()> {
    let bucket = Bucket::with(&tree(10))?;
    let chain = tempfile::tempdir()?;
    let heard = Heard::default();
    restore(&bucket.request(&bucket.source(), chain.path()), &heard).await?;
    let heard = heard.0.into_inner()?;
    let mut phases: Vec<Phase> = heard.iter().map(|update| update.phase).collect();
    phases.dedup();
    assert_eq!(phases, [Phase::Resolve, Phase::Prepare, Phase::Transfer, Phase::Finish]);
    for phase in [Phase::Prepare, Phase::Transfer, Phase::Finish] {
        let done: Vec<_> = heard.iter().filter(|update| update.phase == phase).collect();
        assert!(done.is_sorted_by_key(|update| update.done), "{done:?}");
        let last = done.last().context("an update")?;
        assert_eq!(last.done, last.total, "{phase:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_says_what_would_be_done_and_changes_nothing() -> Result<()> {
    let bucket = Bucket::with(&tree(11))?;
    let server = Server::start(bucket.folder.path(), Faults::default()).await?;
    let parent = tempfile::tempdir()?;
    let chain = parent.path().join("not/yet");
    let seen = preview(&bucket.request(&server.url(), &chain), &NoProgress).await?;
    assert!(!seen.already_there && seen.fetch_bytes > 0 && seen.resumed_bytes == 0, "{seen:?}");
    assert_eq!(seen.disk_needed_bytes, seen.manifest.disk_required);
    assert!(!parent.path().join("not").exists());
    assert_eq!(server.state.archive_requests.load(Ordering::SeqCst), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_is_finished_though_a_newer_snapshot_came_out() -> Result<()> {
    let (old, new) = (tree(12), tree(13));
    let mut bucket = Bucket::with(&old)?;
    let chain = tempfile::tempdir()?;
    let server = Server::start(bucket.folder.path(), Faults { one_short: true, ..Faults::default() }).await?;
    let mut request = bucket.request(&server.url(), chain.path());
    crate::common::refused(&request).await?;
    *server.state.faults.lock().expect("not poisoned") = Faults::default();
    let next = Snapshot { version: "20261123-040000".parse()?, height: 500, ..Snapshot::new(new.clone()) };
    bucket.publish(&next)?;
    let finished = restored(&request).await?;
    assert_eq!((finished.manifest.block.height, read_tree(chain.path())?), (396, old));
    assert!(finished.resumed_bytes > 0);
    // Where the old one is not good enough any more, the newer one is taken.
    request.existing = Existing::Replace;
    *server.state.faults.lock().expect("not poisoned") = Faults { one_short: true, ..Faults::default() };
    crate::common::refused(&request).await?;
    *server.state.faults.lock().expect("not poisoned") = Faults::default();
    let latest = Snapshot { version: "20261124-040000".parse()?, height: 600, ..Snapshot::new(new.clone()) };
    bucket.publish(&latest)?;
    request.trust.min_height = Some(600);
    let taken = restored(&request).await?;
    assert_eq!((taken.manifest.block.height, read_tree(chain.path())?), (600, new));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_during_the_last_cleaning_up_left_is_removed_by_the_next_call() -> Result<()> {
    let bucket = Bucket::with(&tree(14))?;
    let chain = tempfile::tempdir()?;
    let request = bucket.request(&bucket.source(), chain.path());
    restored(&request).await?;
    // A staging folder goes manifest first; this one got no further.
    let staging = chain.path().join(".polkashots/db.partial");
    std::fs::create_dir_all(&staging)?;
    std::fs::write(staging.join("frames.json.zst"), "no use without the manifest")?;
    let outcome = restore(&request, &NoProgress).await?;
    assert!(matches!(outcome, Outcome::AlreadyThere(_)), "{outcome:?}");
    assert!(!staging.exists(), "staging is left");
    Ok(())
}
