//! Answers of both APIs, and connections that break instead.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use prost::Message;

use super::bucket::Refusal;

/// A status with JSON.
pub fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    with_headers(status, &[("content-type", "application/json; charset=UTF-8")], body.to_string().into())
}

/// A status with headers and a body.
pub fn with_headers(status: StatusCode, headers: &[(&'static str, &str)], body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static("illegal"));
        response.headers_mut().insert(*name, value);
    }
    response
}

/// The JSON API's way to refuse.
pub fn refused(refusal: &Refusal) -> Response {
    let (status, reason) = match refusal {
        Refusal::NotFound(name) => (StatusCode::NOT_FOUND, format!("No such object: {name}")),
        Refusal::PreconditionFailed(reason) => (StatusCode::PRECONDITION_FAILED, reason.clone()),
        Refusal::Invalid(reason) => (StatusCode::BAD_REQUEST, reason.clone()),
        Refusal::Internal(reason) => (StatusCode::INTERNAL_SERVER_ERROR, reason.clone()),
    };
    failed(status, &reason)
}

/// An error of the JSON API.
pub fn failed(status: StatusCode, reason: &str) -> Response {
    let error = serde_json::json!({"error": {"code": status.as_u16(), "message": reason, "errors": []}});
    json(status, &error)
}

/// Breaks the connection before the answer is whole.
pub fn reset() -> Response {
    let broken = futures::stream::once(async { Err::<Bytes, _>(io::Error::other("broken on purpose")) });
    let mut response = Response::new(Body::from_stream(broken));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("100000"));
    response
}

/// A message and the status OK.
pub fn grpc(message: &impl Message) -> Response {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(length + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.extend_from_slice(&message.encode_to_vec());
    let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static("0"))]);
    let mut response = Response::new(Body::new(Answer { frame: Some(frame.freeze()), trailers: Some(trailers) }));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A status other than OK.
pub fn grpc_failed(code: u16, reason: &str) -> Response {
    let (code, reason) = (code.to_string(), reason.replace(|c: char| !c.is_ascii_graphic(), "%20"));
    let headers = [("content-type", "application/grpc"), ("grpc-status", &code), ("grpc-message", &reason)];
    with_headers(StatusCode::OK, &headers, Body::empty())
}

/// The gRPC API's way to refuse.
pub fn grpc_refused(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::NotFound(name) => grpc_failed(5, &format!("no such object: {name}")),
        Refusal::PreconditionFailed(reason) => grpc_failed(9, reason),
        Refusal::Invalid(reason) => grpc_failed(3, reason),
        Refusal::Internal(reason) => grpc_failed(13, reason),
    }
}

/// The gRPC code that stands for an HTTP status.
pub fn grpc_code(status: u16) -> u16 {
    match status {
        408 | 504 => 4,
        429 => 8,
        500 => 13,
        _ => 14,
    }
}

/// A body of one frame and trailers.
struct Answer {
    frame: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(frame) = self.frame.take() {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}
