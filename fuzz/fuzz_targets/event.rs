//! A message of a queue: refused with a reason, or an event that is the same after sending and receiving it.
//!
//! The first byte picks the topic; lines `name=value` up to an empty one are the attributes, the rest is the data.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use polkashots_shared::event::{Event, Message, Topic};

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let topic = Topic::ALL[usize::from(*first) % Topic::ALL.len()];
    let published_at = DateTime::<Utc>::from_timestamp(1_795_000_000, 0).expect("a time");
    let Ok(event) = Event::from_message(topic, &message(rest), published_at) else { return };
    assert_eq!(event.payload.topic(), topic);
    let again = Event::from_message(topic, &event.to_message(), published_at);
    assert_eq!(again.expect("what was received can be sent and received"), event);
});

fn message(bytes: &[u8]) -> Message {
    let end = bytes.windows(2).position(|window| window == b"\n\n");
    let (head, data) = end.map_or((&bytes[..0], bytes), |end| (&bytes[..end], &bytes[end + 2..]));
    let head = String::from_utf8_lossy(head);
    let attributes: BTreeMap<String, String> = head
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Message { attributes, data: Bytes::copy_from_slice(data) }
}
