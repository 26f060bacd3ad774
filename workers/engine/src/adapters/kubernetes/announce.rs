//! Kubernetes Events on the objects that people look at: the node's claim and the VolumeSnapshot.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use polkashots_shared::worker::error_chain;
use tracing::warn;

/// The reporting controller of our Events.
const REPORTER: &str = "polkashots-engine";
/// The API takes notes up to 1024 bytes.
const MAX_NOTE_BYTES: usize = 1000;
/// How long an Event may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// A VolumeSnapshot was asked for.
    Requested,
    /// It is ready.
    Ready,
    /// The snapshot controller reports an error and tries again.
    Failing,
    /// It was not ready in time.
    DeadlineExceeded,
    /// It and its claim were deleted.
    Released,
}

impl News {
    fn reason(self) -> &'static str {
        match self {
            Self::Requested => "VolumeSnapshotRequested",
            Self::Ready => "VolumeSnapshotReady",
            Self::Failing => "VolumeSnapshotFailing",
            Self::DeadlineExceeded => "VolumeSnapshotDeadlineExceeded",
            Self::Released => "VolumeSnapshotReleased",
        }
    }

    fn event_type(self) -> EventType {
        match self {
            Self::Failing | Self::DeadlineExceeded => EventType::Warning,
            Self::Requested | Self::Ready | Self::Released => EventType::Normal,
        }
    }

    fn action(self) -> &'static str {
        if self == Self::Released { "Release" } else { "Snapshot" }
    }
}

/// Publishes Events; one that fails is logged and never stops the work.
#[derive(Clone)]
pub(super) struct Announcer(Recorder);

impl Announcer {
    pub(super) fn new(client: Client) -> Self {
        Self(Recorder::new(client, Reporter::from(REPORTER)))
    }

    /// Tells the news about each of `objects`; the others are named as related where there are two.
    pub(super) async fn tell(&self, news: News, note: &str, objects: &[&ObjectReference]) {
        for (index, regarding) in objects.iter().enumerate() {
            let related = objects.iter().enumerate().find(|(other, _)| *other != index).map(|(_, object)| *object);
            let event = Event {
                type_: news.event_type(),
                reason: news.reason().into(),
                note: Some(cut(note).to_owned()),
                action: news.action().into(),
                secondary: related.cloned(),
            };
            self.publish(&event, regarding).await;
        }
    }

    async fn publish(&self, event: &Event, regarding: &ObjectReference) {
        let name = regarding.name.as_deref().unwrap_or_default();
        let reason = match tokio::time::timeout(TIMEOUT, self.0.publish(event, regarding)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error_chain(&error),
            Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        };
        warn!(name, event = event.reason, reason, "an Event was not published");
    }
}

fn cut(note: &str) -> &str {
    &note[..note.floor_char_boundary(MAX_NOTE_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_at_a_character() {
        assert_eq!(cut("short"), "short");
        let long = "ä".repeat(600);
        assert_eq!(cut(&long).len(), MAX_NOTE_BYTES);
        let odd = format!("a{long}");
        assert_eq!(cut(&odd).len(), MAX_NOTE_BYTES - 1);
    }
}
