//! What the engine's ServiceAccount must be allowed, and nothing beyond it.

use k8s_openapi::api::rbac::v1::PolicyRule;

/// The rules of the Role that the engine needs in the namespace of each target; it needs no ClusterRole.
///
/// - claims: create, read, delete, `patch` to remember when the volume snapshot was taken, and list with watch to find
///   what is held and to see one go
/// - VolumeSnapshots: create, read, delete, list with watch to find what is held and to see one become ready
/// - Events: create, and `patch` where one is told again
pub fn required_rules() -> Vec<PolicyRule> {
    vec![
        rule("", "persistentvolumeclaims", &["create", "delete", "get", "list", "patch", "watch"]),
        rule("snapshot.storage.k8s.io", "volumesnapshots", &["create", "delete", "get", "list", "watch"]),
        rule("events.k8s.io", "events", &["create", "patch"]),
    ]
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(ToString::to_string).collect(),
        ..PolicyRule::default()
    }
}
