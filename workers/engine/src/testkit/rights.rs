//! The rights that `k8s/` gives the engine, for a test's own namespaces.

use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::Value;

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../k8s/base/target");

/// The Role of the engine's ServiceAccount, as `k8s/base/target/engine-role.yaml` has it.
///
/// # Panics
///
/// Where there is no such Role.
pub fn engine_role() -> Role {
    read("engine-role.yaml", "Role")
}

/// Makes ServiceAccount, Role and RoleBinding of `k8s/` in a namespace; returns the name of the user that they are for.
///
/// # Panics
///
/// Where they are not there or the API refuses them.
pub async fn grant(admin: Client, namespace: &str) -> String {
    let account: ServiceAccount = read("accounts.yaml", "ServiceAccount");
    let name = account.metadata.name.clone().expect("a ServiceAccount has a name");
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    accounts.create(&PostParams::default(), &account).await.expect("a ServiceAccount");
    let roles: Api<Role> = Api::namespaced(admin.clone(), namespace);
    roles.create(&PostParams::default(), &engine_role()).await.expect("a Role");
    bind(admin, namespace, namespace).await;
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Makes the Role of `k8s/` in one more namespace, for the ServiceAccount of `accounts_namespace`.
///
/// # Panics
///
/// As [`grant`].
pub async fn grant_also(admin: Client, namespace: &str, accounts_namespace: &str) {
    let roles: Api<Role> = Api::namespaced(admin.clone(), namespace);
    roles.create(&PostParams::default(), &engine_role()).await.expect("a Role");
    bind(admin, namespace, accounts_namespace).await;
}

async fn bind(admin: Client, namespace: &str, accounts_namespace: &str) {
    let mut binding: RoleBinding = read("engine-role.yaml", "RoleBinding");
    // Kustomize writes the overlay's namespace here.
    for subject in binding.subjects.iter_mut().flatten() {
        subject.namespace = Some(accounts_namespace.to_owned());
    }
    let bindings: Api<RoleBinding> = Api::namespaced(admin, namespace);
    bindings.create(&PostParams::default(), &binding).await.expect("a RoleBinding");
}

/// The object of that kind named `engine`.
fn read<K: DeserializeOwned>(file: &str, kind: &str) -> K {
    let path = Path::new(BASE).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let object = objects.into_iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == "engine");
    let object = object.unwrap_or_else(|| panic!("{}: no {kind} engine", path.display()));
    serde_json::from_value(object).unwrap_or_else(|error| panic!("{}: {kind}: {error}", path.display()))
}
