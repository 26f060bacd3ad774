//! Firebase Hosting, by its REST API.
//!
//! A deploy makes a version with the site's redirects and headers, tells the SHA-256 of every gzipped file, uploads what
//! the host does not have, finalizes the version, and releases it, which is one atomic step for visitors. The version
//! carries the site's digest as labels: `current` reads it from the live release, and a deploy that was cut short is
//! found by it and continued. A version that was released before is released again without any upload.

mod api;
mod config;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use polkashots_shared::ids::Sha256;
use polkashots_shared::retry::Policy;
use tracing::{info, warn};
use url::Url;

use self::api::{Api, Release, Status, Version};
pub use self::token::{Adc, FixedToken, TokenSource};
use crate::host::{HostError, SiteHost};
use crate::site::RenderedSite;

/// Google's own address of the API.
pub const ORIGIN: &str = "https://firebasehosting.googleapis.com/";
/// How many releases are kept by default, the live one among them.
pub const DEFAULT_KEEP: usize = 10;
/// How many file digests one call may carry.
const FILES_PER_CALL: usize = 1000;
const PARALLEL_UPLOADS: usize = 8;

/// Serves the site from Firebase Hosting.
#[derive(Debug)]
pub struct FirebaseHost {
    api: Api,
    keep: usize,
}

/// A file as it is uploaded.
struct Packed {
    sha256: Sha256,
    gzip: Bytes,
}

impl FirebaseHost {
    /// A host for the site of that id, at `origin` ([`ORIGIN`] but for tests); the last `keep` releases can be rolled back to.
    pub fn new(origin: &Url, site: &str, token: Box<dyn TokenSource>, keep: usize) -> Result<Self, HostError> {
        Ok(Self { api: Api::new(origin, site, token)?, keep: keep.max(1) })
    }

    /// The same host, which makes a request again for as long as `patience` says.
    pub fn with_patience(mut self, patience: Policy) -> Self {
        self.api.patience = patience;
        self
    }

    /// Serves the release of before the live one again, and called once more the one of before that; the next publication
    /// deploys the newest site anew.
    ///
    /// Returns the version that is live now. [`HostError::Permanent`] where there is none to go back to.
    pub async fn rollback(&self) -> Result<String, HostError> {
        let releases = self.api.releases().await?;
        let Some(version) = before_live(&releases) else {
            return Err(self.api.permanent("roll back", "there is no earlier release that is still kept"));
        };
        self.api.release(&version.name, "ROLLBACK").await?;
        info!(version = version.name, "rolled back");
        Ok(version.name.clone())
    }

    /// A version of this site that can be continued or released: one of an earlier deploy of the same, or a new one.
    async fn version_for(&self, site: &RenderedSite, digest: Sha256) -> Result<Version, HostError> {
        let known = self.api.versions().await?;
        let usable = |version: &&Version| {
            version.digest() == Some(digest) && matches!(version.status, Status::Created | Status::Finalized)
        };
        if let Some(version) = known.iter().filter(usable).max_by_key(|version| version.status == Status::Finalized) {
            info!(version = version.name, "deploy continued");
            return Ok(version.clone());
        }
        self.api.create_version(&config::of(site), digest).await
    }

    async fn fill(&self, version: &Version, site: &RenderedSite) -> Result<(), HostError> {
        let packed: BTreeMap<String, Packed> =
            site.files.iter().map(|(path, bytes)| (format!("/{path}"), pack(bytes))).collect();
        let by_digest: BTreeMap<Sha256, &Packed> = packed.values().map(|file| (file.sha256, file)).collect();
        let paths: Vec<(&String, Sha256)> = packed.iter().map(|(path, file)| (path, file.sha256)).collect();
        for paths in paths.chunks(FILES_PER_CALL) {
            let wanted = self.api.populate(&version.name, paths).await?;
            let upload_url = wanted.upload_url.as_str();
            let uploads = wanted.required.iter().copied().map(|digest| {
                let file = by_digest.get(&digest).copied();
                async move {
                    let file = file.ok_or_else(|| {
                        self.api
                            .permanent("populate files", &format!("it asks for {digest}, which is no file of the site"))
                    })?;
                    self.api.upload(upload_url, file.sha256, file.gzip.clone()).await
                }
            });
            futures::stream::iter(uploads).buffer_unordered(PARALLEL_UPLOADS).try_collect::<()>().await?;
        }
        Ok(())
    }

    /// Removes versions that no kept release needs; what cannot be removed waits for the next deploy.
    async fn clean(&self) -> Result<(), HostError> {
        let releases: Vec<Release> = self.api.releases().await?;
        let mut kept = BTreeSet::new();
        for version in releases.iter().filter_map(|release| release.version.as_ref()) {
            if kept.len() < self.keep {
                kept.insert(version.id().to_owned());
            }
        }
        for version in self.api.versions().await? {
            let ours = version.digest().is_some();
            if ours && !kept.contains(version.id()) && matches!(version.status, Status::Created | Status::Finalized) {
                self.api.delete_version(&version.name).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl SiteHost for FirebaseHost {
    async fn current(&self) -> Result<Option<Sha256>, HostError> {
        Ok(live(&self.api.releases().await?).and_then(Version::digest))
    }

    async fn deploy(&self, site: &RenderedSite) -> Result<(), HostError> {
        let digest = site.digest();
        let version = self.version_for(site, digest).await?;
        if version.status == Status::Created {
            self.fill(&version, site).await?;
            self.api.finalize(&version.name).await?;
        }
        self.api.release(&version.name, "DEPLOY").await?;
        info!(version = version.name, files = site.files.len(), "site deployed");
        if let Err(error) = self.clean().await {
            warn!(%error, "old versions not removed");
        }
        Ok(())
    }
}

/// The version that visitors see.
fn live(releases: &[Release]) -> Option<&Version> {
    releases.first()?.version.as_ref()
}

/// The newest version that can be served and was live before the live one was deployed: what came since was rolled back.
fn before_live(releases: &[Release]) -> Option<&Version> {
    let live = live(releases).map(Version::id);
    let of_live = |release: &Release| release.version.as_ref().map(Version::id) == live;
    let deployed = releases.iter().position(|release| of_live(release) && release.kind != "ROLLBACK").unwrap_or(0);
    let earlier = releases.iter().skip(deployed).filter(|release| !of_live(release));
    earlier.filter_map(|release| release.version.as_ref()).find(|version| version.status == Status::Finalized)
}

/// Gzip with neither name nor time, so that the same file always has the same digest.
fn pack(bytes: &[u8]) -> Packed {
    let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).expect("a vector takes every byte");
    let gzip = Bytes::from(encoder.finish().expect("a vector takes every byte"));
    Packed { sha256: Sha256::of(&gzip), gzip }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_file_is_packed_into_the_same_bytes() {
        let (first, second) = (pack(b"<!doctype html>"), pack(b"<!doctype html>"));
        assert_eq!(first.gzip, second.gzip);
        assert_eq!(first.sha256, Sha256::of(&second.gzip));
        assert_eq!(&first.gzip[4..8], [0; 4], "no time in it");
    }
}
