//! The archive's objects: `.tar.zst`, the `.tar.lz4` where the target has it, and the frames index.

use std::sync::Arc;

use polkashots_shared::frames::FramesIndex;
use polkashots_shared::ids::Sha256;
use polkashots_shared::manifest::{Artifact, FileRef};
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{Expected, Headers, ObjectStore, Upload};
use polkashots_shared::target::Format;
use tracing::info;

use crate::error::ArchiveError;
use crate::handle::SnapshotError;
use crate::index::{frames_index, to_stored_bytes};
use crate::layout::Layout;
use crate::pipeline::{Archived, Uploads, write_archive};
use crate::settings::Settings;
use crate::snapshot::Source;
use crate::store::{finish_once, put_once};
use crate::walk::Tree;

pub(crate) const ZSTD_SUFFIX: &str = ".tar.zst";
const LZ4_SUFFIX: &str = ".tar.lz4";
pub(crate) const ZSTD: &str = "application/zstd";
const LZ4: &str = "application/x-lz4";
/// What a restore's journal takes at most beside its frames' records, in bytes.
const JOURNAL_BYTES: u64 = 1024 * 1024;
/// A journal's record of one finished frame, generously, in bytes.
const JOURNAL_RECORD_BYTES: u64 = 64;

/// What was stored of the archive.
#[derive(Debug)]
pub struct Stored {
    /// The `.tar.zst`, with its frames index.
    pub zstd: Artifact,
    /// The `.tar.lz4`.
    pub lz4: Option<Artifact>,
    /// Most bytes that the journal of a restore takes.
    pub journal_bytes: u64,
}

/// Uploads every form of the archive, and the frames index after it.
pub async fn upload_archive(
    source: &Source<'_>,
    settings: Settings,
    (tree, layout): (Arc<Tree>, &Arc<Layout>),
    store: &dyn ObjectStore,
) -> Result<Stored, SnapshotError> {
    let archived = upload_forms(source, settings, tree, layout, store).await?;
    let lz4 = archived.lz4.map(|lz4| {
        let file = names::file_of_key(&source.key(LZ4_SUFFIX)).to_owned();
        let uncompressed_size = archived.uncompressed_size;
        artifact(Format::TarLz4, file, lz4, uncompressed_size, None)
    });
    let (zstd, journal_bytes) = upload_index(source, layout, archived, store).await?;
    Ok(Stored { zstd, lz4, journal_bytes })
}

async fn upload_forms(
    source: &Source<'_>,
    settings: Settings,
    tree: Arc<Tree>,
    layout: &Arc<Layout>,
    store: &dyn ObjectStore,
) -> Result<Archived, SnapshotError> {
    let (zstd_key, lz4_key) = (source.key(ZSTD_SUFFIX), source.key(LZ4_SUFFIX));
    let mut zstd = store.upload(&zstd_key, &Headers::immutable(ZSTD)).await?;
    let mut lz4 = match source.target.formats.contains(&Format::TarLz4) {
        true => Some(store.upload(&lz4_key, &Headers::immutable(LZ4)).await?),
        false => None,
    };
    let uploads = Uploads { zstd: zstd.as_mut(), lz4: lz4.as_mut().map(|upload| upload.as_mut() as &mut dyn Upload) };
    let archived = match write_archive(tree, layout.clone(), settings, uploads).await {
        Ok(archived) => archived,
        Err(error) => {
            // The sweep removes what cannot be removed now; the error that counts is the first.
            for upload in std::iter::once(zstd).chain(lz4) {
                let _ = upload.abort().await;
            }
            return Err(source.archive_error()(error));
        }
    };
    finish(store, zstd, &zstd_key, Expected { size: archived.size, sha256: archived.sha256 }).await?;
    if let (Some(upload), Some(expected)) = (lz4, archived.lz4) {
        finish(store, upload, &lz4_key, expected).await?;
    }
    Ok(archived)
}

async fn finish(
    store: &dyn ObjectStore,
    upload: Box<dyn Upload>,
    key: &str,
    expected: Expected,
) -> Result<(), SnapshotError> {
    finish_once(store, upload, key, expected).await?;
    info!(key, size_bytes = expected.size, "artifact stored");
    Ok(())
}

/// Returns the artifact and the bytes that a restore's journal takes.
async fn upload_index(
    source: &Source<'_>,
    layout: &Layout,
    archived: Archived,
    store: &dyn ObjectStore,
) -> Result<(Artifact, u64), SnapshotError> {
    let file = names::file_of_key(&source.key(ZSTD_SUFFIX)).to_owned();
    let Archived { size, sha256, uncompressed_size, frames, .. } = archived;
    let index: FramesIndex = frames_index((&source.target.id, source.version), &file, layout, frames);
    let journal_bytes = JOURNAL_BYTES + index.frames.len() as u64 * JOURNAL_RECORD_BYTES;
    let bytes = to_stored_bytes(&index).map_err(source.archive_error())?;
    let key = names::frames_key(&source.target.id, source.version);
    let frames_file = names::file_of_key(&key).to_owned();
    let frames =
        FileRef { url: frames_file.clone(), file: frames_file, size: bytes.len() as u64, sha256: Sha256::of(&bytes) };
    put_once(store, &key, bytes.into(), &Headers::immutable(ZSTD)).await?;
    let stored = Expected { size, sha256 };
    Ok((artifact(Format::TarZst, file, stored, uncompressed_size, Some(frames)), journal_bytes))
}

/// An artifact that is served beside its manifest.
pub(crate) fn artifact(
    format: Format,
    file: String,
    Expected { size, sha256 }: Expected,
    uncompressed_size: u64,
    frames: Option<FileRef>,
) -> Artifact {
    Artifact { format, url: file.clone(), file, size, sha256, uncompressed_size, frames }
}

impl Source<'_> {
    pub(crate) fn archive_error(&self) -> impl Fn(ArchiveError) -> SnapshotError + use<> {
        self.error_in(ZSTD_SUFFIX)
    }
}
