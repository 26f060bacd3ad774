//! The tree of a snapshot: plain files below `<version>/`, as Parity's chart reads them, and the list of their digests.
//!
//! Beside the tree lies `<version>.tree.SHA256SUMS`, which the manifest names as the tree's artifact: by it the signature
//! covers every file. `sha256sum -c` reads it in the target's folder.

use std::fmt::Write as _;

use crate::ids::{Sha256, Version};
use crate::names;

/// The list of the tree's files inside of it, one path per line, as `rclone --files-from` reads it.
pub const FILE_LIST: &str = "files.txt";
/// Most files in one tree.
pub const MAX_FILES: usize = 250_000;
/// The largest list of digests that is read, in bytes.
pub const MAX_SUMS_BYTES: u64 = 64 * 1024 * 1024;

/// One file of a tree, or beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// Its path in the target's folder: `20261122-040000/full/CURRENT`.
    pub path: String,
    /// The SHA-256 of all its bytes.
    pub sha256: Sha256,
}

/// Says why some bytes are not the list of a tree's digests.
#[derive(Debug, thiserror::Error)]
pub enum TreeSumsError {
    /// There are too many bytes or lines.
    #[error("{found} {what}, expected at most {max}")]
    TooLarge {
        /// How many.
        found: u64,
        /// Of what.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// It is not text.
    #[error("is not UTF-8: {0}")]
    NotText(#[from] std::str::Utf8Error),
    /// A line is wrong.
    #[error("line {line}: {reason}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The list of files is not in the list of digests.
    #[error("{path:?} has no line")]
    NoFileList {
        /// Where it should lie.
        path: String,
    },
}

/// The bytes of the list, as `sha256sum -c` reads them; `files` are sorted by path.
pub fn sums_to_bytes(files: &[TreeFile]) -> Vec<u8> {
    let mut text = String::new();
    for TreeFile { path, sha256 } in files {
        let _ = writeln!(text, "{sha256}  {path}");
    }
    text.into_bytes()
}

/// Reads the list of a version: sorted paths of that version only, none of which leads out of the tree.
pub fn sums_from_bytes(bytes: &[u8], version: Version) -> Result<Vec<TreeFile>, TreeSumsError> {
    if bytes.len() as u64 > MAX_SUMS_BYTES {
        return Err(TreeSumsError::TooLarge { found: bytes.len() as u64, what: "bytes", max: MAX_SUMS_BYTES });
    }
    let text = std::str::from_utf8(bytes)?;
    let mut files: Vec<TreeFile> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let file = read_line(line, version).and_then(|file| match files.last() {
            Some(last) if last.path >= file.path => Err("its path does not come after the one before"),
            _ if files.len() >= MAX_FILES => Err("there are too many lines"),
            _ => Ok(file),
        });
        files.push(file.map_err(|reason| TreeSumsError::Line { line: number + 1, reason })?);
    }
    let file_list = format!("{version}/{FILE_LIST}");
    if !files.iter().any(|file| file.path == file_list) {
        return Err(TreeSumsError::NoFileList { path: file_list });
    }
    Ok(files)
}

fn read_line(line: &str, version: Version) -> Result<TreeFile, &'static str> {
    let parts = line.split_once("  ").and_then(|(sum, path)| Some((sum.parse::<Sha256>().ok()?, path)));
    let (sha256, path) = parts.ok_or("expected a SHA-256, two spaces and a path")?;
    let version = version.to_string();
    let is_meta = path.strip_prefix(&version) == Some(names::TREE_META_SUFFIX);
    let in_tree = path.strip_prefix(&version).and_then(|rest| rest.strip_prefix('/')).is_some_and(is_plain);
    if !is_meta && !in_tree {
        return Err("expected a plain path below the version's own folder");
    }
    Ok(TreeFile { path: path.to_owned(), sha256 })
}

fn is_plain(path: &str) -> bool {
    !path.chars().any(|c| c.is_control() || c == '\\')
        && path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> Version {
        "20261122-040000".parse().expect("legal")
    }

    fn file(path: &str) -> TreeFile {
        TreeFile { path: path.into(), sha256: Sha256::of(path.as_bytes()) }
    }

    #[test]
    fn a_list_reads_back() {
        let paths = ["20261122-040000.meta.txt", "20261122-040000/files.txt", "20261122-040000/full/a b"];
        let files = paths.map(file);
        let bytes = sums_to_bytes(&files);
        assert_eq!(sums_from_bytes(&bytes, version()).expect("own bytes"), files);
    }

    #[test]
    fn lists_that_lead_elsewhere_are_refused() {
        let cases = [
            (vec!["20261122-040000/../x", "20261122-040000/files.txt"], "plain path"),
            (vec!["20261122-040001/files.txt"], "plain path"),
            (vec!["20261122-040000//files.txt"], "plain path"),
            (vec!["20261122-040000.tar.zst", "20261122-040000/files.txt"], "plain path"),
            (vec!["20261122-040000/full/x"], "files.txt\" has no line"),
            (vec!["20261122-040000/files.txt", "20261122-040000/files.txt"], "does not come after"),
            (vec!["20261122-040000/full/x", "20261122-040000/files.txt"], "does not come after"),
        ];
        for (paths, expected) in cases {
            let files: Vec<TreeFile> = paths.iter().map(|path| file(path)).collect();
            let error = sums_from_bytes(&sums_to_bytes(&files), version()).expect_err(expected).to_string();
            assert!(error.contains(expected), "{paths:?}: {error}");
        }
        let error = sums_from_bytes(b"00  20261122-040000/files.txt\n", version()).expect_err("no digest");
        assert!(error.to_string().contains("line 1: expected a SHA-256"), "{error}");
    }
}
