//! The tree: the database's files as they are, below `<version>/`, as Parity's chart reads them.
//!
//! `<version>/files.txt` lists them, `<version>.meta.txt` tells of them, `<version>.tree.SHA256SUMS` has the digest of
//! each; the last is what the manifest names. `latest_version.meta.txt`, which points at the newest tree, is the
//! publisher's. A file that an earlier run stored is compared, not sent again.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use polkashots_shared::ids::Sha256;
use polkashots_shared::manifest::Artifact;
use polkashots_shared::names;
use polkashots_shared::ports::object_store::{Expected, Headers, ObjectStore, Upload};
use polkashots_shared::target::Format;
use polkashots_shared::tree::{FILE_LIST, MAX_FILES, TreeFile, sums_to_bytes};
use sha2::Digest;
use tokio::sync::mpsc;
use tracing::info;

use crate::archive::artifact;
use crate::error::ArchiveError;
use crate::handle::SnapshotError;
use crate::snapshot::Source;
use crate::store::{finish_once, put_once, require_same};
use crate::walk::{Entry, EntryKind, FileState, Tree};

/// How many files are sent at the same time.
const PARALLEL_FILES: usize = 4;
/// A file of at most this size is one request.
const CHUNK_BYTES: u64 = 1024 * 1024;
const ANY_BYTES: &str = "application/octet-stream";
const TEXT: &str = "text/plain; charset=utf-8";

/// Uploads the files, then what tells of them; the list of digests comes last.
pub async fn upload_tree(
    source: &Source<'_>,
    tree: &Arc<Tree>,
    store: &dyn ObjectStore,
) -> Result<Artifact, SnapshotError> {
    let files = files_of(tree, source.target.database.folder()).map_err(source.error_in(names::TREE_SUMS_SUFFIX))?;
    let stored = stored_before(source, store).await?;
    let uncompressed_size = files.iter().map(|file| file.state.size).sum();
    let list: String = files.iter().flat_map(|file| [file.path.as_str(), "\n"]).collect();
    let uploads = files.into_iter().map(|file| {
        let is_stored = stored.contains(&source.tree_key(&file.path));
        upload_file(source, tree, file, is_stored, store)
    });
    let mut sums: Vec<TreeFile> = futures::stream::iter(uploads).buffered(PARALLEL_FILES).try_collect().await?;
    sums.push(upload_text(&source.tree_key(FILE_LIST), list, store).await?);
    let meta = meta_text(source, uncompressed_size);
    sums.push(upload_text(&source.key(names::TREE_META_SUFFIX), meta, store).await?);
    sums.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    upload_sums(source, &sums, uncompressed_size, store).await
}

/// A file of the tree; its path is relative to the database's folder.
struct File {
    path: String,
    /// The same relative to the chain's folder.
    in_chain_dir: String,
    state: FileState,
}

fn files_of(tree: &Tree, folder: &str) -> Result<Vec<File>, ArchiveError> {
    let file = |entry: &Entry| match entry.kind {
        EntryKind::Directory => None,
        EntryKind::File(state) => {
            let path = entry.path.strip_prefix(folder).and_then(|path| path.strip_prefix('/'))?;
            Some(File { path: path.to_owned(), in_chain_dir: entry.path.clone(), state })
        }
    };
    let files: Vec<File> = tree.entries().iter().filter_map(file).collect();
    if files.len() > MAX_FILES {
        return Err(ArchiveError::TooManyForTree { files: files.len() });
    }
    match files.iter().find_map(|file| Some((file, unlistable(&file.path)?))) {
        Some((file, reason)) => Err(ArchiveError::Name { path: tree.full_path(&file.in_chain_dir), reason }),
        None => Ok(files),
    }
}

/// Why a path cannot stand in `files.txt`; rclone takes what starts so for a comment, and trims lines.
fn unlistable(path: &str) -> Option<&'static str> {
    if path == FILE_LIST {
        return Some("is that of the tree's own list");
    }
    if path.starts_with(['#', ';']) {
        return Some("would be a comment in the tree's files.txt");
    }
    (path.trim() != path).then_some("starts or ends with a blank, which the tree's files.txt cannot say")
}

async fn stored_before(source: &Source<'_>, store: &dyn ObjectStore) -> Result<BTreeSet<String>, SnapshotError> {
    let listed = store.list(&source.tree_key("")).await?;
    Ok(listed.into_iter().map(|meta| meta.key).collect())
}

async fn upload_file(
    source: &Source<'_>,
    tree: &Arc<Tree>,
    file: File,
    is_stored: bool,
    store: &dyn ObjectStore,
) -> Result<TreeFile, SnapshotError> {
    let key = source.tree_key(&file.path);
    let failed = source.error_in(&format!("/{}", file.path));
    let mut content = Content::of(tree.clone(), file.in_chain_dir, file.state);
    if is_stored {
        let sha256 = content.digest().await.map_err(failed)?;
        require_same(store, &key, Expected { size: file.state.size, sha256 }).await?;
        return Ok(TreeFile { path: names::file_of_key(&key).to_owned(), sha256 });
    }
    let headers = Headers::immutable(ANY_BYTES);
    let sha256 = if file.state.size <= CHUNK_BYTES {
        let bytes = content.next().await.map_err(&failed)?.unwrap_or_default();
        let sha256 = content.digest().await.map_err(failed)?;
        put_once(store, &key, bytes, &headers).await?;
        sha256
    } else {
        let mut upload = store.upload(&key, &headers).await?;
        let sha256 = match send(&mut content, upload.as_mut()).await {
            Ok(sha256) => sha256,
            Err(error) => {
                // The sweep removes what cannot be removed now; the error that counts is the first.
                let _ = upload.abort().await;
                return Err(failed(error));
            }
        };
        finish_once(store, upload, &key, Expected { size: file.state.size, sha256 }).await?;
        sha256
    };
    Ok(TreeFile { path: names::file_of_key(&key).to_owned(), sha256 })
}

async fn send(content: &mut Content, upload: &mut dyn Upload) -> Result<Sha256, ArchiveError> {
    while let Some(chunk) = content.next().await? {
        upload.write(chunk).await?;
    }
    content.digest().await
}

async fn upload_text(key: &str, text: String, store: &dyn ObjectStore) -> Result<TreeFile, SnapshotError> {
    let sha256 = Sha256::of(text.as_bytes());
    put_once(store, key, text.into(), &Headers::immutable(TEXT)).await?;
    Ok(TreeFile { path: names::file_of_key(key).to_owned(), sha256 })
}

async fn upload_sums(
    source: &Source<'_>,
    sums: &[TreeFile],
    uncompressed_size: u64,
    store: &dyn ObjectStore,
) -> Result<Artifact, SnapshotError> {
    let key = source.key(names::TREE_SUMS_SUFFIX);
    let bytes = sums_to_bytes(sums);
    let stored = Expected { size: bytes.len() as u64, sha256: Sha256::of(&bytes) };
    put_once(store, &key, bytes.into(), &Headers::immutable(TEXT)).await?;
    info!(key, files = sums.len(), uncompressed_bytes = uncompressed_size, "tree stored");
    Ok(artifact(Format::Tree, names::file_of_key(&key).to_owned(), stored, uncompressed_size, None))
}

/// What Parity's own backups say of a tree.
fn meta_text(source: &Source<'_>, size_bytes: u64) -> String {
    let version = source.target.node.as_ref().map(|node| format!("version: {}\n", node.version));
    let height = source.identity.finalized.height;
    format!("size: {size_bytes}\nlastBlock: {height}\n{}", version.unwrap_or_default())
}

/// A file's bytes, chunk by chunk, read on a thread of their own.
struct Content {
    chunks: mpsc::Receiver<Result<Bytes, ArchiveError>>,
    hasher: sha2::Sha256,
    left_bytes: u64,
}

impl Content {
    fn of(tree: Arc<Tree>, path: String, state: FileState) -> Self {
        let (sender, chunks) = mpsc::channel(1);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read(&tree, &path, &state, &sender) {
                // Fails only if nobody reads on, for a reason of its own.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Self { chunks, hasher: sha2::Sha256::new(), left_bytes: state.size }
    }

    /// The next chunk; `None` once all was read and the file is still the one that was walked.
    async fn next(&mut self) -> Result<Option<Bytes>, ArchiveError> {
        match self.chunks.recv().await.transpose()? {
            Some(chunk) => {
                self.hasher.update(&chunk);
                self.left_bytes = self.left_bytes.saturating_sub(chunk.len() as u64);
                Ok(Some(chunk))
            }
            None if self.left_bytes == 0 => Ok(None),
            None => Err(ArchiveError::Stopped),
        }
    }

    /// The digest of everything, once the rest was read.
    async fn digest(&mut self) -> Result<Sha256, ArchiveError> {
        while self.next().await?.is_some() {}
        Ok(Sha256(self.hasher.finalize_reset().into()))
    }
}

fn read(
    tree: &Tree,
    path: &str,
    state: &FileState,
    chunks: &mpsc::Sender<Result<Bytes, ArchiveError>>,
) -> Result<(), ArchiveError> {
    let mut opener = tree.opener();
    let file = opener.open(path, state)?;
    let mut offset = 0;
    while offset < state.size {
        let mut chunk = vec![0; (state.size - offset).min(CHUNK_BYTES) as usize];
        if let Err(error) = file.read_exact_at(&mut chunk, offset) {
            // A file that shrank is told as such.
            opener.check(path, state, &file)?;
            return Err(ArchiveError::io("read", tree.full_path(path), error));
        }
        offset += chunk.len() as u64;
        if chunks.blocking_send(Ok(chunk.into())).is_err() {
            return Ok(());
        }
    }
    opener.check(path, state, &file)
}
