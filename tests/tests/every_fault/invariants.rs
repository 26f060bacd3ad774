//! The invariants of a bucket, and a store that checks them after each change.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use polkashots_shared::ids::{Sha256, TargetId, Version};
use polkashots_shared::index::Index;
use polkashots_shared::manifest::Manifest;
use polkashots_shared::minisign::{PublicKey, verify};
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{
    ByteStream, Expected, Headers, Object, ObjectMeta, ObjectStore, Precondition, StoreError, Upload,
};
use polkashots_shared::target::Format;
use polkashots_shared::testkit::{MemoryStore, StoredObject};
use polkashots_shared::tree;

use crate::world::SECRET;

type Objects = BTreeMap<String, StoredObject>;

/// What was seen of a bucket so far.
pub struct Invariants {
    key: PublicKey,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    manifests: BTreeMap<String, Bytes>,
    newest: BTreeMap<TargetId, Version>,
    broken: Option<String>,
}

impl Invariants {
    /// Nothing seen yet; signatures must be by `key`.
    pub fn new(key: PublicKey) -> Self {
        Self { key, seen: Mutex::default() }
    }

    /// Checks what must hold at every moment, and that it held at every earlier one.
    pub fn check(&self, store: &MemoryStore) -> Result<()> {
        if let Some(broken) = &self.seen().broken {
            anyhow::bail!("an invariant was broken: {broken}");
        }
        let objects = store.objects();
        self.manifests_name_what_is_there(&objects)?;
        trees_are_whole(&objects)?;
        self.manifests_never_change(&objects)?;
        self.index_is_signed_and_never_goes_backwards(&objects)
    }

    /// Checks what must hold when nothing is under way; returns the manifests' keys.
    pub fn check_settled(&self, store: &MemoryStore) -> Result<Vec<String>> {
        self.check(store)?;
        let objects = store.objects();
        let index = objects.get(names::INDEX_KEY).context("no index")?;
        self.verified(&objects, names::INDEX_KEY, names::INDEX_SIGNATURE_KEY)?;
        let listed: Index = serde_json::from_slice(&index.bytes)?;
        let listed: Vec<String> =
            listed.targets.into_iter().flat_map(|target| target.snapshots).map(|snapshot| snapshot.manifest).collect();
        let mut manifests: Vec<String> = manifests(&objects).map(|(key, _)| key.clone()).collect();
        manifests.reverse();
        ensure!(listed == manifests, "index lists {listed:?}, the bucket has {manifests:?}");
        Ok(manifests)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn manifests_name_what_is_there(&self, objects: &Objects) -> Result<()> {
        for (key, object) in manifests(objects) {
            let manifest = Manifest::from_bytes(&object.bytes).with_context(|| key.clone())?;
            for file in manifest.referenced_files() {
                let found = objects.get(&manifest.key_of(&file.file));
                let found = found.with_context(|| format!("{key} names {}, which is not there", file.file))?;
                ensure!(found.bytes.len() as u64 == file.size, "{} has another size than {key} says", file.file);
                ensure!(Sha256::of(&found.bytes) == file.sha256, "{} has another SHA-256 than {key} says", file.file);
                nothing_secret(&file.file, &found.bytes)?;
            }
        }
        Ok(())
    }

    fn manifests_never_change(&self, objects: &Objects) -> Result<()> {
        let mut seen = self.seen();
        for (key, object) in manifests(objects) {
            let first = seen.manifests.entry(key.clone()).or_insert_with(|| object.bytes.clone());
            ensure!(*first == object.bytes, "{key} changed");
        }
        Ok(())
    }

    fn index_is_signed_and_never_goes_backwards(&self, objects: &Objects) -> Result<()> {
        let Some(index) = objects.get(names::INDEX_KEY) else { return Ok(()) };
        let index: Index = serde_json::from_slice(&index.bytes)?;
        let mut seen = self.seen();
        for target in &index.targets {
            for snapshot in &target.snapshots {
                let found = objects.get(&snapshot.manifest).context("a listed manifest is not there")?;
                ensure!(Sha256::of(&found.bytes) == snapshot.manifest_sha256, "{} is not as listed", snapshot.manifest);
                self.verified(
                    objects,
                    &snapshot.manifest,
                    &format!("{}{}", snapshot.manifest, names::SIGNATURE_SUFFIX),
                )?;
            }
            let newest = target.snapshots.first().context("a listed target has no snapshot")?.version;
            let before = seen.newest.insert(target.id.clone(), newest);
            ensure!(before <= Some(newest), "{} went back from {before:?} to {newest}", target.id);
        }
        Ok(())
    }

    fn verified(&self, objects: &Objects, key: &str, signature_key: &str) -> Result<()> {
        let signed = objects.get(key).with_context(|| format!("{key} is not there"))?;
        let signature = objects.get(signature_key).with_context(|| format!("{signature_key} is not there"))?;
        let text = std::str::from_utf8(&signature.bytes)?;
        verify(&self.key, &signed.bytes, text).with_context(|| format!("{signature_key} does not verify"))?;
        Ok(())
    }
}

fn manifests(objects: &Objects) -> impl Iterator<Item = (&String, &StoredObject)> {
    objects.iter().filter(|(key, _)| key.ends_with(names::MANIFEST_SUFFIX))
}

/// Every file that a visible tree lists is there as listed, and what points at the newest tree points at such a one.
fn trees_are_whole(objects: &Objects) -> Result<()> {
    for (key, object) in manifests(objects) {
        let manifest = Manifest::from_bytes(&object.bytes).with_context(|| key.clone())?;
        let Some(tree) = manifest.artifact(Format::Tree) else { continue };
        let sums = &objects.get(&manifest.key_of(&tree.file)).context("no sums of a tree")?.bytes;
        for file in tree::sums_from_bytes(sums, manifest.version)? {
            let found = objects.get(&manifest.key_of(&file.path));
            let found = found.with_context(|| format!("{key} has a tree without {}", file.path))?;
            ensure!(Sha256::of(&found.bytes) == file.sha256, "{} has another SHA-256 than listed", file.path);
            nothing_secret(&file.path, &found.bytes)?;
        }
        let Some(latest) = objects.get(&names::latest_tree_key(&manifest.target)) else { continue };
        let version: Version = std::str::from_utf8(&latest.bytes)?.trim().parse()?;
        let signature = names::manifest_signature_key(&manifest.target, version);
        ensure!(objects.contains_key(&signature), "the newest tree is {version}, which nobody signed");
    }
    Ok(())
}

/// An archive, unpacked, holds nothing of the secrets that lie beside the database.
fn nothing_secret(file: &str, bytes: &[u8]) -> Result<()> {
    let plain = match file {
        zst if zst.ends_with(".zst") => zstd::decode_all(bytes).with_context(|| format!("unpack {file}"))?,
        lz4 if lz4.ends_with(".lz4") => {
            let mut plain = Vec::new();
            lz4::Decoder::new(bytes)?.read_to_end(&mut plain).with_context(|| format!("unpack {file}"))?;
            plain
        }
        _ => bytes.to_vec(),
    };
    ensure!(memchr::memmem::find(&plain, SECRET).is_none(), "{file} holds a secret of the node");
    Ok(())
}

/// A store that checks the invariants after each of its changes and remembers the first that was broken.
pub struct Watched {
    inner: MemoryStore,
    invariants: Arc<Invariants>,
}

impl Watched {
    /// Watches `inner`.
    pub fn new(inner: MemoryStore, invariants: Arc<Invariants>) -> Self {
        Self { inner, invariants }
    }

    fn watch<T>(&self, changed: T) -> T {
        watch(&self.inner, &self.invariants);
        changed
    }
}

fn watch(store: &MemoryStore, invariants: &Invariants) {
    if let Err(error) = invariants.check(store) {
        invariants.seen().broken.get_or_insert(format!("{error:#}"));
    }
}

#[async_trait]
impl ObjectStore for Watched {
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
        precondition: Precondition,
        headers: &Headers,
    ) -> Result<ObjectMeta, StoreError> {
        self.inner.put(key, bytes, precondition, headers).await.map(|meta| self.watch(meta))
    }

    async fn upload(&self, key: &str, headers: &Headers) -> Result<Box<dyn Upload>, StoreError> {
        let upload = self.inner.upload(key, headers).await?;
        Ok(Box::new(WatchedUpload { upload, store: self.inner.clone(), invariants: self.invariants.clone() }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await.map(|()| self.watch(()))
    }

    async fn sweep_uploads(&self, min_age: Duration) -> Result<usize, StoreError> {
        self.inner.sweep_uploads(min_age).await
    }
}

struct WatchedUpload {
    upload: Box<dyn Upload>,
    store: MemoryStore,
    invariants: Arc<Invariants>,
}

#[async_trait]
impl Upload for WatchedUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.upload.write(bytes).await
    }

    async fn finish(self: Box<Self>, expected: Expected) -> Result<ObjectMeta, StoreError> {
        let finished = self.upload.finish(expected).await?;
        watch(&self.store, &self.invariants);
        Ok(finished)
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.upload.abort().await
    }
}
