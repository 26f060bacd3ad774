//! Compares a restored database with its original, byte by byte.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use polkashots_shared::ids::DatabaseKind;

use crate::output::CommandError;

/// What was found equal.
#[derive(Debug, Default)]
pub(super) struct Equal {
    pub files: u64,
    pub bytes: u64,
}

/// Checks that every restored file is that of the original, and that nothing but the database was restored.
pub(super) fn same_files(original: &Path, restored: &Path, kind: DatabaseKind) -> Result<Equal, CommandError> {
    let io = |error: std::io::Error| CommandError::failed(format!("compare {}: {error}", restored.display()));
    for entry in std::fs::read_dir(restored).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if name != kind.folder() && !name.to_string_lossy().starts_with('.') {
            let message =
                format!("{}: {} was restored beside the database", restored.display(), name.to_string_lossy());
            return Err(CommandError::failed(message));
        }
    }
    let mut equal = Equal::default();
    let mut folders = vec![PathBuf::from(kind.folder())];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(restored.join(&folder)).map_err(io)? {
            let entry = entry.map_err(io)?;
            let path = folder.join(entry.file_name());
            if entry.file_type().map_err(io)?.is_dir() {
                folders.push(path);
                continue;
            }
            let size = same_content(&original.join(&path), &restored.join(&path)).map_err(io)?;
            equal.bytes += size.ok_or_else(|| {
                CommandError::failed(format!("{}: differs from its original", restored.join(&path).display()))
            })?;
            equal.files += 1;
        }
    }
    Ok(equal)
}

/// The size of two equal files; `None` where they differ.
fn same_content(one: &Path, other: &Path) -> std::io::Result<Option<u64>> {
    const BLOCK_BYTES: u64 = 256 * 1024;
    let size = one.metadata()?.len();
    if size != other.metadata()?.len() {
        return Ok(None);
    }
    let (mut one, mut other) = (BufReader::new(File::open(one)?), BufReader::new(File::open(other)?));
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        one.by_ref().take(BLOCK_BYTES).read_to_end(&mut left)?;
        other.by_ref().take(BLOCK_BYTES).read_to_end(&mut right)?;
        if left != right {
            return Ok(None);
        }
        if left.is_empty() {
            return Ok(Some(size));
        }
    }
}
