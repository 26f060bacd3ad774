//! From the path of a request to a file that may be served, and to no other.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

/// A request's path as segments, each of which is a plain, visible name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CleanPath {
    segments: Vec<String>,
    /// True where the path ended in `/`.
    pub folder: bool,
}

impl CleanPath {
    /// Reads a percent-encoded path; `None` where it names anything that is never served: `..`, hidden files, `\`, NUL.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let decoded = percent_decode(path)?;
        let rest = decoded.strip_prefix('/')?;
        let folder = rest.is_empty() || rest.ends_with('/');
        let trimmed = rest.strip_suffix('/').unwrap_or(rest);
        let segments: Vec<String> =
            if trimmed.is_empty() { Vec::new() } else { trimmed.split('/').map(str::to_owned).collect() };
        let plain = |segment: &String| {
            !segment.is_empty() && !segment.starts_with('.') && !segment.contains(|c: char| c == '\\' || c.is_control())
        };
        segments.iter().all(plain).then_some(Self { segments, folder })
    }

    /// The path as text, without a slash at either end.
    pub(super) fn as_key(&self) -> String {
        self.segments.join("/")
    }

    /// The path below `root`.
    fn below(&self, root: &Path) -> PathBuf {
        self.segments.iter().fold(root.to_owned(), |path, segment| path.join(segment))
    }
}

/// What lies at a path.
#[derive(Debug)]
pub(super) enum Found {
    /// A regular file.
    File(PathBuf, Metadata),
    /// A folder with an `index.html`, asked for without the slash that its links need.
    FolderWithoutSlash,
    /// Nothing that is served.
    Nothing,
}

/// Finds the file for a path below `root`; a folder stands for its `index.html`. Follows no link out of `root`.
pub(super) fn find(root: &Path, path: &CleanPath) -> Found {
    let place = path.below(root);
    let Ok(meta) = place.metadata() else { return Found::Nothing };
    if meta.is_file() && !path.folder {
        return inside(root, place).map_or(Found::Nothing, |place| Found::File(place, meta));
    }
    let index = place.join("index.html");
    match index.metadata() {
        Ok(meta) if meta.is_file() && path.folder => {
            inside(root, index).map_or(Found::Nothing, |place| Found::File(place, meta))
        }
        Ok(meta) if meta.is_file() => Found::FolderWithoutSlash,
        _ => Found::Nothing,
    }
}

fn inside(root: &Path, place: PathBuf) -> Option<PathBuf> {
    let root = root.canonicalize().ok()?;
    let place = place.canonicalize().ok()?;
    place.starts_with(root).then_some(place)
}

fn percent_decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let high = digit(rest.next())?;
        bytes.push(high * 16 + digit(rest.next())?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_root_or_name_hidden_files_are_refused() {
        let bad = [
            "/../x",
            "/a/../x",
            "/%2e%2e/x",
            "/a/%2E%2e%2fx",
            "/.uploads/x",
            "/a/.hidden",
            "/a//b",
            "//x",
            "/a%00",
            "/a%5c..%5cx",
            "/%",
            "/%2",
            "/%zz",
            "x",
            "",
            "/%ff",
            "/a/./b",
            "/a%0d%0ab",
            "/..%2f..%2fetc/passwd",
        ];
        for path in bad {
            assert_eq!(CleanPath::parse(path), None, "{path} was accepted");
        }
        for (path, key, folder) in
            [("/", "", true), ("/a/b%20c", "a/b c", false), ("/dot/paritydb/", "dot/paritydb", true)]
        {
            let clean = CleanPath::parse(path).expect("legal");
            assert_eq!((clean.as_key().as_str(), clean.folder), (key, folder));
        }
    }
}
