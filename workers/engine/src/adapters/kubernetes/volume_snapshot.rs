//! The VolumeSnapshot of `snapshot.storage.k8s.io/v1`, as far as the engine reads and writes it.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::object::utc;

/// What is asked for.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshot",
    namespaced,
    status = "VolumeSnapshotStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotSpec {
    /// What is snapshotted.
    pub source: SnapshotSource,
    /// The class; none means the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
}

/// What is snapshotted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotSource {
    /// The claim, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_name: Option<String>,
}

/// What the snapshot controller says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotStatus {
    /// The cluster's own object behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_volume_snapshot_content_name: Option<String>,
    /// When the driver took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<Time>,
    /// True once a volume can be made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_to_use: Option<bool>,
    /// The least size of a volume made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_size: Option<Quantity>,
    /// The last error; the controller tries again and removes it when it succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<SnapshotError>,
}

/// An error of the snapshot controller or the driver.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotError {
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// How far a VolumeSnapshot is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Progress {
    /// A volume can be made of it.
    Ready {
        /// When the driver took it.
        taken_at: DateTime<Utc>,
        /// The least size of a volume made of it, where it says one.
        restore_size: Option<Quantity>,
    },
    /// The controller reports an error and tries again.
    Failing(String),
    /// Not yet, for this reason.
    Waiting(&'static str),
}

impl VolumeSnapshot {
    /// Takes `readyToUse` at its word only where all that belongs to it is there and no error contradicts it.
    pub(super) fn progress(&self) -> Progress {
        let Some(status) = &self.status else {
            return Progress::Waiting("no snapshot controller has looked at it: is one installed in the cluster?");
        };
        if let Some(error) = &status.error {
            return Progress::Failing(error.message.clone().unwrap_or_else(|| "an error without a message".into()));
        }
        if status.bound_volume_snapshot_content_name.as_deref().unwrap_or_default().is_empty() {
            return Progress::Waiting("it is not bound to a VolumeSnapshotContent");
        }
        if status.ready_to_use != Some(true) {
            return Progress::Waiting("the driver has not finished it");
        }
        let Some(taken_at) = status.creation_time.as_ref().and_then(utc) else {
            return Progress::Waiting("it says that it is ready and not when it was taken");
        };
        Progress::Ready { taken_at, restore_size: status.restore_size.clone() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn progress(status: Value) -> Progress {
        let snapshot = json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": { "name": "a" },
            "spec": { "source": { "persistentVolumeClaimName": "data" } }, "status": status,
        });
        serde_json::from_value::<VolumeSnapshot>(snapshot).expect("a VolumeSnapshot").progress()
    }

    #[test]
    fn only_a_whole_status_is_ready() {
        let mut whole = json!({
            "boundVolumeSnapshotContentName": "snapcontent-1", "creationTime": "2026-11-22T04:00:07Z",
            "readyToUse": true, "restoreSize": "10Gi",
        });
        let taken_at = "2026-11-22T04:00:07Z".parse().expect("a time");
        assert_eq!(progress(whole.clone()), Progress::Ready { taken_at, restore_size: Some(Quantity("10Gi".into())) });
        whole["error"] = json!({ "message": "still uploading", "time": "2026-11-22T04:00:08Z" });
        assert_eq!(progress(whole.clone()), Progress::Failing("still uploading".into()));
        whole["error"] = Value::Null;
        for field in ["boundVolumeSnapshotContentName", "creationTime", "readyToUse"] {
            let mut lie = whole.clone();
            lie[field] = Value::Null;
            assert!(matches!(progress(lie), Progress::Waiting(_)), "ready without {field}");
        }
        assert!(matches!(progress(Value::Null), Progress::Waiting(reason) if reason.contains("installed")));
    }
}
