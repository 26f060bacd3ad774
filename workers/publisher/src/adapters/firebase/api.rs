//! The calls of the REST API, v1beta1. Google's client libraries do not have it, so that what they would do for one
//! request is done here: it is made again where the server was busy.

use std::time::Duration;

use bytes::Bytes;
use polkashots_shared::ids::Sha256;
use polkashots_shared::retry::{Policy, retry};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use super::token::TokenSource;
use crate::host::HostError;

/// How much of an error's text is repeated, in characters.
const MAX_ERROR_CHARS: usize = 300;
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Label values may be too short for a whole SHA-256 in hex.
const DIGEST_LABELS: [&str; 2] = ["polkashots-digest-1", "polkashots-digest-2"];
const PAGE_SIZE: &str = "100";

/// The API of one site.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    base: Url,
    site: String,
    token: Box<dyn TokenSource>,
    /// For how long one request is made again.
    pub(super) patience: Policy,
}

/// A version of the site.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Version {
    /// `sites/SITE/versions/ID`, or the same below `projects/PROJECT/`.
    pub(super) name: String,
    pub(super) status: Status,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    /// Files may be added.
    Created,
    /// Can be released.
    Finalized,
    /// Anything else: deleted, abandoned, expired.
    #[serde(other)]
    Gone,
}

/// A release, which made its version live.
#[derive(Debug, Deserialize)]
pub(super) struct Release {
    /// `DEPLOY`, `ROLLBACK` or `SITE_DISABLE`.
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    /// None where the site was switched off.
    pub(super) version: Option<Version>,
}

/// What a version still lacks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wanted {
    #[serde(default, rename = "uploadRequiredHashes")]
    pub(super) required: Vec<Sha256>,
    #[serde(default)]
    pub(super) upload_url: String,
}

impl Version {
    /// The last part of the name; the rest of it differs with the way in which the version was asked for.
    pub(super) fn id(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// The digest of the site that the version was made for, if the publisher made it.
    pub(super) fn digest(&self) -> Option<Sha256> {
        let [first, second] = DIGEST_LABELS.map(|label| self.labels.get(label));
        format!("{}{}", first?, second?).parse().ok()
    }
}

impl Api {
    pub(super) fn new(origin: &Url, site: &str, token: Box<dyn TokenSource>) -> Result<Self, HostError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| HostError::Permanent {
            operation: "set up",
            subject: format!("Firebase Hosting site {site}"),
            source,
        };
        let base = origin.join("v1beta1/").map_err(|error| failed(Box::new(error)))?;
        let client = Client::builder().timeout(CALL_TIMEOUT).build().map_err(|error| failed(Box::new(error)))?;
        Ok(Self { client, base, site: site.to_owned(), token, patience: Policy::default() })
    }

    /// Releases, the live one first.
    pub(super) async fn releases(&self) -> Result<Vec<Release>, HostError> {
        self.list("list releases", "releases").await
    }

    /// All versions, whatever their state.
    pub(super) async fn versions(&self) -> Result<Vec<Version>, HostError> {
        self.list("list versions", "versions").await
    }

    pub(super) async fn create_version(&self, config: &Value, digest: Sha256) -> Result<Version, HostError> {
        let digest = digest.to_string();
        let labels = json!({ DIGEST_LABELS[0]: digest[..32], DIGEST_LABELS[1]: digest[32..] });
        let body = json!({ "config": config, "labels": labels });
        let path = format!("sites/{}/versions", self.site);
        self.call("create version", self.request(Method::POST, &path, &[])?.json(&body)).await
    }

    /// Tells the files of a version; may be called again with the same or with more.
    pub(super) async fn populate(&self, version: &str, files: &[(&String, Sha256)]) -> Result<Wanted, HostError> {
        let files: serde_json::Map<String, Value> =
            files.iter().map(|(path, digest)| ((*path).clone(), digest.to_string().into())).collect();
        let request = self.request(Method::POST, &format!("{version}:populateFiles"), &[])?;
        self.call("populate files", request.json(&json!({ "files": files }))).await
    }

    pub(super) async fn upload(&self, upload_url: &str, digest: Sha256, gzip: Bytes) -> Result<(), HostError> {
        let url = Url::parse(&format!("{upload_url}/{digest}"))
            .map_err(|error| self.permanent("upload file", &format!("upload address {upload_url}: {error}")))?;
        let request = self.client.post(url).header("Content-Type", "application/octet-stream").body(gzip);
        self.send("upload file", request).await.map(|_| ())
    }

    pub(super) async fn finalize(&self, version: &str) -> Result<(), HostError> {
        let request = self.request(Method::PATCH, version, &[("updateMask", "status")])?;
        self.send("finalize version", request.json(&json!({ "status": "FINALIZED" }))).await.map(|_| ())
    }

    /// Makes a version live; `kind` is `DEPLOY` or `ROLLBACK`.
    pub(super) async fn release(&self, version: &str, kind: &str) -> Result<(), HostError> {
        let path = format!("sites/{}/releases", self.site);
        let request = self.request(Method::POST, &path, &[("versionName", version)])?;
        self.send("release version", request.json(&json!({ "type": kind }))).await.map(|_| ())
    }

    pub(super) async fn delete_version(&self, version: &str) -> Result<(), HostError> {
        self.send("delete version", self.request(Method::DELETE, version, &[])?).await.map(|_| ())
    }

    pub(super) fn permanent(&self, operation: &'static str, reason: &str) -> HostError {
        HostError::Permanent { operation, subject: self.subject(), source: reason.into() }
    }

    fn subject(&self) -> String {
        format!("of Firebase Hosting site {}", self.site)
    }

    async fn list<T: DeserializeOwned>(&self, operation: &'static str, what: &str) -> Result<Vec<T>, HostError> {
        let mut found = Vec::new();
        let mut page = String::new();
        loop {
            let query = [("pageSize", PAGE_SIZE), ("pageToken", &page)];
            let request = self.request(Method::GET, &format!("sites/{}/{what}", self.site), &query)?;
            let mut body: Value = self.call(operation, request).await?;
            let items = serde_json::from_value(body[what].take());
            let items: Option<Vec<T>> = items.map_err(|error| self.permanent(operation, &error.to_string()))?;
            found.extend(items.unwrap_or_default());
            page = body["nextPageToken"].as_str().unwrap_or_default().to_owned();
            if page.is_empty() {
                return Ok(found);
            }
        }
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Result<RequestBuilder, HostError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
            url.query_pairs_mut().append_pair(name, value);
        }
        Ok(self.client.request(method, url))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        request: RequestBuilder,
    ) -> Result<T, HostError> {
        let body = self.send(operation, request).await?;
        serde_json::from_slice(&body)
            .map_err(|error| self.permanent(operation, &format!("answer not understood: {error}")))
    }

    async fn send(&self, operation: &'static str, request: RequestBuilder) -> Result<Bytes, HostError> {
        let again = |error: &HostError| error.is_transient();
        let sent = retry(&self.patience, operation, again, || self.send_once(operation, request.try_clone())).await?;
        if sent.status.is_success() {
            return Ok(sent.body);
        }
        Err(self.refused(operation, &sent))
    }

    /// One request; an answer that it can be made again at once is an error, any other answer is not.
    async fn send_once(&self, operation: &'static str, request: Option<RequestBuilder>) -> Result<Answer, HostError> {
        let request = request.ok_or_else(|| self.permanent(operation, "the request cannot be made twice"))?;
        let request = request.bearer_auth(self.token.token().await?);
        let transient = |error: reqwest::Error| HostError::Transient {
            operation,
            subject: self.subject(),
            source: Box::new(error.without_url()),
        };
        let answer = request.send().await.map_err(transient)?;
        let answer = Answer { status: answer.status(), body: answer.bytes().await.map_err(transient)? };
        if is_busy(answer.status) { Err(self.refused(operation, &answer)) } else { Ok(answer) }
    }

    fn refused(&self, operation: &'static str, answer: &Answer) -> HostError {
        let text = String::from_utf8_lossy(&answer.body).split_whitespace().collect::<Vec<_>>().join(" ");
        let text: String = text.chars().take(MAX_ERROR_CHARS).collect();
        let (subject, source) = (self.subject(), format!("{}: {text}", answer.status).into());
        // A version that is gone meanwhile is made anew by the next deploy.
        if is_busy(answer.status) || answer.status == StatusCode::NOT_FOUND {
            return HostError::Transient { operation, subject, source };
        }
        HostError::Permanent { operation, subject, source }
    }
}

/// What the server said.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

/// True where the same request may succeed in a moment; a conflict is another deploy at the same time.
fn is_busy(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS)
}
