//! The CRDs' schemas, read strictly: what a schema does not name is a mistake, though an API server would drop it in silence.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value as Json;

use super::yaml::{Node, Value};

/// A version of a custom resource.
#[derive(Debug, Deserialize)]
pub(super) struct Crd {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) scope: String,
    pub(super) version: String,
    pub(super) served: bool,
    pub(super) schema: Json,
}

/// A key of a KEDA trigger's metadata, which the CRD leaves untyped.
#[derive(Debug, Deserialize)]
pub(super) struct ScalerKey {
    pub(super) name: String,
    pub(super) required: bool,
    /// True where the pinned KEDA refuses it.
    pub(super) removed: bool,
}

/// The CRDs that manifests use: KEDA 2.20 and external-snapshotter, without texts and defaults.
pub(super) static CRDS: LazyLock<Vec<Crd>> = LazyLock::new(|| embedded(include_str!("schemas/crds.json")));
/// The keys of each scaler of KEDA 2.20 that manifests use.
pub(super) static SCALERS: LazyLock<std::collections::BTreeMap<String, Vec<ScalerKey>>> =
    LazyLock::new(|| embedded(include_str!("schemas/scalers.json")));

fn embedded<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("the embedded schemas are JSON of this shape: a test reads them")
}

/// The schema of a pod template, as KEDA's CRD has it in full.
pub(super) fn pod_template() -> Option<&'static Json> {
    let scaled_job = CRDS.iter().find(|crd| crd.kind == "ScaledJob")?;
    scaled_job.schema.pointer("/properties/spec/properties/jobTargetRef/properties/template")
}

/// A place where a value is not what its schema says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) line: usize,
    pub(super) what: String,
    pub(super) expected: String,
}

/// Compares a value with a schema.
pub(super) fn compare(node: &Node, schema: &Json, path: &str, found: &mut Vec<Mismatch>) {
    let mut wrong = |what: String, expected: String| found.push(Mismatch { line: node.line, what, expected });
    if let Some(kind) = schema["type"].as_str().filter(|kind| !is_of_type(&node.value, kind, schema)) {
        // A placeholder stands for what Terraform fills in.
        if !node.text().is_some_and(|text| text.contains("${")) {
            wrong(format!("{path} is {}", name_of(&node.value)), format!("{kind}, as the schema says"));
        }
        return;
    }
    if let (Some(values), Some(text)) = (schema["enum"].as_array(), node.text()) {
        let known: Vec<_> = values.iter().filter_map(Json::as_str).collect();
        if !known.is_empty() && !known.contains(&text) {
            wrong(format!("{path} is {text:?}"), format!("one of {}", known.join(", ")));
        }
    }
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        if node.get(required).is_none() {
            wrong(format!("{path} lacks {required}"), format!("{required}, which the schema requires"));
        }
    }
    for item in node.items() {
        compare(item, &schema["items"], path, found);
    }
    for (key, value) in node.entries() {
        compare_key(key, value, schema, path, found);
    }
}

fn compare_key(key: &str, value: &Node, schema: &Json, path: &str, found: &mut Vec<Mismatch>) {
    let inner = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let Some(properties) = schema["properties"].as_object() else {
        return compare(value, &schema["additionalProperties"], &inner, found);
    };
    match properties.get(key) {
        Some(schema) => compare(value, schema, &inner, found),
        None if schema["x-kubernetes-preserve-unknown-fields"].as_bool() == Some(true) => {}
        None => {
            let mut known: Vec<_> = properties.keys().map(String::as_str).collect();
            known.sort_unstable();
            let expected = format!("one of {}", known.join(", "));
            found.push(Mismatch { line: value.line, what: format!("{inner} is no field of the schema"), expected });
        }
    }
}

fn is_of_type(value: &Value, kind: &str, schema: &Json) -> bool {
    let either = schema["x-kubernetes-int-or-string"].as_bool() == Some(true);
    match value {
        Value::Null => true,
        Value::Bool(_) => kind == "boolean",
        Value::Number(text) => either || kind == "number" || (kind == "integer" && !text.contains('.')),
        Value::Text(_) => either || kind == "string",
        Value::List(_) => kind == "array",
        Value::Map(_) => kind == "object",
    }
}

fn name_of(value: &Value) -> String {
    match value {
        Value::Null => "empty".into(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(text) => format!("the number {text}"),
        Value::Text(text) => format!("the text {text:?}"),
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a map".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::yaml;

    #[test]
    fn embedded_schemas_have_what_the_rules_look_for() {
        assert!(pod_template().is_some());
        assert!(CRDS.iter().any(|crd| crd.kind == "VolumeSnapshotClass" && !crd.served));
        assert_eq!(SCALERS.keys().collect::<Vec<_>>(), ["cron", "gcp-pubsub", "prometheus"]);
    }

    #[test]
    fn a_field_that_the_schema_does_not_name_is_found_at_its_line() {
        let text = "spec:\n  containers:\n    - name: a\n      imagePullPolicies: Never\n      tty: 1\n";
        let node = &yaml::parse(text).expect("is YAML")[0];
        let mut found = Vec::new();
        compare(node, pod_template().expect("is there"), "", &mut found);
        let found: Vec<_> = found.iter().map(|one| (one.line, one.what.as_str())).collect();
        let unknown = (4, "spec.containers.imagePullPolicies is no field of the schema");
        assert_eq!(found, [unknown, (5, "spec.containers.tty is the number 1")]);
    }
}
