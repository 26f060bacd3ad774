//! Files that change while they are read, and sparse files.

mod common;

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use common::{FRAME_BYTES, Host, noise, tree};
use polkashots_shared::ids::DatabaseKind;
use polkashots_shared::ports::object_store::{
    ByteStream, Expected, Headers, Object, ObjectMeta, ObjectStore, Precondition, StoreError, Upload,
};
use polkashots_shared::testkit::MemoryStore;
use polkashots_shared::worker::error_chain;
use polkashots_snapshotter::{Deps, handle};

type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A store that does something to the claim when the first chunk of an archive arrives.
struct Meddling {
    inner: MemoryStore,
    hook: Hook,
}

struct MeddlingUpload {
    inner: Box<dyn Upload>,
    hook: Hook,
}

#[async_trait]
impl Upload for MeddlingUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let hook = self.hook.lock().expect("no panic before").take();
        if let Some(hook) = hook {
            hook();
        }
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>, expected: Expected) -> Result<ObjectMeta, StoreError> {
        self.inner.finish(expected).await
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.inner.abort().await
    }
}

#[async_trait]
impl ObjectStore for Meddling {
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        self.inner.head(key).await
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Object, StoreError> {
        self.inner.get(key, max_bytes).await
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError> {
        self.inner.read(key, range).await
    }

    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        when: Precondition,
        headers: &Headers,
    ) -> Result<ObjectMeta, StoreError> {
        self.inner.put(key, bytes, when, headers).await
    }

    async fn upload(&self, key: &str, headers: &Headers) -> Result<Box<dyn Upload>, StoreError> {
        let inner = self.inner.upload(key, headers).await?;
        Ok(Box::new(MeddlingUpload { inner, hook: self.hook.clone() }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn sweep_uploads(&self, min_age: Duration) -> Result<usize, StoreError> {
        self.inner.sweep_uploads(min_age).await
    }
}

/// Archives 64 frames, does `meddle` when the first of them is stored, and returns the refusal.
async fn refusal_when(meddle: impl FnOnce(&Host) + Send + 'static) -> Result<String> {
    let host = Host::new(DatabaseKind::RocksDb)?;
    host.file("db/full/000001.sst", &noise(1, 64 * FRAME_BYTES as usize))?;
    host.file("db/full/000002.sst", &noise(2, 1000))?;
    let host = Arc::new(host);
    let seen = host.clone();
    let hook: Hook = Arc::new(Mutex::new(Some(Box::new(move || meddle(&seen)))));
    let store = Meddling { inner: host.store.clone(), hook };
    let deps = Deps { store: Arc::new(store), ..host.deps() };
    let error = handle(&host.event(), &deps).await.expect_err("a change went unseen");
    host.assert_nothing_visible();
    Ok(error_chain(&error))
}

fn open(host: &Host, path: &str) -> File {
    OpenOptions::new().write(true).open(host.chain_dir().join(path)).expect("there")
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_read_fails_the_run_by_name() -> Result<()> {
    let text = refusal_when(|host| open(host, "db/full/000001.sst").set_len(1).expect("shrinks")).await?;
    assert!(text.contains("000001.sst: changed while it was archived: expected 16777216 bytes"), "{text}");
    assert!(text.contains("found 1:"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_read_fails_the_run_by_name() -> Result<()> {
    let text = refusal_when(|host| open(host, "db/full/000001.sst").set_len(1 << 30).expect("grows")).await?;
    assert!(text.contains("000001.sst: changed") && text.contains("found 1073741824"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_overwritten_in_place_fails_the_run_by_name() -> Result<()> {
    let text = refusal_when(|host| open(host, "db/full/000001.sst").write_all_at(b"new", 99).expect("writes")).await?;
    assert!(text.contains("000001.sst: changed"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_file_that_vanishes_fails_the_run_by_name() -> Result<()> {
    let remove = |host: &Host| std::fs::remove_file(host.chain_dir().join("db/full/000002.sst")).expect("there");
    let text = refusal_when(remove).await?;
    assert!(text.contains("000002.sst") && text.contains("vanished"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_file_that_becomes_a_link_to_a_key_fails_the_run_and_is_not_followed() -> Result<()> {
    let replace = |host: &Host| {
        let (key, path) = (host.file("keystore/key", b"secret"), host.chain_dir().join("db/full/000002.sst"));
        std::fs::remove_file(&path).expect("there");
        std::os::unix::fs::symlink(key.expect("written"), path).expect("links");
    };
    let text = refusal_when(replace).await?;
    assert!(text.contains("000002.sst"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_folder_that_becomes_a_link_fails_the_run() -> Result<()> {
    let host = Host::new(DatabaseKind::RocksDb)?;
    host.file("db/full/a/1", b"1")?;
    let tree = polkashots_snapshotter::walk::Tree::walk(&host.chain_dir(), DatabaseKind::RocksDb)?;
    std::fs::rename(host.chain_dir().join("db/full/a"), host.chain_dir().join("moved"))?;
    std::os::unix::fs::symlink("../../moved", host.chain_dir().join("db/full/a"))?;
    let polkashots_snapshotter::walk::EntryKind::File(state) = tree.entries()[3].kind else {
        anyhow::bail!("{:?}", tree.entries())
    };
    assert!(tree.opener().open("db/full/a/1", &state).is_err(), "the link was followed");
    Ok(())
}

#[tokio::test]
async fn sparse_files_come_back_and_their_holes_cost_next_to_nothing() -> Result<()> {
    let host = Host::new(DatabaseKind::ParityDb)?;
    const SIZE: u64 = 512 << 20;
    let table = File::create(host.file("paritydb/full/table_00_15", b"")?)?;
    table.set_len(SIZE)?;
    table.write_all_at(b"first page", 0)?;
    table.write_all_at(&noise(3, 9000), (256 << 20) + 12_345)?;
    host.file("paritydb/full/log0", b"write-ahead log")?;
    host.run().await?;
    let archive = host.object(".tar.zst")?;
    // A frame of 256 KiB of zeros is about 30 bytes.
    assert!(archive.len() < 1_000_000, "{} bytes for 512 MiB of holes", archive.len());
    let unpacked = host.unpack()?.join("paritydb/full/table_00_15");
    let same = format!("cmp {} {}", unpacked.display(), host.chain_dir().join("paritydb/full/table_00_15").display());
    common::shell(host.dir.path(), &same, b"")?;
    Ok(())
}

#[tokio::test]
async fn sparse_and_dense_copies_of_a_tree_give_the_same_bytes() -> Result<()> {
    let mut archives = Vec::new();
    for sparse in [true, false] {
        let host = Host::new(DatabaseKind::ParityDb)?;
        let mut content = vec![0; 3_000_000];
        content[1_500_000..1_600_000].copy_from_slice(&noise(4, 100_000));
        let path = host.file("paritydb/full/table", if sparse { b"" } else { &content })?;
        if sparse {
            let table = OpenOptions::new().write(true).open(path)?;
            table.set_len(content.len() as u64)?;
            table.write_all_at(&content[1_500_000..1_600_000], 1_500_000)?;
        }
        host.run().await?;
        archives.push(host.object(".tar.zst")?);
    }
    assert!(archives[0] == archives[1]);
    Ok(())
}

#[tokio::test]
async fn thousands_of_small_files_come_back() -> Result<()> {
    let host = Host::new(DatabaseKind::RocksDb)?;
    for number in 0..5000 {
        host.file(&format!("db/full/{}/{number:06}", number % 7), format!("content of {number}").as_bytes())?;
    }
    host.run().await?;
    assert_eq!(host.manifest()?.files, 5000);
    let mut expected = tree(&host.chain_dir())?;
    assert_eq!(tree(&host.unpack()?)?, expected);
    expected.clear();
    Ok(())
}
