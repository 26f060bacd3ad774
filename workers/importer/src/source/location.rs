//! Addresses of published files: `http(s)://`, `file://` and plain paths.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use super::SourceError;

/// Where a published file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On a web server.
    Http(Url),
    /// On this machine.
    File(PathBuf),
}

impl Location {
    /// Reads an address that a person gave.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let bad = |reason: &str| SourceError::Address { address: text.to_owned(), reason: reason.to_owned() };
        if text.trim().is_empty() {
            return Err(bad("it is empty"));
        }
        if !text.contains("://") {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
        match url.scheme() {
            "http" | "https" => Ok(Self::Http(url)),
            "file" => url.to_file_path().map(Self::File).map_err(|()| bad("it names another host")),
            other => Err(bad(&format!("scheme {other} is not known"))),
        }
    }

    /// The same place, with a slash at its end, so that names are joined below it and not beside it.
    pub fn as_folder(&self) -> Self {
        match self {
            Self::Http(url) if !url.path().ends_with('/') => {
                let mut url = url.clone();
                url.set_path(&format!("{}/", url.path()));
                Self::Http(url)
            }
            Self::Http(url) => Self::Http(url.clone()),
            Self::File(path) => Self::File(path.join("")),
        }
    }

    /// The place that `reference` names, seen from this file: relative to it, or absolute.
    ///
    /// From `https` it leads nowhere but to `https`, and from the web never to a file of this machine. A file's relative
    /// references stay below its folder; its absolute ones lead to the web, unless the file they name lies beside it.
    pub fn join(&self, reference: &str) -> Result<Self, SourceError> {
        match self {
            Self::Http(base) => join_url(base, reference).map(Self::Http),
            Self::File(base) => join_path(base, reference),
        }
    }

    /// The whole address, to be kept in a file; `None` where it may hold a secret.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::File(path) => path.to_str().map(str::to_owned),
            Self::Http(url) => {
                let is_plain = url.query().is_none() && url.username().is_empty() && url.password().is_none();
                is_plain.then(|| url.to_string())
            }
        }
    }

    /// The same place with `suffix` behind its last character; what follows a `?` or `#` is left out.
    pub fn with_suffix(&self, suffix: &str) -> Self {
        match self {
            Self::Http(url) => {
                let mut url = url.clone();
                url.set_path(&format!("{}{suffix}", url.path()));
                url.set_fragment(None);
                Self::Http(url)
            }
            Self::File(path) => {
                let mut path = path.clone().into_os_string();
                path.push(suffix);
                Self::File(path.into())
            }
        }
    }

    /// The last segment of the path.
    pub fn file_name(&self) -> &str {
        match self {
            Self::Http(url) => url.path().rsplit('/').next().unwrap_or_default(),
            Self::File(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
        }
    }

    /// The address of a neighbour: the last segment of the path replaced by `name`.
    pub fn sibling(&self, name: &str) -> Result<Self, SourceError> {
        match self {
            Self::Http(_) => self.join(name),
            Self::File(path) => Ok(Self::File(path.with_file_name(name))),
        }
    }
}

impl Location {
    /// The file `name` in the folder above the one that this file lies in.
    pub fn above(&self, name: &str) -> Result<Self, SourceError> {
        match self {
            Self::Http(_) => self.join(&format!("../{name}")),
            Self::File(path) => {
                let folder = path.parent().and_then(Path::parent).unwrap_or(Path::new(""));
                Ok(Self::File(folder.join(name)))
            }
        }
    }
}

impl fmt::Display for Location {
    /// Shows the address without user, password and query, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Http(url) => {
                let host = url.host_str().unwrap_or_default();
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                write!(f, "{}://{host}{port}{}", url.scheme(), url.path())
            }
        }
    }
}

/// Refuses the step from `https` to `http`.
pub(super) fn check_downgrade(from: &Url, to: &Url) -> Result<(), String> {
    match (from.scheme(), to.scheme()) {
        ("https", "http") => Err("it leads from https to http".into()),
        (_, "http" | "https") => Ok(()),
        (_, other) => Err(format!("it leads to scheme {other}")),
    }
}

fn join_url(base: &Url, reference: &str) -> Result<Url, SourceError> {
    let bad = |reason: String| SourceError::Address { address: reference.to_owned(), reason };
    let url = base.join(reference).map_err(|error| bad(error.to_string()))?;
    check_downgrade(base, &url).map_err(bad)?;
    Ok(url)
}

fn join_path(base: &Path, reference: &str) -> Result<Location, SourceError> {
    let bad = |reason: &str| SourceError::Address { address: reference.to_owned(), reason: reason.to_owned() };
    let folder = base.parent().filter(|_| !base.as_os_str().as_encoded_bytes().ends_with(b"/")).unwrap_or(base);
    if let Ok(url) = Url::parse(reference) {
        let beside = url.path_segments().and_then(|mut segments| segments.next_back()).map(|name| folder.join(name));
        return match beside.filter(|path| path.is_file()) {
            Some(path) => Ok(Location::File(path)),
            None if matches!(url.scheme(), "http" | "https") => Ok(Location::Http(url)),
            None => Err(bad("expected a relative path or an address of the web")),
        };
    }
    let inside = !reference.is_empty()
        && !reference.contains('\0')
        && reference.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    if !inside {
        return Err(bad("expected a relative path without empty, . or .. segments"));
    }
    Ok(Location::File(folder.join(reference)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(base: &str, reference: &str) -> Option<String> {
        Some(Location::parse(base).ok()?.join(reference).ok()?.to_string())
    }

    #[test]
    fn references_join_beside_a_file_and_below_a_folder() {
        let manifest = "https://a.example/t/1.manifest.json";
        assert_eq!(shown(manifest, "1.tar.zst").as_deref(), Some("https://a.example/t/1.tar.zst"));
        assert_eq!(shown(manifest, "https://b.example/x").as_deref(), Some("https://b.example/x"));
        assert_eq!(shown("/srv/t/1.manifest.json", "1.tar.zst").as_deref(), Some("/srv/t/1.tar.zst"));
        let site = Location::parse("https://a.example/site").expect("legal").as_folder();
        assert_eq!(site.join("index.json").expect("legal").to_string(), "https://a.example/site/index.json");
        let bucket = Location::parse("bucket").expect("legal").as_folder();
        assert_eq!(bucket.join("index.json").expect("legal").to_string(), "bucket/index.json");
    }

    #[test]
    fn no_reference_leads_to_a_weaker_place() {
        for (base, reference) in [
            ("https://a.example/m", "http://a.example/x"),
            ("https://a.example/m", "file:///etc/passwd"),
            ("/srv/m", "/etc/passwd"),
            ("/srv/m", "../x"),
            ("/srv/m", "file:///etc/passwd"),
            ("/srv/m", ""),
        ] {
            assert_eq!(shown(base, reference), None, "{base} led to {reference}");
        }
    }

    #[test]
    fn secrets_in_an_address_are_not_shown() {
        let location = Location::parse("https://user:word@a.example:8443/t/m?token=1").expect("legal");
        assert_eq!(location.to_string(), "https://a.example:8443/t/m");
    }
}
