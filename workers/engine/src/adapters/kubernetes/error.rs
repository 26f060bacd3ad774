//! What can go wrong with volume snapshots in Kubernetes, and whether trying again helps.

use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;
use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;

use crate::VolumeSnapshotError;

/// How long one request may take, its client's own retries of 429, 503 and 504 included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Says what went wrong in the cluster.
#[derive(Debug, thiserror::Error)]
pub(super) enum KubernetesError {
    #[error("{call}: {message} (HTTP {code}){}", hint(*.code))]
    Refused { call: String, code: u16, message: String },
    #[error("{call}: the Kubernetes API cannot be reached or understood: {source}")]
    Unreachable { call: String, source: Box<kube::Error> },
    #[error("{call}: no answer from the Kubernetes API within {} s", REQUEST_TIMEOUT.as_secs())]
    NoAnswer { call: String },
    #[error("no Kubernetes cluster is configured: run in a pod with a ServiceAccount, or set KUBECONFIG: {source}")]
    Connect { source: Box<kube::Error> },
    #[error("target {target} has no volume configured, configured are {known}: set its namespace and source claim")]
    NoSettings { target: TargetId, known: String },
    #[error("the node's claim {claim} is not there: set the target's namespace and source claim to those of its node")]
    NoSource { claim: String },
    #[error("the node's claim {claim} is {phase}, expected Bound: is the node running?")]
    SourceUnbound { claim: String, phase: String },
    #[error("{found:?} is not a size, expected one as in 500Gi")]
    Quantity { found: String },
    #[error("{kind} {name} was not made by this program: rename or remove it, its name is needed")]
    Foreign { kind: &'static str, name: String },
    #[error("the claim {claim} is not held by {version}{}", .held_by.map(|v| format!(", but by {v}")).unwrap_or_default())]
    NotHeld { claim: String, version: Version, held_by: Option<Version> },
    #[error("the claim {claim} is still being deleted: a pod uses it, or the cluster has not seen to it yet")]
    Terminating { claim: String },
    #[error("the claim {claim} changed hands again and again")]
    Contended { claim: String },
    #[error("VolumeSnapshot {name} was deleted while it was waited for")]
    Deleted { name: String },
    #[error(
        "VolumeSnapshot {name} was deleted by somebody before a volume was made of it; it is not taken anew under the same \
         version: trigger a new snapshot"
    )]
    Lost { name: String },
    #[error("not ready within {} s: {last}", .deadline.as_secs())]
    Deadline { deadline: Duration, last: String },
}

impl KubernetesError {
    /// What an API error means, for `map_err`.
    pub(super) fn api(call: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let call = call.into();
        move |error| match error {
            kube::Error::Api(status) => Self::status(call, &status),
            error => Self::Unreachable { call, source: Box::new(error) },
        }
    }

    /// What an error of a watch means.
    pub(super) fn watch(call: impl Into<String>, error: watcher::Error) -> Self {
        let call = call.into();
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => Self::api(call)(error),
            watcher::Error::WatchError(status) => Self::status(call, &status),
            watcher::Error::NoResourceVersion => {
                let message = "the answer has no resourceVersion".into();
                Self::Refused { call, code: 500, message }
            }
        }
    }

    fn status(call: String, status: &Status) -> Self {
        let message = if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
        Self::Refused { call, code: status.code, message: message.trim().to_owned() }
    }

    /// True where the API refused with one of `codes`.
    pub(super) fn is_refusal(&self, codes: &[u16]) -> bool {
        matches!(self, Self::Refused { code, .. } if codes.contains(code))
    }

    /// True where the same call may succeed later without a person's help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            // 401 too: tokens are rotated. 409 and 410 mean that the world has moved, which the next try looks at.
            Self::Refused { code, .. } => matches!(code, 0 | 401 | 408 | 409 | 410 | 429 | 500..),
            // An answer that breaks off was cut on its way; one that is whole and not understood stays so.
            Self::Unreachable { source, .. } => match &**source {
                kube::Error::SerdeError(error) => error.is_eof(),
                _ => true,
            },
            Self::NoAnswer { .. } | Self::SourceUnbound { .. } | Self::NotHeld { .. } | Self::Terminating { .. } => {
                true
            }
            Self::Contended { .. } | Self::Deleted { .. } => true,
            Self::Connect { .. } | Self::NoSettings { .. } | Self::NoSource { .. } | Self::Quantity { .. } => false,
            Self::Foreign { .. } | Self::Lost { .. } | Self::Deadline { .. } => false,
        }
    }

    /// The port's error for this one.
    pub(super) fn of(self, operation: &'static str, name: impl ToString) -> VolumeSnapshotError {
        let name = name.to_string();
        match self {
            Self::Deadline { deadline, last } => {
                let hint =
                    format!("{last}; see the Events of the VolumeSnapshot, or raise the target's ready deadline");
                VolumeSnapshotError::DeadlineExceeded { operation, name, deadline, hint }
            }
            error if error.is_transient() => {
                VolumeSnapshotError::Transient { operation, name, source: Box::new(error) }
            }
            error => VolumeSnapshotError::Permanent { operation, name, source: Box::new(error) },
        }
    }

    /// The port's error for this one, about one version.
    pub(super) fn of_version(
        self,
        operation: &'static str,
        target: &TargetId,
        version: Version,
    ) -> VolumeSnapshotError {
        self.of(operation, names::volume_snapshot_name(target, version))
    }
}

/// Sends one request, and gives up where the API is silent.
pub(super) async fn request<T>(
    call: impl Into<String>,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, KubernetesError> {
    let call = call.into();
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(KubernetesError::api(call)),
        Err(_) => Err(KubernetesError::NoAnswer { call }),
    }
}

fn hint(code: u16) -> &'static str {
    match code {
        403 => "; the Role of the engine's ServiceAccount or a quota of the namespace must allow it",
        404 => "; is the namespace there, and are the CRDs of VolumeSnapshots installed?",
        _ => "",
    }
}
