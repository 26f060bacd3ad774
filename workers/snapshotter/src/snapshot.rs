//! One snapshot's objects in the order in which they appear: archive, frames index, tree, blocks, sums, manifest.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use polkashots_shared::ids::Version;
use polkashots_shared::manifest::{self, Artifact, Block, Database, Manifest};
use polkashots_shared::names;
use polkashots_shared::ports::chain_database::{DatabaseLocation, Identity};
use polkashots_shared::ports::object_store::{Expected, Headers, ObjectStore};
use polkashots_shared::target::{Format, Target};
use tracing::info;

use crate::archive::{ZSTD, artifact, upload_archive};
use crate::blocks::{Exported, Exporter};
use crate::error::ArchiveError;
use crate::handle::SnapshotError;
use crate::layout::Layout;
use crate::settings::Settings;
use crate::store::{finish_once, put_once};
use crate::tree::upload_tree;
use crate::walk::Tree;

const BLOCKS_SUFFIX: &str = ".blocks.zst";
/// Filesystems allocate in units of this size, in bytes.
const DISK_BLOCK: u64 = 4096;

/// What one snapshot is made of.
#[derive(Debug)]
pub struct Source<'a> {
    /// Its target.
    pub target: &'a Target,
    /// Its version.
    pub version: Version,
    /// When its volume snapshot was taken.
    pub taken_at: DateTime<Utc>,
    /// The database.
    pub location: DatabaseLocation,
    /// What the database says of itself.
    pub identity: Identity,
}

impl Source<'_> {
    pub(crate) fn key(&self, suffix: &str) -> String {
        names::object_key(&self.target.id, self.version, suffix)
    }

    pub(crate) fn tree_key(&self, path: &str) -> String {
        names::tree_key(&self.target.id, self.version, path)
    }

    /// Says in which object an error happened.
    pub(crate) fn error_in(&self, suffix: &str) -> impl Fn(ArchiveError) -> SnapshotError + use<> {
        let artifact = self.key(suffix);
        move |source| SnapshotError::Archive { artifact: artifact.clone(), source }
    }
}

/// Uploads everything but the manifest, which it returns.
pub async fn upload_artifacts(
    source: &Source<'_>,
    exporter: Option<&Exporter>,
    store: &dyn ObjectStore,
) -> Result<Manifest, SnapshotError> {
    let settings = Settings::new(&source.target.compression).map_err(source.archive_error())?;
    let (tree, layout) = plan(source, settings).await?;
    let archive = upload_archive(source, settings, (tree.clone(), &layout), store).await?;
    let mut manifest = manifest(source, &layout, archive.zstd, archive.journal_bytes);
    manifest.artifacts.extend(archive.lz4);
    if source.target.formats.contains(&Format::Tree) {
        manifest.artifacts.push(upload_tree(source, &tree, store).await?);
    }
    if let Some(exporter) = exporter.filter(|_| source.target.formats.contains(&Format::BlocksZst)) {
        manifest.artifacts.push(upload_blocks(source, exporter, store).await?);
    }
    upload_sums(source, &manifest, store).await?;
    Ok(manifest)
}

/// Writes the manifest: from here on the snapshot exists.
pub async fn commit(manifest: &Manifest, store: &dyn ObjectStore) -> Result<(), SnapshotError> {
    let key = names::manifest_key(&manifest.target, manifest.version);
    put_once(store, &key, manifest.to_bytes().into(), &Headers::immutable("application/json")).await?;
    info!(
        target_id = %manifest.target,
        version = %manifest.version,
        height = manifest.block.height,
        files = manifest.files,
        size_bytes = manifest.artifacts.iter().map(|artifact| artifact.size).sum::<u64>(),
        "snapshot uploaded"
    );
    Ok(())
}

async fn plan(source: &Source<'_>, settings: Settings) -> Result<(Arc<Tree>, Arc<Layout>), SnapshotError> {
    let DatabaseLocation { chain_dir, kind } = source.location.clone();
    let planned = tokio::task::spawn_blocking(move || {
        let tree = Tree::walk(&chain_dir, kind)?;
        let layout = Layout::plan(tree.entries(), settings.frame_size);
        Ok((Arc::new(tree), Arc::new(layout)))
    });
    planned.await.unwrap_or(Err(ArchiveError::Stopped)).map_err(source.archive_error())
}

/// Exports the blocks, once the other forms are made: a node's work must not be lost to an archive that fails.
async fn upload_blocks(
    source: &Source<'_>,
    exporter: &Exporter,
    store: &dyn ObjectStore,
) -> Result<Artifact, SnapshotError> {
    let key = source.key(BLOCKS_SUFFIX);
    let mut upload = store.upload(&key, &Headers::immutable(ZSTD)).await?;
    let exported = exporter.export(source.target, (&source.location, &source.identity), upload.as_mut()).await;
    let Exported { size, sha256, uncompressed_size } = match exported {
        Ok(exported) => exported,
        Err(error) => {
            // As for the archive: the sweep removes what cannot be removed now.
            let _ = upload.abort().await;
            return Err(SnapshotError::Blocks { artifact: key, source: error });
        }
    };
    finish_once(store, upload, &key, Expected { size, sha256 }).await?;
    info!(key, size_bytes = size, uncompressed_bytes = uncompressed_size, "artifact stored");
    let file = names::file_of_key(&key).to_owned();
    Ok(artifact(Format::BlocksZst, file, Expected { size, sha256 }, uncompressed_size, None))
}

fn manifest(source: &Source<'_>, layout: &Layout, artifact: Artifact, journal_bytes: u64) -> Manifest {
    let Source { target, version, taken_at, identity, .. } = source;
    Manifest {
        schema: manifest::SCHEMA,
        target: target.id.clone(),
        permalink: target.permalink.clone(),
        version: *version,
        created_at: *taken_at,
        chain: target.chain.clone(),
        database: Database { kind: target.database, pruning: target.pruning.clone(), warp_gap: identity.warp_gap },
        block: Block::new(identity.finalized, identity.best),
        node: target.node.clone(),
        disk_required: disk_required(layout, &artifact) + journal_bytes,
        artifacts: vec![artifact],
        files: layout.entries.iter().filter(|entry| entry.file.is_some()).count() as u64,
        tool: concat!("polkashots ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// What the restored tree takes on a filesystem without holes, whole blocks per file and one per folder, and the stored
/// frames index beside it.
fn disk_required(layout: &Layout, artifact: &Artifact) -> u64 {
    let blocks = |bytes: u64| bytes.next_multiple_of(DISK_BLOCK);
    let tree: u64 =
        layout.entries.iter().map(|entry| if entry.file.is_some() { blocks(entry.size()) } else { DISK_BLOCK }).sum();
    tree + artifact.frames.as_ref().map_or(0, |frames| blocks(frames.size))
}

/// Writes what `sha256sum -c` reads in the target's folder.
async fn upload_sums(source: &Source<'_>, manifest: &Manifest, store: &dyn ObjectStore) -> Result<(), SnapshotError> {
    let mut lines: Vec<String> =
        manifest.referenced_files().map(|file| format!("{}  {}\n", file.sha256, file.file)).collect();
    lines.sort_unstable_by(|a, b| a[64..].cmp(&b[64..]));
    let key = names::sums_key(&source.target.id, source.version);
    put_once(store, &key, lines.concat().into(), &Headers::immutable("text/plain; charset=utf-8")).await?;
    Ok(())
}
