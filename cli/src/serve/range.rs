//! Byte ranges and preconditions of a request, as RFC 9110 reads them.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, header};
use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};

/// What identifies one state of a file to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validators {
    /// A strong entity tag, in its quotes.
    pub etag: String,
    /// When the file was last written, in whole seconds.
    pub modified: DateTime<Utc>,
}

/// What a request asks of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// One range of it, never empty.
    Part(Range<u64>),
    /// A range that lies behind its end.
    Unsatisfiable,
    /// Nothing: the client has this state already.
    NotModified,
    /// Nothing: the client wants another state.
    PreconditionFailed,
}

const DATE_FORMAT: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// A time as HTTP writes it.
pub(super) fn http_date(time: DateTime<Utc>) -> String {
    time.format(DATE_FORMAT).to_string()
}

/// Reads what a GET or HEAD request asks of a file of `size` bytes.
pub(super) fn wanted(headers: &HeaderMap, get: bool, size: u64, validators: &Validators) -> Wanted {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_MATCH).is_some_and(|tags| !lists(tags, &validators.etag)) {
        return Wanted::PreconditionFailed;
    }
    match text(header::IF_NONE_MATCH) {
        Some(tags) if lists(tags, &validators.etag) => return Wanted::NotModified,
        Some(_) => {}
        None if unmodified_since(text(header::IF_MODIFIED_SINCE), validators) => return Wanted::NotModified,
        None => {}
    }
    let Some(range) = text(header::RANGE).filter(|_| get) else { return Wanted::Whole };
    if text(header::IF_RANGE).is_some_and(|value| !same_state(value, validators)) {
        return Wanted::Whole;
    }
    parse_range(range, size)
}

/// True where a list of entity tags holds ours; weak tags count, as they do for reads.
fn lists(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

fn unmodified_since(date: Option<&str>, validators: &Validators) -> bool {
    date.and_then(parse_date).is_some_and(|since| validators.modified.trunc_subsecs(0) <= since)
}

/// True where `If-Range` names exactly this state; a weak tag never does.
fn same_state(value: &str, validators: &Validators) -> bool {
    value.trim() == validators.etag
        || parse_date(value).is_some_and(|date| date == validators.modified.trunc_subsecs(0))
}

fn parse_date(text: &str) -> Option<DateTime<Utc>> {
    NaiveDateTime::parse_from_str(text.trim(), DATE_FORMAT).ok().map(|naive| naive.and_utc())
}

/// Reads `Range`. Several ranges, other units and nonsense mean the whole file, as the RFC allows.
fn parse_range(text: &str, size: u64) -> Wanted {
    let Some((first, last)) = text.trim().strip_prefix("bytes=").and_then(|spec| spec.trim().split_once('-')) else {
        return Wanted::Whole;
    };
    let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?;
    if first.is_empty() {
        return match number(last) {
            Some(0) => Wanted::Unsatisfiable,
            Some(_) if size == 0 => Wanted::Unsatisfiable,
            Some(count) => Wanted::Part(size.saturating_sub(count)..size),
            None => Wanted::Whole,
        };
    }
    let (Some(first), last) = (number(first), if last.is_empty() { Some(u64::MAX) } else { number(last) }) else {
        return Wanted::Whole;
    };
    match last {
        None => Wanted::Whole,
        Some(last) if last < first => Wanted::Whole,
        Some(_) if first >= size => Wanted::Unsatisfiable,
        Some(last) => Wanted::Part(first..last.saturating_add(1).min(size)),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn validators() -> Validators {
        Validators { etag: "\"abc\"".into(), modified: "2026-11-22T04:00:00.7Z".parse().expect("a time") }
    }

    fn ask(pairs: &[(HeaderName, &'static str)], size: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(name, HeaderValue::from_static(value));
        }
        wanted(&headers, true, size, &validators())
    }

    #[test]
    fn single_ranges_are_read_and_all_else_means_the_whole_file() {
        let table = [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=0-", Wanted::Part(0..100)),
            ("bytes=99-", Wanted::Part(99..100)),
            ("bytes=10-19", Wanted::Part(10..20)),
            ("bytes=10-1000", Wanted::Part(10..100)),
            ("bytes=10-18446744073709551615", Wanted::Part(10..100)),
            ("bytes=-1", Wanted::Part(99..100)),
            ("bytes=-1000", Wanted::Part(0..100)),
            ("bytes=100-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("", Wanted::Whole),
        ];
        for (text, expected) in table {
            assert_eq!(ask(&[(header::RANGE, text)], 100), expected, "{text}");
        }
        assert_eq!(ask(&[(header::RANGE, "bytes=0-")], 0), Wanted::Unsatisfiable);
        assert_eq!(ask(&[(header::RANGE, "bytes=-5")], 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn preconditions_come_before_ranges() {
        let range = (header::RANGE, "bytes=0-1");
        let part = Wanted::Part(0..2);
        assert_eq!(ask(&[(header::IF_NONE_MATCH, "\"abc\""), range.clone()], 9), Wanted::NotModified);
        assert_eq!(ask(&[(header::IF_NONE_MATCH, "\"x\", W/\"abc\"")], 9), Wanted::NotModified);
        assert_eq!(ask(&[(header::IF_NONE_MATCH, "\"x\""), range.clone()], 9), part);
        assert_eq!(ask(&[(header::IF_MATCH, "\"x\""), range.clone()], 9), Wanted::PreconditionFailed);
        assert_eq!(ask(&[(header::IF_MATCH, "\"abc\""), range.clone()], 9), part);
        assert_eq!(ask(&[(header::IF_RANGE, "\"abc\""), range.clone()], 9), part);
        assert_eq!(ask(&[(header::IF_RANGE, "W/\"abc\""), range.clone()], 9), Wanted::Whole);
        assert_eq!(ask(&[(header::IF_RANGE, "Sun, 22 Nov 2026 04:00:00 GMT"), range.clone()], 9), part);
        assert_eq!(ask(&[(header::IF_RANGE, "Sun, 22 Nov 2026 03:59:59 GMT"), range], 9), Wanted::Whole);
        let since = |date| ask(&[(header::IF_MODIFIED_SINCE, date)], 9);
        assert_eq!(since("Sun, 22 Nov 2026 04:00:00 GMT"), Wanted::NotModified);
        assert_eq!(since("Sun, 22 Nov 2026 03:59:59 GMT"), Wanted::Whole);
        assert_eq!(since("yesterday"), Wanted::Whole);
    }
}
