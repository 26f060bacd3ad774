//! Redirects and headers of the deployed site, as its `_site.json` says them.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

/// The rules of one deployed site.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Rules {
    #[serde(default)]
    redirects: Vec<Redirect>,
    #[serde(default)]
    headers: Vec<HeaderRule>,
}

/// An address that leads elsewhere.
#[derive(Debug, Deserialize)]
struct Redirect {
    from: String,
    to: String,
    status: u16,
}

#[derive(Debug, Deserialize)]
struct HeaderRule {
    source: String,
    headers: BTreeMap<String, String>,
}

/// Says why a site's rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RulesError {
    #[error("{file}: {source}")]
    Io { file: String, source: std::io::Error },
    #[error("{file}: not the rules of a site: {source}")]
    Json { file: String, source: serde_json::Error },
}

/// The rules as last read, and the state of the file that they were read from.
#[derive(Debug, Default)]
pub(super) struct RulesCache(Mutex<Option<(FileState, Arc<Rules>)>>);

/// Device, inode, size, and time of writing.
type FileState = (u64, u64, u64, i64, i64);

impl RulesCache {
    /// The rules of the site that is deployed now; a site without rules has none.
    pub(super) fn load(&self, path: &Path) -> Result<Arc<Rules>, RulesError> {
        let io = |source| RulesError::Io { file: path.display().to_string(), source };
        let state = match path.metadata() {
            Ok(meta) => (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(error) => return Err(io(error)),
        };
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rules)) = cached.as_ref().filter(|(known, _)| *known == state) {
            return Ok(rules.clone());
        }
        let bytes = std::fs::read(path).map_err(io)?;
        let rules: Arc<Rules> = serde_json::from_slice(&bytes)
            .map(Arc::new)
            .map_err(|source| RulesError::Json { file: path.display().to_string(), source })?;
        *cached = Some((state, rules.clone()));
        Ok(rules)
    }
}

impl Rules {
    /// Where a path leads, if it is a redirect; a slash at its end makes no difference.
    pub(super) fn redirect(&self, path: &str) -> Option<(StatusCode, &str)> {
        let plain = path.strip_suffix('/').unwrap_or(path);
        let redirect = self.redirects.iter().find(|redirect| redirect.from == plain || redirect.from == path)?;
        let status = StatusCode::from_u16(redirect.status).ok().filter(StatusCode::is_redirection)?;
        Some((status, &redirect.to))
    }

    /// Sets the headers of every rule that names the path; a later rule wins.
    pub(super) fn add_headers(&self, path: &str, headers: &mut HeaderMap) {
        for rule in self.headers.iter().filter(|rule| glob_matches(&rule.source, path)) {
            for (name, value) in &rule.headers {
                if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                    headers.insert(name, value);
                }
            }
        }
    }
}

/// Matches as Firebase Hosting does: `**` is any number of segments, `*` anything inside one.
fn glob_matches(glob: &str, path: &str) -> bool {
    let segments =
        |text: &'_ str| -> Vec<String> { text.trim_start_matches('/').split('/').map(str::to_owned).collect() };
    segments_match(&segments(glob), &segments(path))
}

fn segments_match(glob: &[String], path: &[String]) -> bool {
    let Some((first, rest)) = glob.split_first() else { return path.is_empty() };
    if first == "**" {
        return (0..=path.len()).any(|skipped| segments_match(rest, &path[skipped..]));
    }
    path.split_first().is_some_and(|(segment, others)| star_matches(first, segment) && segments_match(rest, others))
}

fn star_matches(glob: &str, segment: &str) -> bool {
    let Some((head, tail)) = glob.split_once('*') else { return glob == segment };
    segment.strip_prefix(head).is_some_and(|rest| {
        let starts = rest.char_indices().map(|(start, _)| start).chain([rest.len()]);
        starts.into_iter().any(|start| star_matches(tail, &rest[start..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_firebase_hosting_does() {
        for (glob, path, expected) in [
            ("**", "/", true),
            ("**", "/a/b.html", true),
            ("/assets/**", "/assets/site.css", true),
            ("/assets/**", "/a/site.css", false),
            ("**/*.html", "/index.html", true),
            ("**/*.html", "/a/b/c.html", true),
            ("**/*.html", "/a/b/c.css", false),
            ("/*.json", "/a/index.json", false),
        ] {
            assert_eq!(glob_matches(glob, path), expected, "{glob} on {path}");
        }
    }
}
