//! The publisher on its cloud adapters.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use polkashots_shared::clock::{Clock, SystemClock};
use polkashots_shared::minisign::{PublicKey, SecretKey};
use polkashots_shared::service::{Metrics, Service, ServiceSettings, open_store, subscribe};
use polkashots_shared::settings::{RunSettings, StoreLocation, StoreSettings};
use polkashots_shared::worker::LoopDeps;
use url::Url;

use super::TOPICS;
use super::observed::ObservedHost;
use super::settings::{PublisherSettings, SigningSettings, SiteHostLocation, SiteHostSettings};
use crate::adapters::bucket_host::BucketHost;
use crate::adapters::directory_host::DirectoryHost;
use crate::adapters::firebase::{self, Adc, FirebaseHost, FixedToken, TokenSource};
use crate::{Deps, NAME, Publisher, SiteHost, SiteSettings};

type BoxError = Box<dyn Error + Send + Sync>;

impl ServiceSettings for PublisherSettings {
    fn run(&self) -> &RunSettings {
        &self.run
    }
}

impl Deps {
    /// The publisher's effects on a bucket and on the site's host.
    pub async fn cloud(settings: &PublisherSettings, metrics: Arc<Metrics>) -> Result<Self, BoxError> {
        let old_keys = settings.signing.old_public_keys.iter().map(|path| PublicKey::from_file(path));
        let host = host(settings, metrics.clone()).await?;
        Ok(Self {
            targets: Arc::new(settings.targets.load()?),
            store: open_store(&settings.store, metrics.clone()).await?,
            signing_key: Arc::new(secret_key(&settings.signing)?),
            old_keys: old_keys.collect::<Result<_, _>>().map_err(|error| format!("old public key: {error}"))?,
            site: site(&settings.site, &settings.store.store)?,
            host: Arc::new(ObservedHost::new(host, metrics)),
            clock: Arc::new(SystemClock),
        })
    }
}

/// The whole worker: adapters, queues and loop.
pub async fn service(settings: &PublisherSettings, metrics: Arc<Metrics>) -> Result<Service, BoxError> {
    let deps = Deps::cloud(settings, metrics).await?;
    let (events, queues) = subscribe(&settings.run, &settings.queue, NAME, &TOPICS).await?;
    let (store, clock): (_, Arc<dyn Clock>) = (deps.store.clone(), deps.clock.clone());
    Ok(Service { worker: Arc::new(Publisher::new(deps)), queues, deps: LoopDeps { events, store, clock } })
}

fn secret_key(signing: &SigningSettings) -> Result<SecretKey, BoxError> {
    let password = signing.password_file.as_deref().map(first_line).transpose()?;
    SecretKey::from_file(&signing.secret_key, password.as_deref().map(String::as_str))
        .map_err(|error| format!("secret key: {error}: see --secret-key or POLKASHOTS_SECRET_KEY").into())
}

fn first_line(path: &Path) -> Result<zeroize::Zeroizing<String>, BoxError> {
    let text = std::fs::read_to_string(path).map(zeroize::Zeroizing::new);
    let text = text.map_err(|error| format!("password file {}: {error}", path.display()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(zeroize::Zeroizing::new(line.to_owned())),
        _ => Err(format!("password file {}: its first line is empty, expected the password", path.display()).into()),
    }
}

fn site(site: &SiteHostSettings, store: &StoreLocation) -> Result<SiteSettings, BoxError> {
    let archive_url = site.archive_url.as_ref().map(ToString::to_string).or_else(|| store.public_url());
    let archive_url = archive_url.ok_or_else(|| {
        format!("where people reach {store} does not follow from its name: set --archive-url or POLKASHOTS_ARCHIVE_URL")
    })?;
    Ok(SiteSettings {
        base_url: site.base_url.clone(),
        archive_url,
        mirrors: site.mirrors.clone(),
        title: site.title.clone(),
        source: site.site_source.clone(),
        jekyll: site.jekyll.clone(),
    })
}

async fn host(settings: &PublisherSettings, metrics: Arc<Metrics>) -> Result<Arc<dyn SiteHost>, BoxError> {
    match &settings.site.site_host {
        SiteHostLocation::Directory(path) => Ok(Arc::new(DirectoryHost::open(path)?)),
        SiteHostLocation::Bucket(bucket) => {
            if *bucket == settings.store.store {
                return Err(format!("{bucket} holds the snapshots: give the site a bucket of its own").into());
            }
            let store = StoreSettings { store: bucket.clone(), ..settings.store.clone() };
            Ok(Arc::new(BucketHost::new(open_store(&store, metrics).await?)))
        }
        SiteHostLocation::Firebase { site } => {
            let SiteHostSettings { firebase_endpoint, firebase_keep, .. } = &settings.site;
            Ok(Arc::new(firebase(site, firebase_endpoint.as_ref(), firebase_keep.get())?))
        }
    }
}

pub(super) fn firebase(site: &str, endpoint: Option<&Url>, keep: usize) -> Result<FirebaseHost, BoxError> {
    let (origin, token): (_, Box<dyn TokenSource>) = match endpoint {
        // Google's credentials are for Google alone; this is the word that its own emulators take.
        Some(endpoint) => (endpoint.clone(), Box::new(FixedToken("owner".into()))),
        None => (Url::parse(firebase::ORIGIN)?, Box::new(Adc::find()?)),
    };
    Ok(FirebaseHost::new(&origin, site, token, keep)?)
}
