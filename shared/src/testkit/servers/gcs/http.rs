//! The data API: JSON and bytes over HTTP.

use std::collections::HashMap;
use std::ops::Range;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use chrono::SecondsFormat;
use futures::StreamExt;
use serde_json::{Value, json};

use super::Shared;
use super::answers::{self, failed, refused, reset, with_headers};
use super::bucket::{NewObject, Refusal, StoredObject};
use super::faults::{Call, Fault, Operation};

const MAX_BODY_BYTES: usize = 256 * 1024 * 1024;
/// Bytes of one chunk of a download.
const CHUNK_BYTES: u64 = 256 * 1024;

/// A request that was understood.
enum Asked {
    Whole(NewObject),
    Session(NewObject),
    Chunk(String),
    Media(String),
    Metadata(String),
}

pub async fn answer(shared: &Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let asked = match Asked::parse(shared, &parts) {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    let fault = shared.faults().of(&asked.call());
    match fault {
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            return failed(status, "failed on purpose");
        }
        Some(Fault::Reset) => return cut(body).await,
        _ => {}
    }
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else { return reset() };
    let body = if fault == Some(Fault::FlipBit) { flip(body) } else { body };
    let answered = asked.answer(shared, &parts, body, fault == Some(Fault::ReportWrongCrc));
    if fault == Some(Fault::LoseAnswer) { reset() } else { answered }
}

/// Reads a part of the body and breaks the connection.
async fn cut(body: Body) -> Response {
    let _first = body.into_data_stream().next().await;
    reset()
}

/// Changes a byte in the middle, where content is.
fn flip(body: Bytes) -> Bytes {
    let mut bytes = body.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    bytes.into()
}

impl Asked {
    fn parse(shared: &Shared, parts: &Parts) -> Result<Self, Box<Response>> {
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let path = parts.uri.path();
        if let Some(id) = path.strip_prefix("/resumable/") {
            return Ok(Self::Chunk(id.to_owned()));
        }
        let path = path.strip_prefix("/upload").unwrap_or(path);
        let inside = format!("/storage/v1/b/{}/o", shared.bucket_name);
        let Some(name) = path.strip_prefix(&inside) else {
            // Where the world reads a public bucket: as on storage.googleapis.com.
            let public = path.strip_prefix(&format!("/{}/", shared.bucket_name));
            if let (&Method::GET, Some(name)) = (&parts.method, public) {
                return Ok(Self::Media(decoded(name)));
            }
            return Err(Box::new(failed(StatusCode::NOT_FOUND, "The specified bucket does not exist.")));
        };
        let named = |name: &str| decoded(name.trim_start_matches('/'));
        match (&parts.method, query.get("uploadType").map(String::as_str)) {
            (&Method::POST, Some("multipart")) => Ok(Self::Whole(new_object(&query))),
            (&Method::POST, Some("resumable")) => Ok(Self::Session(new_object(&query))),
            (&Method::GET, None) if query.get("alt").is_some_and(|alt| alt == "media") => Ok(Self::Media(named(name))),
            (&Method::GET, None) => Ok(Self::Metadata(named(name))),
            _ => Err(Box::new(failed(StatusCode::BAD_REQUEST, "this server does not know the request"))),
        }
    }

    fn call(&self) -> Call {
        let (operation, key) = match self {
            Self::Whole(new) | Self::Session(new) => (Operation::Write, new.name.clone()),
            Self::Chunk(id) => (Operation::Write, id.clone()),
            Self::Media(name) => (Operation::Read, name.clone()),
            Self::Metadata(name) => (Operation::Get, name.clone()),
        };
        Call { operation, key }
    }

    fn answer(self, shared: &Shared, parts: &Parts, body: Bytes, wrong_crc: bool) -> Response {
        match self {
            Self::Whole(new) => match with_metadata(new, &parts.headers, &body) {
                Ok((new, content)) => shared.write(new, content, wrong_crc),
                Err(refusal) => refused(&refusal),
            },
            Self::Session(new) => match described(new, &body) {
                Ok(new) => shared.begin(new),
                Err(refusal) => refused(&refusal),
            },
            Self::Chunk(id) => shared.chunk(&id, &parts.headers, &body, wrong_crc),
            Self::Media(name) => match shared.bucket().find(&name) {
                Ok(object) => media(object, &parts.headers),
                Err(refusal) => refused(&refusal),
            },
            Self::Metadata(name) => match shared.bucket().find(&name) {
                Ok(object) => answers::json(StatusCode::OK, &described_as_json(shared, &name, object, false)),
                Err(refusal) => refused(&refusal),
            },
        }
    }
}

impl Shared {
    /// Stores an object and describes it.
    pub fn write(&self, new: NewObject, content: Bytes, wrong_crc: bool) -> Response {
        let name = new.name.clone();
        match self.bucket().write(new, content) {
            Ok(object) => answers::json(StatusCode::OK, &described_as_json(self, &name, object, wrong_crc)),
            Err(refusal) => refused(&refusal),
        }
    }
}

fn decoded(name: &str) -> String {
    let pair = format!("name={}", name.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, name)| name.into_owned()).unwrap_or_default()
}

fn new_object(query: &HashMap<String, String>) -> NewObject {
    NewObject {
        name: query.get("name").cloned().unwrap_or_default(),
        if_generation_match: query.get("ifGenerationMatch").and_then(|text| text.parse().ok()),
        ..NewObject::default()
    }
}

/// Reads the description in the JSON into `new`.
fn described(mut new: NewObject, description: &[u8]) -> Result<NewObject, Refusal> {
    let json: Value =
        serde_json::from_slice(description).map_err(|error| Refusal::Invalid(format!("metadata: {error}")))?;
    let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
    new.content_type = text("contentType");
    new.cache_control = text("cacheControl");
    new.crc32c = json["crc32c"].as_str().and_then(crc32c_of);
    let metadata = json["metadata"].as_object().cloned().unwrap_or_default();
    new.metadata = metadata.into_iter().map(|(key, value)| (key, value.as_str().unwrap_or("").to_owned())).collect();
    Ok(new)
}

fn crc32c_of(text: &str) -> Option<u32> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Takes a `multipart/related` body apart: the description, the content, and perhaps checksums.
fn with_metadata(new: NewObject, headers: &HeaderMap, body: &Bytes) -> Result<(NewObject, Bytes), Refusal> {
    let invalid = |reason: &str| Refusal::Invalid(reason.to_owned());
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = content_type.split_once("boundary=").ok_or_else(|| invalid("no boundary"))?.1.trim_matches('"');
    let delimiter = format!("\r\n--{boundary}");
    let start = find(body, b"\r\n\r\n").ok_or_else(|| invalid("no metadata"))? + 4;
    let end = start + find(&body[start..], delimiter.as_bytes()).ok_or_else(|| invalid("no end of metadata"))?;
    let content = end + find(&body[end + 2..], b"\r\n\r\n").ok_or_else(|| invalid("no content"))? + 6;
    let tail = content.max(body.len().saturating_sub(1024));
    let close = tail + find(&body[tail..], delimiter.as_bytes()).ok_or_else(|| invalid("cut off"))?;
    let mut new = described(new, &body[start..end])?;
    let trailer = &body[close..];
    if let Some(at) = find(trailer, b"{") {
        let text = String::from_utf8_lossy(&trailer[at..]);
        let sums: Option<Value> = serde_json::Deserializer::from_str(&text).into_iter().next().and_then(Result::ok);
        let announced = sums.as_ref().and_then(|sums| sums["crc32c"].as_str()).and_then(crc32c_of);
        new.crc32c = new.crc32c.or(announced);
    }
    Ok((new, body.slice(content..close)))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn media(object: &StoredObject, headers: &HeaderMap) -> Response {
    let asked = headers.get("range").and_then(|value| value.to_str().ok());
    let range = match asked {
        None => 0..object.size,
        Some(asked) => match satisfiable(asked, object.size) {
            Some(range) => range,
            None => return failed(StatusCode::RANGE_NOT_SATISFIABLE, "the range leaves the object"),
        },
    };
    let chunks = match object.read(range.start, range.end, CHUNK_BYTES) {
        Ok(chunks) => chunks,
        Err(error) => return failed(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    let hash = format!("crc32c={}", BASE64_STANDARD.encode(object.crc32c.to_be_bytes()));
    let (length, generation) = ((range.end - range.start).to_string(), object.generation.to_string());
    let (size, span) =
        (object.size.to_string(), format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), object.size));
    let mut answer = vec![
        ("content-length", length.as_str()),
        ("x-goog-generation", &generation),
        ("x-goog-metageneration", "1"),
        ("x-goog-stored-content-length", &size),
        ("x-goog-stored-content-encoding", "identity"),
        ("x-goog-hash", &hash),
        ("content-type", &object.content_type),
        ("cache-control", &object.cache_control),
    ];
    let status = if asked.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    if asked.is_some() {
        answer.push(("content-range", &span));
    }
    let body = futures::stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>));
    with_headers(status, &answer, Body::from_stream(body))
}

/// What `bytes=a-b`, `bytes=a-` or `bytes=-n` means for an object of that size.
fn satisfiable(asked: &str, size: u64) -> Option<Range<u64>> {
    let (from, to) = asked.strip_prefix("bytes=")?.split_once('-')?;
    if from.is_empty() {
        let last: u64 = to.parse().ok()?;
        return Some(size.saturating_sub(last)..size);
    }
    let from: u64 = from.parse().ok()?;
    let to = if to.is_empty() { size } else { to.parse::<u64>().ok()?.saturating_add(1).min(size) };
    (from < to).then_some(from..to)
}

fn described_as_json(shared: &Shared, name: &str, object: &StoredObject, wrong_crc: bool) -> Value {
    let crc32c = object.crc32c ^ u32::from(wrong_crc);
    let created = object.created.to_rfc3339_opts(SecondsFormat::Micros, true);
    json!({
        "kind": "storage#object",
        "name": name,
        "bucket": shared.bucket_name,
        "generation": object.generation.to_string(),
        "metageneration": "1",
        "size": object.size.to_string(),
        "contentType": object.content_type,
        "cacheControl": object.cache_control,
        "metadata": object.metadata,
        "crc32c": BASE64_STANDARD.encode(crc32c.to_be_bytes()),
        "timeCreated": created,
        "updated": created,
    })
}
