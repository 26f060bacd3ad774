//! A strict stand-in for Firebase Hosting's REST API: it refuses what the real one refuses, and some of what it would not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};
use polkashots_shared::ids::Sha256;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use url::form_urlencoded;

pub const SITE: &str = "dot-site";
pub const TOKEN: &str = "a-token";
/// What Google's own tools send to a server that is not Google's.
const EMULATOR_TOKEN: &str = "owner";
/// Most items in one page of a list.
const PAGE: usize = 3;

/// How one call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The status instead of the effect.
    Instead(StatusCode),
    /// The effect, but the status instead of the answer.
    After(StatusCode),
    /// No answer, no effect: the caller is killed while it waits.
    NeverBefore,
    /// No answer, but the effect.
    NeverAfter,
}

type Plan = Box<dyn Fn(usize) -> Option<Trouble> + Send>;

/// The server; it ends with the runtime.
#[derive(Clone)]
pub struct StandIn {
    state: Arc<Mutex<Hosting>>,
    hanging: Arc<watch::Sender<bool>>,
    address: SocketAddr,
}

struct Hosting {
    versions: BTreeMap<String, Version>,
    blobs: BTreeMap<Sha256, Vec<u8>>,
    /// Newest first: version and kind.
    releases: Vec<(String, String)>,
    calls: Vec<String>,
    plan: Plan,
}

struct Version {
    status: &'static str,
    config: Value,
    labels: Value,
    files: BTreeMap<String, Sha256>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewVersion {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    config: Config,
    labels: BTreeMap<String, String>,
}

/// What `updateMask` may name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionChange {
    status: String,
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Default, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Config {
    redirects: Vec<Redirect>,
    headers: Vec<Headers>,
    clean_urls: bool,
    trailing_slash_behavior: String,
}

#[derive(Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Redirect {
    glob: String,
    status_code: u16,
    location: String,
}

#[derive(Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
struct Headers {
    glob: String,
    headers: BTreeMap<String, String>,
}

type Answer = (StatusCode, Value);

/// Every file, unpacked, by its path, and the configuration.
pub type Live = (BTreeMap<String, Vec<u8>>, Value);

impl StandIn {
    /// Starts one without any version.
    pub async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let hosting = Hosting {
            versions: BTreeMap::new(),
            blobs: BTreeMap::new(),
            releases: Vec::new(),
            calls: Vec::new(),
            plan: Box::new(|_| None),
        };
        let stand_in = Self {
            state: Arc::new(Mutex::new(hosting)),
            hanging: Arc::new(watch::Sender::new(false)),
            address: listener.local_addr()?,
        };
        let router = axum::Router::new().fallback(answer).with_state(stand_in.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        Ok(stand_in)
    }

    pub fn origin(&self) -> url::Url {
        format!("http://{}/", self.address).parse().expect("an address")
    }

    /// From now on the n-th call from here, counted from 0, goes wrong as the plan says.
    pub fn trouble(&self, plan: impl Fn(usize) -> Option<Trouble> + Send + 'static) {
        let mut state = self.lock();
        state.calls.clear();
        state.plan = Box::new(plan);
        self.hanging.send_replace(false);
    }

    /// The calls since the last [`Self::trouble`].
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// Returns when a call was left without an answer.
    pub async fn left_hanging(&self) {
        let mut hanging = self.hanging.subscribe();
        let _closed = hanging.wait_for(|hanging| *hanging).await;
    }

    /// What a visitor sees: every file of the live version, unpacked, and its configuration.
    pub fn live(&self) -> Result<Option<Live>> {
        let state = self.lock();
        let Some((name, _)) = state.releases.first() else { return Ok(None) };
        let version = state.versions.get(name).context("the live version is gone")?;
        let unpack = |(path, digest): (&String, &Sha256)| {
            let gzip = state.blobs.get(digest).with_context(|| format!("{path} of the live version is not there"))?;
            Ok((path.clone(), gunzip(gzip)?))
        };
        Ok(Some((version.files.iter().map(unpack).collect::<Result<_>>()?, version.config.clone())))
    }

    /// How many versions are neither deleted nor live.
    pub fn idle_versions(&self) -> usize {
        let state = self.lock();
        let live = state.releases.first().map(|(name, _)| name);
        state.versions.iter().filter(|(name, version)| Some(*name) != live && version.status != "DELETED").count()
    }

    pub fn releases(&self) -> Vec<(String, String)> {
        self.lock().releases.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Hosting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(stand_in): State<StandIn>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 64 * 1024 * 1024).await else { return respond(refuse("body")) };
    let trouble = {
        let mut state = stand_in.lock();
        let position = state.calls.len();
        state.calls.push(format!("{} {}", parts.method, parts.uri));
        (state.plan)(position)
    };
    let tokens = [TOKEN, EMULATOR_TOKEN].map(|token| format!("Bearer {token}"));
    let authorized = parts.headers.get("authorization").is_some_and(|value| tokens.iter().any(|token| *value == token));
    let effect = || match authorized {
        true => stand_in.lock().call(stand_in.address, &parts.method, &parts.uri, &body),
        false => (StatusCode::UNAUTHORIZED, json!({ "error": "no token" })),
    };
    match trouble {
        None => respond(effect()),
        Some(Trouble::Instead(status)) => respond((status, json!({ "error": "planned" }))),
        Some(Trouble::After(status)) => {
            effect();
            respond((status, json!({ "error": "planned" })))
        }
        Some(never) => {
            if never == Trouble::NeverAfter {
                effect();
            }
            stand_in.hanging.send_replace(true);
            std::future::pending().await
        }
    }
}

fn respond((status, body): Answer) -> Response<Body> {
    let mut response = Response::new(body.to_string().into());
    *response.status_mut() = status;
    response
}

fn refuse(reason: &str) -> Answer {
    (StatusCode::BAD_REQUEST, json!({ "error": { "status": "INVALID_ARGUMENT", "message": reason } }))
}

fn missing(what: &str) -> Answer {
    (StatusCode::NOT_FOUND, json!({ "error": { "status": "NOT_FOUND", "message": what } }))
}

impl Hosting {
    fn call(&mut self, address: SocketAddr, method: &Method, uri: &axum::http::Uri, body: &Bytes) -> Answer {
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let versions = format!("sites/{SITE}/versions");
        let releases = format!("sites/{SITE}/releases");
        let channel = format!("sites/{SITE}/channels/live/releases");
        if let Some(upload) = uri.path().strip_prefix(&format!("/upload/{versions}/")) {
            return self.upload(&versions, upload, body);
        }
        let Some(path) = uri.path().strip_prefix("/v1beta1/").map(resource_name) else { return missing(uri.path()) };
        match (method.as_str(), path) {
            ("GET", path) if path == versions => self.list_versions(&query),
            ("POST", path) if path == versions => self.create(&versions, body),
            ("GET", path) if path == releases => self.list_releases(&query),
            ("POST", path) if path == releases || path == channel => self.release(&query, body),
            ("POST", path) if path.ends_with(":populateFiles") => {
                self.populate(address, path.trim_end_matches(":populateFiles"), body)
            }
            ("PATCH", path) => self.finalize(path, &query, body),
            ("DELETE", path) => self.delete(path),
            _ => missing(path),
        }
    }

    fn resource(&self, name: &str) -> Value {
        let version = &self.versions[name];
        json!({ "name": name, "status": version.status, "config": version.config, "labels": version.labels })
    }

    fn page(items: &[Value], what: &str, query: &BTreeMap<String, String>) -> Answer {
        let start: usize = query.get("pageToken").and_then(|token| token.parse().ok()).unwrap_or(0);
        let end = (start + PAGE).min(items.len());
        let mut body = json!({});
        if start < end {
            body[what] = items[start..end].into();
        }
        if end < items.len() {
            body["nextPageToken"] = end.to_string().into();
        }
        (StatusCode::OK, body)
    }

    fn list_versions(&self, query: &BTreeMap<String, String>) -> Answer {
        let items: Vec<Value> = self.versions.keys().rev().map(|name| self.resource(name)).collect();
        Self::page(&items, "versions", query)
    }

    fn list_releases(&self, query: &BTreeMap<String, String>) -> Answer {
        let item = |(name, kind): &(String, String)| {
            let mut version = self.resource(name);
            version["name"] = format!("projects/4711/{name}").into();
            json!({ "type": kind, "version": version })
        };
        let items: Vec<Value> = self.releases.iter().map(item).collect();
        Self::page(&items, "releases", query)
    }

    fn create(&mut self, versions: &str, body: &[u8]) -> Answer {
        let new: NewVersion = match serde_json::from_slice(body) {
            Ok(new) => new,
            Err(error) => return refuse(&error.to_string()),
        };
        if new.status.is_some_and(|status| status != "CREATED") {
            return refuse("a version begins as CREATED");
        }
        if let Err(reason) = new.config.check() {
            return refuse(reason);
        }
        if new.labels.values().any(|value| value.len() > 63) {
            return refuse("a label is longer than 63 characters");
        }
        let name = format!("{versions}/{:06}", self.versions.len());
        let config = serde_json::to_value(&new.config).unwrap_or_default();
        let version = Version { status: "CREATED", config, labels: json!(new.labels), files: BTreeMap::new() };
        self.versions.insert(name.clone(), version);
        (StatusCode::OK, self.resource(&name))
    }

    fn populate(&mut self, address: SocketAddr, name: &str, body: &[u8]) -> Answer {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Files {
            files: BTreeMap<String, Sha256>,
        }
        let Some(version) = self.versions.get_mut(name) else { return missing(name) };
        if version.status != "CREATED" {
            return refuse("version is not CREATED");
        }
        let Files { files } = match serde_json::from_slice(body) {
            Ok(files) => files,
            Err(error) => return refuse(&error.to_string()),
        };
        if files.len() > 1000 || files.keys().any(|path| !path.starts_with('/') || path.contains("//")) {
            return refuse("files");
        }
        let required: BTreeSet<Sha256> =
            files.values().filter(|digest| !self.blobs.contains_key(digest)).copied().collect();
        version.files.extend(files);
        let url = format!("http://{address}/upload/{name}/files");
        let mut body = json!({ "uploadUrl": url });
        if !required.is_empty() {
            body["uploadRequiredHashes"] = json!(required);
        }
        (StatusCode::OK, body)
    }

    fn upload(&mut self, versions: &str, rest: &str, body: &[u8]) -> Answer {
        let Some((id, digest)) = rest.split_once("/files/") else { return missing(rest) };
        let Some(version) = self.versions.get(&format!("{versions}/{id}")) else { return missing(id) };
        let Ok(digest) = digest.parse::<Sha256>() else { return refuse("digest") };
        if version.status != "CREATED" || !version.files.values().any(|file| *file == digest) {
            return refuse("this file was not asked for");
        }
        if Sha256::of(body) != digest || gunzip(body).is_err() {
            return refuse("not what its digest says, or not gzip");
        }
        self.blobs.insert(digest, body.to_vec());
        (StatusCode::OK, json!({}))
    }

    fn finalize(&mut self, name: &str, query: &BTreeMap<String, String>, body: &[u8]) -> Answer {
        let change: VersionChange = match serde_json::from_slice(body) {
            Ok(change) => change,
            Err(error) => return refuse(&error.to_string()),
        };
        let mask = if change.config.is_some() { "status,config" } else { "status" };
        if query.get("updateMask").map(String::as_str) != Some(mask) || change.status != "FINALIZED" {
            return refuse("the status can be changed to FINALIZED, the configuration with it");
        }
        if let Some(Err(reason)) = change.config.as_ref().map(Config::check) {
            return refuse(reason);
        }
        let Some(version) = self.versions.get_mut(name) else { return missing(name) };
        let complete = version.files.values().all(|digest| self.blobs.contains_key(digest));
        match version.status {
            "CREATED" if complete => version.status = "FINALIZED",
            "FINALIZED" if change.config.is_none() => {}
            _ => return refuse("version lacks files, is final or is gone"),
        }
        if let Some(config) = change.config {
            version.config = serde_json::to_value(config).unwrap_or_default();
        }
        (StatusCode::OK, self.resource(name))
    }

    fn release(&mut self, query: &BTreeMap<String, String>, body: &[u8]) -> Answer {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(name) = query.get("versionName").map(|name| resource_name(name)) else { return refuse("query") };
        let kind = asked.get("type").map_or(Some("DEPLOY"), Value::as_str);
        let Some(kind) = kind.filter(|kind| matches!(*kind, "DEPLOY" | "ROLLBACK")) else { return refuse("type") };
        match self.versions.get(name) {
            Some(version) if version.status == "FINALIZED" => {}
            Some(_) => return refuse("version is not FINALIZED"),
            None => return missing(name),
        }
        self.releases.insert(0, (name.to_owned(), kind.to_owned()));
        (StatusCode::OK, json!({ "type": kind, "version": self.resource(name) }))
    }

    fn delete(&mut self, name: &str) -> Answer {
        if self.releases.first().is_some_and(|(live, _)| live == name) {
            return refuse("the live version cannot be deleted");
        }
        let Some(version) = self.versions.get_mut(name) else { return missing(name) };
        version.status = "DELETED";
        (StatusCode::OK, json!({}))
    }
}

impl Config {
    fn check(&self) -> Result<(), &'static str> {
        let globs = self.redirects.iter().map(|r| &r.glob).chain(self.headers.iter().map(|h| &h.glob));
        if globs.into_iter().any(|glob| !glob.starts_with('/') && !glob.starts_with("**")) {
            return Err("a glob begins with / or **");
        }
        match self.redirects.iter().all(|redirect| (300..400).contains(&redirect.status_code)) {
            true => Ok(()),
            false => Err("redirect status"),
        }
    }
}

/// Every resource has a second name: `projects/PROJECT/sites/..` is `sites/..`, whatever the project.
fn resource_name(name: &str) -> &str {
    name.strip_prefix("projects/").and_then(|rest| rest.split_once('/')).map_or(name, |(_, rest)| rest)
}

fn gunzip(gzip: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(gzip).read_to_end(&mut bytes)?;
    Ok(bytes)
}
