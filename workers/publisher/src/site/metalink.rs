//! A metalink per artifact (RFC 5854): size, SHA-256 and every address, so that aria2c checks what it fetches and takes it
//! from all mirrors at once.

use std::fmt::Write as _;

use bytes::Bytes;
use polkashots_shared::manifest::{Artifact, Manifest};
use polkashots_shared::names::METALINK_SUFFIX;
use polkashots_shared::target::Format;

use super::{SiteSettings, SiteSnapshot, data};

/// The metalinks of a snapshot by their path on the site. A tree is many files and has none.
pub fn of<'a>(settings: &'a SiteSettings, snapshot: &'a SiteSnapshot) -> impl Iterator<Item = (String, Bytes)> + 'a {
    let manifest = &snapshot.manifest;
    linked(manifest).map(move |artifact| (path(manifest, artifact), document(settings, manifest, artifact).into()))
}

/// The artifacts that have a metalink.
pub fn linked(manifest: &Manifest) -> impl Iterator<Item = &Artifact> {
    manifest.artifacts.iter().filter(|artifact| artifact.format != Format::Tree)
}

/// Where the metalink of an artifact lies on the site.
pub fn path(manifest: &Manifest, artifact: &Artifact) -> String {
    format!("targets/{}/{}{METALINK_SUFFIX}", manifest.target, artifact.file)
}

fn document(settings: &SiteSettings, manifest: &Manifest, artifact: &Artifact) -> String {
    let first = data::file_url(settings, manifest, &artifact.url, &artifact.file);
    let mirrors = settings.mirrors.iter().map(|mirror| SiteSettings::join(mirror, &manifest.key_of(&artifact.file)));
    let mut urls = String::new();
    for url in std::iter::once(first).chain(mirrors) {
        let _ = writeln!(urls, "    <url priority=\"1\">{}</url>", escaped(&url));
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <metalink xmlns=\"urn:ietf:params:xml:ns:metalink\">\n  <published>{published}</published>\n  \
         <file name=\"{name}\">\n    <size>{size}</size>\n    <hash type=\"sha-256\">{sha256}</hash>\n{urls}  \
         </file>\n</metalink>\n",
        published = data::machine_time(manifest.created_at),
        name = escaped(&artifact.file),
        size = artifact.size,
        sha256 = artifact.sha256,
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
