//! The web server of one machine: the deployed site, its redirects and headers, and the bucket with range requests.

pub mod command;
mod content_type;
mod path;
mod range;
mod response;
mod site;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode, header};
use polkashots_shared::names;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use path::{CleanPath, Found};
use response::Caching;
use site::RulesCache;

/// How long running downloads may go on after the server was asked to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Where a deployed site says its redirects and headers; never served itself.
const SITE_FILE: &str = "_site.json";

/// What is served.
#[derive(Debug)]
pub struct Server {
    /// The folder that the site is deployed to.
    site_dir: PathBuf,
    /// The directory that is the bucket; none where only a site is served.
    store_dir: Option<PathBuf>,
    /// Redirects and headers of the site.
    rules: RulesCache,
}

/// Says why the web server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server ended by itself.
    #[error("web server: {0}")]
    Ended(std::io::Error),
}

/// Takes the address, so that a port that is in use is found before anything else starts.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

impl Server {
    /// A server of a site and, below the same root, of a bucket.
    pub fn new(site_dir: PathBuf, store_dir: Option<PathBuf>) -> Self {
        Self { site_dir, store_dir, rules: RulesCache::default() }
    }

    /// Answers requests until `stop`, then lets running downloads go on for a few seconds.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) -> Result<(), ServeError> {
        let router = Router::new().fallback(answer).with_state(Arc::new(self));
        let stopping = stop.clone();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move { stopping.cancelled().await });
        let patience = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_PATIENCE).await;
        };
        tokio::select! {
            ended = serving.into_future() => ended.map_err(ServeError::Ended),
            () = patience => Ok(()),
        }
    }

    async fn respond(&self, request: &Parts) -> Response<Body> {
        let get = request.method == Method::GET;
        if !get && request.method != Method::HEAD {
            return response::plain(StatusCode::METHOD_NOT_ALLOWED, &[(header::ALLOW, "GET, HEAD")]);
        }
        let Some(path) = CleanPath::parse(request.uri.path()) else { return self.not_found(get).await };
        let rules = match self.rules.load(&self.site_dir.join(SITE_FILE)) {
            Ok(rules) => rules,
            Err(error) => {
                tracing::error!(%error, "the site's rules cannot be read");
                return response::plain(StatusCode::INTERNAL_SERVER_ERROR, &[]);
            }
        };
        if let Some((status, location)) = rules.redirect(request.uri.path()) {
            return response::redirect(status, location);
        }
        let (mut answer, of_site) = self.file_or_not_found(request, &path, get).await;
        if of_site {
            rules.add_headers(request.uri.path(), answer.headers_mut());
        }
        answer
    }

    /// The file at a path, and whether it is the site's: the site's rules say nothing about the bucket.
    async fn file_or_not_found(&self, request: &Parts, path: &CleanPath, get: bool) -> (Response<Body>, bool) {
        let key = path.as_key();
        if key == SITE_FILE {
            return (self.not_found(get).await, true);
        }
        for (root, of_site) in [(Some(&self.site_dir), true), (self.store_dir.as_ref(), false)] {
            let Some(root) = root else { continue };
            match path::find(root, path) {
                Found::File(place, meta) => {
                    let answer = response::file(&request.headers, get, &place, &meta, caching_of(&key)).await;
                    return (answer, of_site);
                }
                Found::FolderWithoutSlash => {
                    return (response::redirect(StatusCode::FOUND, &format!("{}/", request.uri.path())), of_site);
                }
                Found::Nothing => {}
            }
        }
        (self.not_found(get).await, true)
    }

    /// The site's own page for what is not there, or a word.
    async fn not_found(&self, get: bool) -> Response<Body> {
        match tokio::fs::read(self.site_dir.join("404.html")).await {
            Ok(page) => response::page(StatusCode::NOT_FOUND, get, page),
            Err(_) => response::plain(StatusCode::NOT_FOUND, &[]),
        }
    }
}

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response<Body> {
    let (request, _body) = request.into_parts();
    let mut response = server.respond(&request).await;
    response::add_security_headers(response.headers_mut());
    debug!(method = %request.method, path = request.uri.path(), status = response.status().as_u16(), "answered");
    response
}

/// Versioned objects never change; everything else must be asked for anew.
fn caching_of(key: &str) -> Caching {
    match names::parse_object_key(key) {
        Some((_, _, suffix)) if suffix != names::FAILURE_SUFFIX => Caching::Immutable,
        _ => Caching::NoCache,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versioned_objects_are_immutable() {
        assert_eq!(caching_of("dot/20261122-040000.tar.zst"), Caching::Immutable);
        assert_eq!(caching_of("dot/20261122-040000/paritydb/full/metadata"), Caching::Immutable);
        assert_eq!(caching_of("dot/20261122-040000.failed.json"), Caching::NoCache);
        assert_eq!(caching_of("index.json"), Caching::NoCache);
        assert_eq!(caching_of("dot/latest_version.meta.txt"), Caching::NoCache);
    }
}
