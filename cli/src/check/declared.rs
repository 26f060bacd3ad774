//! What the crates of this workspace declare.

use clap::Command;
use polkashots_engine::binary as engine;
use polkashots_importer::binary as importer;
use polkashots_publisher::binary as publisher;
use polkashots_shared::event::Topic as EventTopic;
use polkashots_shared::settings::{Settings, schema};
use polkashots_snapshotter::binary as snapshotter;

use super::code::{Binary, Code, Permission, Setting, Topic};

const TOPICS: [EventTopic; 5] = [
    EventTopic::Tick,
    EventTopic::VolumeSnapshotReady,
    EventTopic::SnapshotUploaded,
    EventTopic::SnapshotFailed,
    EventTopic::SnapshotPublished,
];

impl Code {
    /// The code that this program was built of.
    pub fn declared() -> Self {
        let permissions = engine::PERMISSIONS.iter().map(|one| Permission {
            group: one.group,
            resource: one.resource,
            verbs: one.verbs,
        });
        Self {
            binaries: binaries(),
            topics: TOPICS.map(|topic| Topic { name: topic.as_str(), event_type: topic.event_type() }).to_vec(),
            engine_permissions: permissions.collect(),
            parts_prefix: polkashots_shared::names::PARTS_PREFIX,
        }
    }
}

fn binaries() -> Vec<Binary> {
    vec![
        Binary {
            image: "snapshot-importer",
            package: importer::ImporterSettings::NAME,
            worker: None,
            settings: settings(&importer::ImporterSettings::command()),
            reads: Vec::new(),
            emits: Vec::new(),
        },
        Binary {
            image: "snapshot-engine",
            package: engine::EngineSettings::NAME,
            worker: Some("engine"),
            settings: settings(&engine::EngineSettings::command()),
            reads: names(&engine::TOPICS),
            emits: names(&engine::EMITS),
        },
        Binary {
            image: "snapshotter",
            package: snapshotter::SnapshotterSettings::NAME,
            worker: Some("snapshotter"),
            settings: settings(&snapshotter::SnapshotterSettings::command()),
            reads: names(&snapshotter::TOPICS),
            emits: names(&snapshotter::EMITS),
        },
        Binary {
            image: "website-builder",
            package: publisher::PublisherSettings::NAME,
            worker: Some("publisher"),
            settings: settings(&publisher::PublisherSettings::command()),
            reads: names(&publisher::TOPICS),
            emits: names(&publisher::EMITS),
        },
    ]
}

fn names(topics: &[EventTopic]) -> Vec<&'static str> {
    topics.iter().map(|topic| topic.as_str()).collect()
}

fn settings(command: &Command) -> Vec<Setting> {
    let settings = schema(command).into_iter().map(|one| Setting {
        flag: one.flag,
        env: one.env.unwrap_or_default(),
        required: one.required,
        default: one.default,
        values: one.values,
        secret: one.secret,
    });
    settings.collect()
}
