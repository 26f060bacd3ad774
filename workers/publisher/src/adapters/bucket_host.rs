//! A bucket that is served as a website.
//!
//! A bucket cannot swap a site at once, so that the order keeps what visitors see whole: first everything that is new or
//! changed and not a page, then the pages, then what is gone is deleted. A page therefore never names what is not there,
//! but for a moment one page may be newer than another.
//!
//! A bucket cannot redirect either: each bare permalink is a small page that leads on, and `_site.json` holds all
//! redirects and headers for whoever puts a web server in front of it. `_deployed.json` says what an earlier deploy wrote;
//! nothing else in the bucket is ever deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use polkashots_shared::ids::Sha256;
use polkashots_shared::ports::object_store::{Headers, ObjectStore, Precondition, StoreError};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::content_type;
use super::directory_host::SITE_FILE;
use crate::host::{HostError, SiteHost};
use crate::site::{Redirect, RenderedSite};

/// The object that says what was deployed.
const DEPLOYED_FILE: &str = "_deployed.json";
/// The largest [`DEPLOYED_FILE`] that is read, in bytes.
const MAX_DEPLOYED_BYTES: u64 = 16 * 1024 * 1024;

/// Serves the site from a bucket of its own; see the module's words on what a bucket cannot do.
#[derive(Clone)]
pub struct BucketHost {
    store: Arc<dyn ObjectStore>,
}

/// What is in the bucket because of a deploy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Deployed {
    /// The site that is served; none while a deploy is under way.
    digest: Option<Sha256>,
    /// SHA-256 by key of what is there for certain; none where it is not known.
    files: BTreeMap<String, Option<Sha256>>,
}

impl BucketHost {
    /// A host on the root of `store`, which should hold nothing else.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    async fn deployed(&self) -> Result<Deployed, HostError> {
        let object = match self.store.get(DEPLOYED_FILE, MAX_DEPLOYED_BYTES).await {
            Ok(object) => object,
            Err(StoreError::NotFound { .. }) => return Ok(Deployed::default()),
            Err(error) => return Err(host_error("read", error)),
        };
        serde_json::from_slice(&object.bytes).map_err(|error| HostError::Permanent {
            operation: "read",
            subject: DEPLOYED_FILE.into(),
            source: format!("{error}; delete it to have the whole site written anew").into(),
        })
    }

    async fn put(&self, key: &str, bytes: Bytes, headers: &Headers) -> Result<(), HostError> {
        let put = self.store.put(key, bytes, Precondition::None, headers).await;
        put.map(|_| ()).map_err(|error| host_error("write", error))
    }

    async fn put_deployed(&self, deployed: &Deployed) -> Result<(), HostError> {
        let bytes = serde_json::to_vec(deployed).expect("strings always serialise");
        self.put(DEPLOYED_FILE, bytes.into(), &Headers::no_cache("application/json")).await
    }
}

#[async_trait]
impl SiteHost for BucketHost {
    async fn current(&self) -> Result<Option<Sha256>, HostError> {
        Ok(self.deployed().await?.digest)
    }

    async fn deploy(&self, site: &RenderedSite) -> Result<(), HostError> {
        let before = self.deployed().await?;
        let files = objects(site);
        let changed: Vec<&String> =
            files.keys().filter(|key| before.files.get(*key) != Some(&Some(Sha256::of(&files[*key])))).collect();
        let mut during = Deployed { digest: None, files: before.files.clone() };
        during.files.extend(changed.iter().map(|key| ((*key).clone(), None)));
        self.put_deployed(&during).await?;
        let (pages, others): (Vec<&String>, Vec<&String>) = changed.iter().copied().partition(|key| is_entry(key));
        for key in others.iter().chain(&pages) {
            self.put(key, files[*key].clone(), &headers(key)).await?;
        }
        let kept: BTreeSet<&String> = files.keys().collect();
        let gone: Vec<&String> = before.files.keys().filter(|key| !kept.contains(key)).collect();
        for key in &gone {
            self.store.delete(key).await.map_err(|error| host_error("delete", error))?;
        }
        let digests = files.iter().map(|(key, bytes)| (key.clone(), Some(Sha256::of(bytes)))).collect();
        self.put_deployed(&Deployed { digest: Some(site.digest()), files: digests }).await?;
        info!(written = changed.len(), deleted = gone.len(), "site deployed");
        Ok(())
    }
}

/// Everything that is to be in the bucket, by key.
fn objects(site: &RenderedSite) -> BTreeMap<String, Bytes> {
    let mut objects = site.files.clone();
    objects.insert(SITE_FILE.into(), site.site_json().into());
    for redirect in &site.redirects {
        // Tools that ask for a file would take a page for it; people who ask for the bare permalink are led on.
        let path = redirect.from.trim_start_matches('/');
        if !path.is_empty() && !path.rsplit('/').next().unwrap_or(path).contains('.') {
            objects.entry(format!("{path}/index.html")).or_insert_with(|| leading_on(redirect));
        }
    }
    objects
}

fn leading_on(redirect: &Redirect) -> Bytes {
    let to = redirect.to.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Permalink</title>\n\
         <meta http-equiv=\"refresh\" content=\"0; url={to}\">\n</head>\n<body>\n<p><a href=\"{to}\">{to}</a></p>\n</body>\n</html>\n"
    );
    page.into()
}

/// What people and programs ask for first; what it names must be there before it.
fn is_entry(key: &str) -> bool {
    key.ends_with(".html") || key.ends_with(".xml") || key.starts_with("index.json") || key == SITE_FILE
}

fn headers(key: &str) -> Headers {
    let content_type = content_type::of(key);
    match key.starts_with("assets/") {
        true => Headers::immutable(content_type),
        false => Headers::no_cache(content_type),
    }
}

fn host_error(operation: &'static str, error: StoreError) -> HostError {
    let (subject, source) = ("site in the bucket".to_owned(), Box::new(error));
    match source.is_transient() {
        true => HostError::Transient { operation, subject, source },
        false => HostError::Permanent { operation, subject, source },
    }
}
