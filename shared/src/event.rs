//! The events between the workers: CloudEvents 1.0 in the Pub/Sub binding's binary mode, with JSON data.
//!
//! Source of the format: the CloudEvents 1.0.2 specification and its Google Cloud Pub/Sub protocol binding.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{BlockHash, Height, Sha256, TargetId, Version};

/// The largest event data that is read, in bytes.
pub const MAX_DATA_BYTES: usize = 64 * 1024;
/// The attribute that subscriptions filter on.
pub const TARGET_ATTRIBUTE: &str = "target";
/// The attribute of the W3C trace context, as CloudEvents' distributed tracing extension has it.
pub const TRACEPARENT_ATTRIBUTE: &str = "ce-traceparent";

/// A stream of events of one type; the names are those of the Pub/Sub topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Asks for a snapshot of one target.
    Tick,
    /// A volume snapshot and its restore claim are there to be read.
    VolumeSnapshotReady,
    /// A snapshot's artifacts and manifest are in the store.
    SnapshotUploaded,
    /// A snapshot will not be.
    SnapshotFailed,
    /// A snapshot is listed, signed and on the site.
    SnapshotPublished,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 5] =
        [Self::Tick, Self::VolumeSnapshotReady, Self::SnapshotUploaded, Self::SnapshotFailed, Self::SnapshotPublished];

    /// The topic's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::VolumeSnapshotReady => "volume-snapshot-ready",
            Self::SnapshotUploaded => "snapshot-uploaded",
            Self::SnapshotFailed => "snapshot-failed",
            Self::SnapshotPublished => "snapshot-published",
        }
    }

    /// The `ce-type` of the topic's events.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Tick => "io.polkashots.tick.v1",
            Self::VolumeSnapshotReady => "io.polkashots.volume-snapshot.ready.v1",
            Self::SnapshotUploaded => "io.polkashots.snapshot.uploaded.v1",
            Self::SnapshotFailed => "io.polkashots.snapshot.failed.v1",
            Self::SnapshotPublished => "io.polkashots.snapshot.published.v1",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Data of `io.polkashots.tick.v1`: asks for a snapshot of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tick {
    /// The target to snapshot.
    pub target: TargetId,
}

/// Data of `io.polkashots.volume-snapshot.ready.v1`: a restore claim is there to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotReady {
    /// The snapshot's target.
    pub target: TargetId,
    /// The snapshot's version.
    pub version: Version,
    /// The volume snapshot's name.
    pub volume_snapshot: String,
    /// The restore claim's name.
    pub claim: String,
    /// When the volume snapshot was taken; the manifest's `created_at`.
    pub taken_at: DateTime<Utc>,
}

/// Data of `io.polkashots.snapshot.uploaded.v1`: artifacts and manifest are in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotUploaded {
    /// The snapshot's target.
    pub target: TargetId,
    /// The snapshot's version.
    pub version: Version,
    /// The manifest's key in the store.
    pub manifest: String,
}

/// Data of `io.polkashots.snapshot.failed.v1`: the snapshot will not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotFailed {
    /// The snapshot's target.
    pub target: TargetId,
    /// The snapshot's version.
    pub version: Version,
    /// The worker that gave up: `engine`, `snapshotter` or `publisher`.
    pub worker: String,
    /// Why, as a chain of causes on one line.
    pub reason: String,
}

/// Data of `io.polkashots.snapshot.published.v1`: for downstream subscribers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotPublished {
    /// The snapshot's target.
    pub target: TargetId,
    /// The snapshot's version.
    pub version: Version,
    /// Where the manifest is served.
    pub url: String,
    /// The finalized height in the database.
    pub height: Height,
    /// The hash of the finalized block.
    pub hash: BlockHash,
    /// The SHA-256 of the manifest.
    pub sha256: Sha256,
}

/// One event's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// See [`Tick`].
    Tick(Tick),
    /// See [`VolumeSnapshotReady`].
    VolumeSnapshotReady(VolumeSnapshotReady),
    /// See [`SnapshotUploaded`].
    SnapshotUploaded(SnapshotUploaded),
    /// See [`SnapshotFailed`].
    SnapshotFailed(SnapshotFailed),
    /// See [`SnapshotPublished`].
    SnapshotPublished(SnapshotPublished),
}

impl Payload {
    /// The topic it travels on.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Tick(_) => Topic::Tick,
            Self::VolumeSnapshotReady(_) => Topic::VolumeSnapshotReady,
            Self::SnapshotUploaded(_) => Topic::SnapshotUploaded,
            Self::SnapshotFailed(_) => Topic::SnapshotFailed,
            Self::SnapshotPublished(_) => Topic::SnapshotPublished,
        }
    }

    /// The target it is about.
    pub fn target(&self) -> &TargetId {
        match self {
            Self::Tick(data) => &data.target,
            Self::VolumeSnapshotReady(data) => &data.target,
            Self::SnapshotUploaded(data) => &data.target,
            Self::SnapshotFailed(data) => &data.target,
            Self::SnapshotPublished(data) => &data.target,
        }
    }

    /// The version it names; a tick names none.
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::Tick(_) => None,
            Self::VolumeSnapshotReady(data) => Some(data.version),
            Self::SnapshotUploaded(data) => Some(data.version),
            Self::SnapshotFailed(data) => Some(data.version),
            Self::SnapshotPublished(data) => Some(data.version),
        }
    }

    fn to_json(&self) -> Bytes {
        let json = match self {
            Self::Tick(data) => serde_json::to_vec(data),
            Self::VolumeSnapshotReady(data) => serde_json::to_vec(data),
            Self::SnapshotUploaded(data) => serde_json::to_vec(data),
            Self::SnapshotFailed(data) => serde_json::to_vec(data),
            Self::SnapshotPublished(data) => serde_json::to_vec(data),
        };
        json.expect("strings, numbers and times always serialise").into()
    }
}

/// What a queue carries: attributes and bytes, as Pub/Sub does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `ce-*` attributes, `content-type`, and a plain `target`.
    pub attributes: BTreeMap<String, String>,
    /// JSON data; any bytes in a bare tick.
    pub data: Bytes,
}

/// One event: its data and what CloudEvents says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Unique with `source`. An event that is emitted again after a redelivery has the same id.
    pub id: String,
    /// Who emitted it: `/polkashots/engine`.
    pub source: String,
    /// When what it tells of happened.
    pub time: DateTime<Utc>,
    /// W3C trace context, carried from event to event.
    pub traceparent: Option<String>,
    /// What it says.
    pub payload: Payload,
}

/// Says why a message is not an event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The data is larger than [`MAX_DATA_BYTES`].
    #[error("event data is {size_bytes} bytes, expected at most {MAX_DATA_BYTES}")]
    TooLarge {
        /// The data's size.
        size_bytes: usize,
    },
    /// Neither `ce-type` nor, on the tick topic, `target` is there.
    #[error("message on topic {topic} has no ce-type attribute{}", bare_hint(topic))]
    NoType {
        /// The topic it came by.
        topic: Topic,
    },
    /// The type is not the topic's, or of a schema this program does not know.
    #[error("event type \"{found}\" on topic {topic}: this program reads \"{}\"; update it if the event is newer", .topic.event_type())]
    UnknownType {
        /// The topic it came by.
        topic: Topic,
        /// The `ce-type` found.
        found: String,
    },
    /// An attribute is missing or cannot be read.
    #[error("event attribute {name}: {reason}")]
    Attribute {
        /// The attribute.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The data is not what the type says.
    #[error("data of {event_type}: {source}")]
    Data {
        /// The event's type.
        event_type: &'static str,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
}

fn bare_hint(topic: &Topic) -> &'static str {
    if *topic == Topic::Tick { " and no target attribute; a bare tick needs target=<target id>" } else { "" }
}

impl Event {
    /// An event with the id `<type>/<target>/<version>`, which a second emission repeats.
    pub fn new(worker: &str, time: DateTime<Utc>, payload: Payload) -> Self {
        let kind = payload.topic().as_str();
        let version = payload.version().unwrap_or_else(|| Version::from_time(time));
        Self {
            id: format!("{kind}/{}/{version}", payload.target()),
            source: format!("/polkashots/{worker}"),
            time,
            traceparent: None,
            payload,
        }
    }

    /// The event as a message.
    pub fn to_message(&self) -> Message {
        let mut attributes = BTreeMap::from(
            [
                ("ce-specversion", "1.0".to_owned()),
                ("ce-id", self.id.clone()),
                ("ce-type", self.payload.topic().event_type().to_owned()),
                ("ce-source", self.source.clone()),
                ("ce-time", self.time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
                ("content-type", "application/json".to_owned()),
                (TARGET_ATTRIBUTE, self.payload.target().to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        if let Some(traceparent) = &self.traceparent {
            attributes.insert(TRACEPARENT_ATTRIBUTE.into(), traceparent.clone());
        }
        if let Some(version) = self.payload.version() {
            attributes.insert("version".into(), version.to_string());
        }
        Message { attributes, data: self.payload.to_json() }
    }

    /// Reads the event out of a message that came by `topic` and was published at `published_at`.
    ///
    /// On the tick topic a message without `ce-type` but with a `target` attribute is a tick, whatever its data.
    pub fn from_message(topic: Topic, message: &Message, published_at: DateTime<Utc>) -> Result<Self, EventError> {
        if message.data.len() > MAX_DATA_BYTES {
            return Err(EventError::TooLarge { size_bytes: message.data.len() });
        }
        let attribute = |name: &str| message.attributes.get(name);
        let Some(found) = attribute("ce-type") else {
            return Self::bare_tick(topic, message, published_at);
        };
        if found != topic.event_type() {
            return Err(EventError::UnknownType { topic, found: found.clone() });
        }
        let required = |name: &'static str| {
            attribute(name)
                .cloned()
                .ok_or_else(|| EventError::Attribute { name, reason: "missing, CloudEvents requires it".into() })
        };
        Ok(Self {
            id: required("ce-id")?,
            source: required("ce-source")?,
            time: event_time(attribute("ce-time"), published_at)?,
            traceparent: attribute(TRACEPARENT_ATTRIBUTE).cloned(),
            payload: parse_payload(topic, &message.data)?,
        })
    }

    fn bare_tick(topic: Topic, message: &Message, published_at: DateTime<Utc>) -> Result<Self, EventError> {
        let target = message.attributes.get(TARGET_ATTRIBUTE).filter(|_| topic == Topic::Tick);
        let target: TargetId = target
            .ok_or(EventError::NoType { topic })?
            .parse()
            .map_err(|error| EventError::Attribute { name: TARGET_ATTRIBUTE, reason: format!("{error}") })?;
        Ok(Self::new("bare-tick", published_at, Payload::Tick(Tick { target })))
    }
}

fn event_time(text: Option<&String>, published_at: DateTime<Utc>) -> Result<DateTime<Utc>, EventError> {
    let Some(text) = text else { return Ok(published_at) };
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|error| EventError::Attribute { name: "ce-time", reason: format!("\"{text}\": {error}") })
}

fn parse_payload(topic: Topic, data: &[u8]) -> Result<Payload, EventError> {
    let parsed = match topic {
        Topic::Tick => serde_json::from_slice(data).map(Payload::Tick),
        Topic::VolumeSnapshotReady => serde_json::from_slice(data).map(Payload::VolumeSnapshotReady),
        Topic::SnapshotUploaded => serde_json::from_slice(data).map(Payload::SnapshotUploaded),
        Topic::SnapshotFailed => serde_json::from_slice(data).map(Payload::SnapshotFailed),
        Topic::SnapshotPublished => serde_json::from_slice(data).map(Payload::SnapshotPublished),
    };
    parsed.map_err(|source| EventError::Data { event_type: topic.event_type(), source })
}

/// The JSON Schema of a topic's data.
pub fn data_schema(topic: Topic) -> schemars::Schema {
    match topic {
        Topic::Tick => schemars::schema_for!(Tick),
        Topic::VolumeSnapshotReady => schemars::schema_for!(VolumeSnapshotReady),
        Topic::SnapshotUploaded => schemars::schema_for!(SnapshotUploaded),
        Topic::SnapshotFailed => schemars::schema_for!(SnapshotFailed),
        Topic::SnapshotPublished => schemars::schema_for!(SnapshotPublished),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uploaded() -> Event {
        let target: TargetId = "kusama-rocksdb-prune".parse().expect("legal");
        let version: Version = "20261122-040000".parse().expect("legal");
        let manifest = crate::names::manifest_key(&target, version);
        let payload = Payload::SnapshotUploaded(SnapshotUploaded { target, version, manifest });
        Event::new("snapshotter", version.time(), payload)
    }

    #[test]
    fn an_event_survives_the_wire() {
        let event = uploaded();
        let message = event.to_message();
        assert_eq!(message.attributes[TARGET_ATTRIBUTE], "kusama-rocksdb-prune");
        let read = Event::from_message(Topic::SnapshotUploaded, &message, Utc::now()).expect("our own event");
        assert_eq!(read, event);
    }

    #[test]
    fn a_bare_message_with_a_target_is_a_tick_on_the_tick_topic_only() {
        let bare = Message {
            attributes: [(TARGET_ATTRIBUTE.to_owned(), "polkadot".to_owned())].into(),
            data: Bytes::from_static(b"\xff any body"),
        };
        let tick = Event::from_message(Topic::Tick, &bare, Utc::now()).expect("a tick");
        assert!(matches!(tick.payload, Payload::Tick(Tick { target }) if target.as_str() == "polkadot"));
        let refused = Event::from_message(Topic::SnapshotUploaded, &bare, Utc::now());
        assert!(matches!(refused, Err(EventError::NoType { .. })));
    }

    #[test]
    fn an_event_of_a_newer_schema_is_refused_with_the_way_out() {
        let mut message = uploaded().to_message();
        message.attributes.insert("ce-type".into(), "io.polkashots.snapshot.uploaded.v2".into());
        let error = Event::from_message(Topic::SnapshotUploaded, &message, Utc::now()).expect_err("newer");
        assert!(error.to_string().contains("update it if the event is newer"), "{error}");
    }

    #[test]
    fn unknown_fields_are_ignored_and_oversized_data_is_not_parsed() {
        let mut message = uploaded().to_message();
        let mut json: serde_json::Value = serde_json::from_slice(&message.data).expect("json");
        json["added_later"] = 1.into();
        message.data = serde_json::to_vec(&json).expect("json").into();
        assert!(Event::from_message(Topic::SnapshotUploaded, &message, Utc::now()).is_ok());
        message.data = vec![b' '; MAX_DATA_BYTES + 1].into();
        let refused = Event::from_message(Topic::SnapshotUploaded, &message, Utc::now());
        assert!(matches!(refused, Err(EventError::TooLarge { .. })));
    }
}
