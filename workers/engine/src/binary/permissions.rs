//! What the engine's ServiceAccount must be allowed, and nothing beyond it.

/// What may be done with one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The API group; empty for the core one.
    pub group: &'static str,
    /// The resource, in the plural.
    pub resource: &'static str,
    /// The verbs, sorted.
    pub verbs: &'static [&'static str],
}

/// The rules of the Role that the engine needs in the namespace of each target; it needs no ClusterRole.
///
/// - claims: create, read, delete, `patch` to remember when the volume snapshot was taken, and list with watch to find
///   what is held and to see one go
/// - VolumeSnapshots: create, read, delete, list with watch to find what is held and to see one become ready
/// - Events: create, and `patch` where one is told again
pub const PERMISSIONS: [Permission; 3] = [
    Permission {
        group: "",
        resource: "persistentvolumeclaims",
        verbs: &["create", "delete", "get", "list", "patch", "watch"],
    },
    Permission {
        group: "snapshot.storage.k8s.io",
        resource: "volumesnapshots",
        verbs: &["create", "delete", "get", "list", "watch"],
    },
    Permission { group: "events.k8s.io", resource: "events", verbs: &["create", "patch"] },
];
