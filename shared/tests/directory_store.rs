//! What the contract does not say of the store in a directory: crashes, several processes, foreign files, a lost disk.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use polkashots_shared::adapters::directory_store::DirectoryStore;
use polkashots_shared::ids::Sha256;
use polkashots_shared::ports::object_store::{Expected, Headers, ObjectStore, Precondition, StoreError, Upload};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

fn scratch() -> Result<(TempDir, DirectoryStore)> {
    let folder = tempfile::tempdir()?;
    let store = DirectoryStore::open(folder.path())?;
    Ok((folder, store))
}

fn headers() -> Headers {
    Headers::no_cache("application/json")
}

async fn put(store: &DirectoryStore, key: &str, bytes: &'static str) -> Result<()> {
    store.put(key, bytes.into(), Precondition::None, &headers()).await?;
    Ok(())
}

async fn begin(store: &DirectoryStore, key: &str) -> Result<Box<dyn Upload>> {
    let mut upload = store.upload(key, &headers()).await?;
    upload.write(Bytes::from_static(b"part of it")).await?;
    Ok(upload)
}

fn parts(folder: &TempDir) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder.path().join(".uploads"))?.map(|entry| entry.map(|entry| entry.path()));
    let paths = entries.collect::<std::io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "part")).collect())
}

async fn keys(store: &DirectoryStore) -> Result<Vec<String>> {
    Ok(store.list("").await?.into_iter().map(|meta| meta.key).collect())
}

/// Adds one to the number in `counter`, as a publisher adds to the index.
async fn increment(store: &DirectoryStore) -> Result<()> {
    loop {
        let object = store.get("counter", 100).await?;
        let next = std::str::from_utf8(&object.bytes)?.parse::<u32>()? + 1;
        let swap = Precondition::Generation(object.meta.generation);
        match store.put("counter", next.to_string().into(), swap, &headers()).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Changed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_is_lost_between_two_handles() -> Result<()> {
    let (folder, store) = scratch()?;
    put(&store, "counter", "100").await?;
    let writers = (0..4).map(|_| {
        let store = DirectoryStore::open(folder.path());
        tokio::spawn(async move {
            let store = store?;
            for _ in 0..50 {
                increment(&store).await?;
            }
            anyhow::Ok(())
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer??;
    }
    assert_eq!(store.get("counter", 100).await?.bytes, "300");
    assert!(parts(&folder)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_a_killed_process_left_is_invisible_and_swept_when_it_is_old() -> Result<()> {
    let (folder, store) = scratch()?;
    put(&store, "index.json", "{}").await?;
    let left = folder.path().join(".uploads/1-2-3.part");
    fs::write(&left, "half an object")?;
    assert_eq!(keys(&store).await?, ["index.json"]);
    assert_eq!(store.sweep_uploads(HOUR).await?, 0, "it may be somebody's yet");
    File::options().write(true).open(&left)?.set_modified(SystemTime::now() - 2 * HOUR)?;
    assert_eq!(store.sweep_uploads(HOUR).await?, 1);
    assert!(!left.exists());
    Ok(())
}

#[tokio::test]
async fn the_sweep_never_takes_an_upload_that_is_being_written() -> Result<()> {
    let (folder, store) = scratch()?;
    let upload = begin(&store, "a/slow").await?;
    for part in parts(&folder)? {
        File::options().write(true).open(part)?.set_modified(SystemTime::now() - 48 * HOUR)?;
    }
    assert_eq!(DirectoryStore::open(folder.path())?.sweep_uploads(HOUR).await?, 0);
    let bytes = b"part of it";
    upload.finish(Expected { size: bytes.len() as u64, sha256: Sha256::of(bytes) }).await?;
    assert_eq!(keys(&store).await?, ["a/slow"]);
    Ok(())
}

#[tokio::test]
async fn a_dropped_upload_frees_its_space_at_once() -> Result<()> {
    let (folder, store) = scratch()?;
    let upload = begin(&store, "a/dropped").await?;
    assert_eq!(parts(&folder)?.len(), 1);
    drop(upload);
    assert!(parts(&folder)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn links_and_foreign_files_are_no_objects() -> Result<()> {
    let (folder, store) = scratch()?;
    let outside = tempfile::tempdir()?;
    fs::write(outside.path().join("secret"), "secret")?;
    symlink(outside.path(), folder.path().join("linked"))?;
    symlink(outside.path().join("secret"), folder.path().join("file"))?;
    fs::write(folder.path().join("back\\slash"), "x")?;
    fs::create_dir(folder.path().join("empty"))?;
    assert!(keys(&store).await?.is_empty());
    for key in ["linked/secret", "file", "empty"] {
        assert_eq!(store.head(key).await?, None, "{key}");
        assert!(matches!(store.get(key, 10).await, Err(StoreError::NotFound { .. })), "{key}");
        store.delete(key).await?;
    }
    let refused = store.put("linked/new", "x".into(), Precondition::None, &headers()).await;
    assert!(matches!(refused, Err(StoreError::Permanent { .. })), "{refused:?}");
    assert_eq!(fs::read_dir(outside.path())?.count(), 1, "nothing was written or deleted outside");
    Ok(())
}

#[tokio::test]
async fn a_write_where_a_folder_is_says_so() -> Result<()> {
    let (folder, store) = scratch()?;
    fs::create_dir(folder.path().join("taken"))?;
    for precondition in [Precondition::Create, Precondition::None] {
        let Err(refused) = store.put("taken", "x".into(), precondition, &headers()).await else { bail!("written") };
        assert!(refused.to_string().contains("folder is where the object belongs"), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn the_stores_own_folder_is_no_key() -> Result<()> {
    let (_folder, store) = scratch()?;
    let refused = store.put(".uploads/lock", "x".into(), Precondition::None, &headers()).await;
    assert!(matches!(refused, Err(StoreError::Permanent { .. })), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn objects_are_readable_for_everybody_and_empty_folders_go() -> Result<()> {
    let (folder, store) = scratch()?;
    put(&store, "target/version/files.txt", "x").await?;
    let mode = fs::metadata(folder.path().join("target/version/files.txt"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    put(&store, "target/kept", "x").await?;
    store.delete("target/version/files.txt").await?;
    assert!(!folder.path().join("target/version").exists());
    assert!(folder.path().join("target/kept").exists());
    Ok(())
}

#[tokio::test]
async fn a_lost_root_is_told_apart_from_an_empty_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("store");
    assert!(DirectoryStore::open(&root).is_err_and(|error| error.to_string().contains("create or mount it")));
    fs::create_dir(&root)?;
    let store = DirectoryStore::open(&root)?;
    fs::rename(&root, folder.path().join("gone"))?;
    let lost = store.list("").await.err().context("the root is gone")?;
    assert!(matches!(lost, StoreError::Permanent { .. }) && lost.to_string().contains("store"), "{lost}");
    fs::create_dir(&root)?;
    let other = store.put("index.json", "{}".into(), Precondition::Create, &headers()).await;
    let other = other.err().context("another directory is there")?;
    assert!(other.to_string().contains("is its disk mounted?"), "{other}");
    assert_eq!(fs::read_dir(&root)?.count(), 0, "nothing was written to the wrong directory");
    Ok(())
}
