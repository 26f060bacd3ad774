//! Reading published files over the web.
//!
//! Redirects are followed a few times, to other hosts too: permalinks lead to the archive's host, and everything is
//! verified against a pinned key whatever host it came from. No redirect leads from `https` to `http`.

use std::ops::Range;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use url::Url;

use super::location::check_downgrade;
use super::{Body, Fetched, Location, SourceError, Whole};
use crate::request::Transfer;

/// Most redirects of one request.
const MAX_REDIRECTS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A web client, made at its first use.
#[derive(Debug)]
pub struct Http {
    client: OnceLock<Client>,
    idle_connections: usize,
    stall_timeout: Duration,
}

impl Http {
    /// A client that keeps a connection open for each request that may be under way.
    pub fn new(transfer: &Transfer) -> Self {
        let idle_connections = transfer.connections.get();
        Self { client: OnceLock::new(), idle_connections, stall_timeout: transfer.stall_timeout }
    }

    /// Reads a file whole, of at most `max_bytes`.
    pub async fn get(&self, url: &Url, max_bytes: u64) -> Result<Fetched, SourceError> {
        let place = Place(url);
        let mut response = self.send(url, Vec::new()).await?;
        if response.status() != StatusCode::OK {
            return Err(place.refused(&response));
        }
        let too_large = || SourceError::TooLarge { location: place.shown(), max_bytes };
        if response.content_length().is_some_and(|length| length > max_bytes) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        let read = async {
            while let Some(chunk) = response.chunk().await.map_err(|error| place.failed(&error))? {
                if (bytes.len() + chunk.len()) as u64 > max_bytes {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(())
        };
        // The files read this way are small: half a minute without the last byte is half a minute too long, unless it is large.
        let patience = self.stall_timeout.max(Duration::from_secs(max_bytes / (256 * 1024)));
        tokio::time::timeout(patience, read).await.map_err(|_| place.stalled())??;
        Ok(Fetched { location: Location::Http(response.url().clone()), bytes })
    }

    /// Starts to read `range` of a file that must have `size` bytes.
    pub async fn open(&self, url: &Url, range: Range<u64>, size: u64) -> Result<Body, SourceError> {
        let place = Place(url);
        let whole = range == (0..size);
        let headers = match whole {
            true => Vec::new(),
            false => vec![(RANGE, format!("bytes={}-{}", range.start, range.end - 1))],
        };
        let response = self.send(url, headers).await?;
        let ranged = match response.status() {
            StatusCode::OK => {
                place.check_size(response.content_length(), size)?;
                false
            }
            StatusCode::PARTIAL_CONTENT => {
                place.check_range(response.headers(), &range, size)?;
                true
            }
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(place.shorter(response.headers(), size)),
            _ => return Err(place.refused(&response)),
        };
        Ok(Body { ranged, chunks: chunks(url, response) })
    }

    /// Starts to read a file from byte `from` to its end, or from its beginning where it is not the one that `validator` names.
    pub async fn open_whole(&self, url: &Url, from: u64, validator: Option<&str>) -> Result<Whole, SourceError> {
        let place = Place(url);
        let mut headers = Vec::new();
        if let Some(validator) = validator.filter(|_| from > 0) {
            headers = vec![(RANGE, format!("bytes={from}-")), (IF_RANGE, validator.to_owned())];
        }
        let is_ranged = !headers.is_empty();
        let response = self.send(url, headers).await?;
        let (start, size) = match response.status() {
            StatusCode::OK => (0, response.content_length()),
            StatusCode::PARTIAL_CONTENT if is_ranged => (from, place.rest(response.headers(), from)?),
            _ => return Err(place.refused(&response)),
        };
        Ok(Whole { start, size, validator: validator_of(response.headers()), chunks: chunks(url, response) })
    }

    async fn send(&self, url: &Url, headers: Vec<(HeaderName, String)>) -> Result<Response, SourceError> {
        let place = Place(url);
        // A proxy that compresses on the way would change the bytes under the digests.
        let mut request = self.client()?.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let sent = tokio::time::timeout(self.stall_timeout, request.send()).await.map_err(|_| place.stalled())?;
        sent.map_err(|error| place.failed(&error))
    }

    fn client(&self) -> Result<&Client, SourceError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .user_agent(concat!("polkashots/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // One connection per request: over HTTP/2 all requests would share one, and its limits.
            .http1_only()
            .pool_max_idle_per_host(self.idle_connections)
            .referer(false)
            .redirect(redirect_policy())
            .build()
            .map_err(|error| SourceError::Client(with_causes(&error)))?;
        Ok(self.client.get_or_init(|| client))
    }
}

fn chunks(url: &Url, response: Response) -> BoxStream<'static, Result<Bytes, SourceError>> {
    let url = url.clone();
    response.bytes_stream().map(move |chunk| chunk.map_err(|error| Place(&url).failed(&error))).boxed()
}

/// What `If-Range` can ask for: a strong entity tag, or a date.
fn validator_of(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let tag = text(ETAG).filter(|tag| tag.starts_with('"'));
    tag.or_else(|| text(LAST_MODIFIED)).map(str::to_owned)
}

fn redirect_policy() -> Policy {
    Policy::custom(|attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
        }
        let refused = attempt.previous().last().and_then(|from| check_downgrade(from, attempt.url()).err());
        match refused {
            Some(reason) => attempt.error(reason),
            None => attempt.follow(),
        }
    })
}

/// The address of a request, for what is said of its answer.
#[derive(Clone, Copy)]
struct Place<'a>(&'a Url);

impl Place<'_> {
    fn shown(self) -> String {
        Location::Http(self.0.clone()).to_string()
    }

    fn protocol(self, reason: String) -> SourceError {
        SourceError::Protocol { location: self.shown(), reason }
    }

    fn stalled(self) -> SourceError {
        SourceError::Transient { location: self.shown(), reason: "no answer in time".into(), retry_after: None }
    }

    fn failed(self, error: &reqwest::Error) -> SourceError {
        let location = self.shown();
        if error.is_redirect() {
            return SourceError::Redirect { location, reason: last_cause(error) };
        }
        SourceError::Transient { location, reason: with_causes(error), retry_after: None }
    }

    fn refused(self, response: &Response) -> SourceError {
        let status = response.status();
        let location = self.shown();
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return SourceError::NotFound { location };
        }
        let again = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY);
        if !again {
            return SourceError::Refused { location, status: status.to_string() };
        }
        let retry_after = retry_after(response.headers(), SystemTime::now());
        SourceError::Transient { location, reason: format!("server answers {status}"), retry_after }
    }

    fn check_size(self, found: Option<u64>, expected_bytes: u64) -> Result<(), SourceError> {
        match found {
            Some(found_bytes) if found_bytes != expected_bytes => {
                Err(SourceError::WrongSize { location: self.shown(), expected_bytes, found_bytes })
            }
            _ => Ok(()),
        }
    }

    fn check_range(self, headers: &HeaderMap, range: &Range<u64>, size: u64) -> Result<(), SourceError> {
        let header = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let parsed = parse_content_range(header);
        let (start, end, total) =
            parsed.ok_or_else(|| self.protocol(format!("206 without a usable Content-Range: {header:?}")))?;
        self.check_size(total, size)?;
        if start != range.start || end.checked_add(1) != Some(range.end) {
            let asked = format!("{}-{}", range.start, range.end - 1);
            return Err(self.protocol(format!("asked for bytes {asked}, the server sends {header:?}")));
        }
        Ok(())
    }

    /// The size of a file of which a server sends everything from byte `from` on.
    fn rest(self, headers: &HeaderMap, from: u64) -> Result<Option<u64>, SourceError> {
        let header = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (start, end, total) = parse_content_range(header)
            .ok_or_else(|| self.protocol(format!("206 without a usable Content-Range: {header:?}")))?;
        let is_whole_rest = start == from && total.is_none_or(|total| end.checked_add(1) == Some(total));
        match is_whole_rest {
            true => Ok(total.or(end.checked_add(1))),
            false => Err(self.protocol(format!("asked for bytes {from}-, the server sends {header:?}"))),
        }
    }

    fn shorter(self, headers: &HeaderMap, expected_bytes: u64) -> SourceError {
        let header = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match header.strip_prefix("bytes */").and_then(|total| total.parse().ok()) {
            Some(found_bytes) => SourceError::WrongSize { location: self.shown(), expected_bytes, found_bytes },
            None => self.protocol("server answers 416 to a range inside the archive's stated size".into()),
        }
    }
}

/// Reads `bytes 0-99/1234` or `bytes 0-99/*`.
fn parse_content_range(header: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let total = match total {
        "*" => None,
        digits => Some(digits.parse().ok()?),
    };
    Some((start.parse().ok()?, end.parse().ok()?, total))
}

/// Reads `Retry-After`: a number of seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some(SystemTime::from(at).duration_since(now).unwrap_or_default())
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = String> {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    let mut all = Vec::new();
    while let Some(error) = next {
        next = error.source();
        all.push(error.to_string());
    }
    all.into_iter()
}

/// The error with its causes on one line, without the address, which may hold a secret.
fn with_causes(error: &reqwest::Error) -> String {
    let inner: Vec<String> = causes(error).skip(1).collect();
    match inner.is_empty() {
        true => "request failed".into(),
        false => inner.join(": "),
    }
}

fn last_cause(error: &reqwest::Error) -> String {
    causes(error).last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_strictly() {
        assert_eq!(parse_content_range("bytes 5-9/20"), Some((5, 9, Some(20))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, 9, None)));
        for bad in ["", "bytes */20", "5-9/20", "bytes 5-/20", "bytes -9/20", "items 5-9/20", "bytes 5-9/x"] {
            assert_eq!(parse_content_range(bad), None, "{bad} was accepted");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("legal"));
            retry_after(&headers, now)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Sun, 09 Sep 2001 01:47:10 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sun, 09 Sep 2001 01:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }
}
