//! Where a target's node keeps its volume, and how it is snapshotted.

use std::time::Duration;

use polkashots_shared::settings::{duration, in_words};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How long a volume snapshot may take until it is ready, unless it is set: the first one of a volume copies all of it.
pub const DEFAULT_READY_DEADLINE: Duration = Duration::from_secs(2 * 3600);

/// Where a target's node keeps its volume, and how it is snapshotted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesSettings {
    /// The namespace of the node's claim, and so of the VolumeSnapshot and the restore claim.
    pub namespace: String,
    /// The node's claim (PVC).
    pub source_claim: String,
    /// The VolumeSnapshotClass; none means the default one of the driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_class: Option<String>,
    /// The restore claim's StorageClass; none means that of the node's claim, whose driver can read the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// How long a volume snapshot may take until it is ready, as in `90m`.
    #[serde(default = "default_ready_deadline", deserialize_with = "read", serialize_with = "write")]
    pub ready_deadline: Duration,
}

impl KubernetesSettings {
    /// Snapshots of `source_claim` in `namespace`, with the default classes and deadline.
    pub fn new(namespace: impl Into<String>, source_claim: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            source_claim: source_claim.into(),
            snapshot_class: None,
            storage_class: None,
            ready_deadline: DEFAULT_READY_DEADLINE,
        }
    }
}

fn default_ready_deadline() -> Duration {
    DEFAULT_READY_DEADLINE
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn write<S: Serializer>(deadline: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&in_words(*deadline))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<KubernetesSettings, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn only_namespace_and_claim_must_be_given() {
        let settings = read(r#"{"namespace": "dot", "source_claim": "chain-data-node-0"}"#);
        assert_eq!(settings, Ok(KubernetesSettings::new("dot", "chain-data-node-0")));
    }

    #[test]
    fn settings_read_back_as_written() {
        let mut settings = KubernetesSettings::new("dot", "data");
        settings.snapshot_class = Some("fast".into());
        settings.ready_deadline = Duration::from_secs(90 * 60);
        let json = serde_json::to_string(&settings).expect("serialises");
        assert!(json.contains(r#""ready_deadline":"90m""#), "{json}");
        assert_eq!(read(&json), Ok(settings));
    }

    #[test]
    fn mistakes_are_named() {
        let unknown = read(r#"{"namespace": "dot", "source_claim": "data", "class": "x"}"#).expect_err("unknown key");
        assert!(unknown.contains("unknown field `class`") && unknown.contains("`snapshot_class`"), "{unknown}");
        let unit =
            read(r#"{"namespace": "dot", "source_claim": "data", "ready_deadline": "90"}"#).expect_err("no unit");
        assert!(unit.contains("a number with its unit"), "{unit}");
    }
}
