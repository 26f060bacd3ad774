//! Answers: files as bounded streams, redirects, pages, and the headers that every answer carries.

use std::fs::Metadata;
use std::io::SeekFrom;
use std::path::Path;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use chrono::{DateTime, Utc};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::content_type;
use super::range::{self, Validators, Wanted};

/// How much of a file is in memory at a time, per request, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// How long an answer may be kept by those who got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    /// For ever: the name is never used for other content.
    Immutable,
    /// Only with asking each time whether it changed.
    NoCache,
}

impl Caching {
    fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Immutable => "public, max-age=31536000, immutable",
            Self::NoCache => "no-cache",
        })
    }
}

/// The answer with a file, or with the part of it that was asked for.
pub(super) async fn file(
    headers: &HeaderMap,
    get: bool,
    place: &Path,
    meta: &Metadata,
    caching: Caching,
) -> Response<Body> {
    let validators = validators_of(meta);
    let size = meta.len();
    let mut answer = match range::wanted(headers, get, size, &validators) {
        Wanted::NotModified => plain_empty(StatusCode::NOT_MODIFIED),
        Wanted::PreconditionFailed => plain_empty(StatusCode::PRECONDITION_FAILED),
        Wanted::Unsatisfiable => unsatisfiable(size),
        Wanted::Whole => content(get, place, 0, size, StatusCode::OK).await,
        Wanted::Part(part) => {
            let mut answer = content(get, place, part.start, part.end - part.start, StatusCode::PARTIAL_CONTENT).await;
            if answer.status() == StatusCode::PARTIAL_CONTENT {
                let text = format!("bytes {}-{}/{size}", part.start, part.end - 1);
                set(answer.headers_mut(), header::CONTENT_RANGE, &text);
            }
            answer
        }
    };
    if answer.status().is_server_error() {
        return answer;
    }
    let name = place.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let headers = answer.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, caching.header());
    set(headers, header::ETAG, &validators.etag);
    set(headers, header::LAST_MODIFIED, &range::http_date(validators.modified));
    set(headers, header::CONTENT_TYPE, content_type::of(name));
    answer
}

/// A redirect that nobody keeps.
pub(super) fn redirect(status: StatusCode, location: &str) -> Response<Body> {
    let Ok(location) = HeaderValue::from_str(location) else { return plain(StatusCode::INTERNAL_SERVER_ERROR, &[]) };
    let mut answer = plain_empty(status);
    answer.headers_mut().insert(header::LOCATION, location);
    answer.headers_mut().insert(header::CACHE_CONTROL, Caching::NoCache.header());
    answer
}

/// A page of the site as the answer to a request that went wrong.
pub(super) fn page(status: StatusCode, get: bool, page: Vec<u8>) -> Response<Body> {
    let size = page.len().to_string();
    let mut answer = Response::new(if get { page.into() } else { Body::empty() });
    *answer.status_mut() = status;
    set(answer.headers_mut(), header::CONTENT_LENGTH, &size);
    set(answer.headers_mut(), header::CONTENT_TYPE, content_type::of("404.html"));
    answer.headers_mut().insert(header::CACHE_CONTROL, Caching::NoCache.header());
    answer
}

/// The status in words.
pub(super) fn plain(status: StatusCode, headers: &[(HeaderName, &'static str)]) -> Response<Body> {
    let mut answer = Response::new(format!("{status}\n").into());
    *answer.status_mut() = status;
    set(answer.headers_mut(), header::CONTENT_TYPE, content_type::of("status.txt"));
    answer.headers_mut().insert(header::CACHE_CONTROL, Caching::NoCache.header());
    for (name, value) in headers {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Adds what every answer carries, where the site's own rules do not say otherwise.
pub(super) fn add_security_headers(headers: &mut HeaderMap) {
    const ALWAYS: [(HeaderName, &str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; font-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

fn plain_empty(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

fn unsatisfiable(size: u64) -> Response<Body> {
    let mut answer = plain_empty(StatusCode::RANGE_NOT_SATISFIABLE);
    set(answer.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{size}"));
    answer
}

/// `length` bytes of a file from `start`, read as the client takes them.
async fn content(get: bool, place: &Path, start: u64, length: u64, status: StatusCode) -> Response<Body> {
    let body = if get { stream(place, start, length).await } else { Ok(Body::empty()) };
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(path = %place.display(), %error, "file cannot be served");
            return plain(StatusCode::INTERNAL_SERVER_ERROR, &[]);
        }
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    set(answer.headers_mut(), header::CONTENT_LENGTH, &length.to_string());
    answer
}

async fn stream(place: &Path, start: u64, length: u64) -> std::io::Result<Body> {
    let mut file = File::open(place).await?;
    if start > 0 {
        file.seek(SeekFrom::Start(start)).await?;
    }
    Ok(Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK_BYTES)))
}

/// Files are replaced by rename, so that inode, size and time of writing name one state.
fn validators_of(meta: &Metadata) -> Validators {
    use std::os::unix::fs::MetadataExt;
    let etag = format!("\"{:x}-{:x}-{:x}{:08x}\"", meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
    let modified = meta.modified().map_or(DateTime::<Utc>::UNIX_EPOCH, DateTime::<Utc>::from);
    Validators { etag, modified }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
