//! What the engine's ServiceAccount must be allowed, as a Role says it.

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::binary::{PERMISSIONS, Permission};

/// [`PERMISSIONS`] as the rules of a Role.
pub fn required_rules() -> Vec<PolicyRule> {
    PERMISSIONS.iter().map(rule).collect()
}

fn rule(permission: &Permission) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![permission.group.to_owned()]),
        resources: Some(vec![permission.resource.to_owned()]),
        verbs: permission.verbs.iter().map(ToString::to_string).collect(),
        ..PolicyRule::default()
    }
}
