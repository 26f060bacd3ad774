//! Resumable uploads: sessions that take an object in chunks and say how much of it they have.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};

use super::Shared;
use super::answers::{failed, with_headers};
use super::bucket::NewObject;

/// Every chunk but the last is a multiple of this.
const QUANTUM_BYTES: usize = 256 * 1024;

/// The sessions under way, by id.
#[derive(Debug, Default)]
pub struct Sessions {
    begun: u64,
    open: HashMap<String, Session>,
}

#[derive(Debug)]
struct Session {
    object: NewObject,
    content: BytesMut,
}

/// What `Content-Range` says.
#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    start: Option<usize>,
    total: Option<usize>,
}

impl Shared {
    /// Opens a session and answers with its address.
    pub fn begin(&self, object: NewObject) -> Response {
        let mut sessions = self.sessions();
        sessions.begun += 1;
        let id = sessions.begun.to_string();
        sessions.open.insert(id.clone(), Session { object, content: BytesMut::new() });
        let location = format!("http://{}/resumable/{id}", self.address);
        with_headers(StatusCode::OK, &[("location", &location)], Body::empty())
    }

    /// Takes a chunk, or only says how much there is.
    pub fn chunk(&self, id: &str, headers: &HeaderMap, body: &Bytes, wrong_crc: bool) -> Response {
        let range = headers.get("content-range").and_then(|value| value.to_str().ok()).unwrap_or("bytes */*");
        let Some(chunk) = Chunk::parse(range) else {
            return failed(StatusCode::BAD_REQUEST, &format!("content-range {range} cannot be read"));
        };
        let mut sessions = self.sessions();
        let Some(session) = sessions.open.get_mut(id) else {
            return failed(StatusCode::NOT_FOUND, "no such upload session");
        };
        if let Some(start) = chunk.start {
            let held = session.content.len();
            if start > held || (chunk.total.is_none() && !body.len().is_multiple_of(QUANTUM_BYTES)) {
                return failed(StatusCode::BAD_REQUEST, &format!("chunk at {start}, {held} bytes are held"));
            }
            session.content.extend_from_slice(body.get(held - start..).unwrap_or_default());
        }
        if chunk.total != Some(session.content.len()) {
            return session.incomplete();
        }
        let Some(session) = sessions.open.remove(id) else { return failed(StatusCode::NOT_FOUND, "gone") };
        self.write(session.object, session.content.freeze(), wrong_crc)
    }
}

impl Session {
    fn incomplete(&self) -> Response {
        let held = format!("bytes=0-{}", self.content.len().saturating_sub(1));
        let headers: &[(&'static str, &str)] = if self.content.is_empty() { &[] } else { &[("range", &held)] };
        with_headers(StatusCode::PERMANENT_REDIRECT, headers, Body::empty())
    }
}

impl Chunk {
    fn parse(text: &str) -> Option<Self> {
        let (span, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let start = match span {
            "*" => None,
            span => Some(span.split_once('-')?.0.parse().ok()?),
        };
        let total = if total == "*" { None } else { Some(total.parse().ok()?) };
        Some(Self { start, total })
    }
}
