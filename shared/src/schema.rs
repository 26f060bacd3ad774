//! The JSON Schemas of everything that this program publishes, generated from the types.

use std::collections::BTreeMap;

use schemars::{Schema, schema_for};
use serde_json::Value;

use crate::event::{self, Topic};
use crate::failure::Failure;
use crate::frames::FramesIndex;
use crate::index::{Index, Latest};
use crate::manifest::Manifest;

/// Where the schemas are served; each `$id` is this and the file's name.
pub const BASE_URL: &str = "https://polkashots.io/schemas/";

/// Every schema with its file's name, ordered by name.
pub fn all() -> Vec<(String, Schema)> {
    let events = Topic::ALL.map(|topic| {
        let kind = topic.event_type().trim_start_matches("io.polkashots.");
        (format!("{kind}.json"), event::data_schema(topic))
    });
    let documents = [
        ("manifest.v1.json", schema_for!(Manifest)),
        ("index.v1.json", schema_for!(Index)),
        ("latest.v1.json", schema_for!(Latest)),
        ("frames.v1.json", schema_for!(FramesIndex)),
        ("failure.v1.json", schema_for!(Failure)),
    ];
    let documents = documents.map(|(file, schema)| (file.to_owned(), schema));
    let mut all: Vec<_> = events.into_iter().chain(documents).collect();
    for (file, schema) in &mut all {
        schema.insert("$id".into(), Value::String(format!("{BASE_URL}{file}")));
    }
    all.sort_by(|(left, _), (right, _)| left.cmp(right));
    all
}

/// The text of a schema's file: pretty JSON with sorted keys, whatever features `serde_json` was built with.
pub fn to_text(schema: &Schema) -> String {
    let sorted = sorted(schema.as_value());
    serde_json::to_string_pretty(&sorted).expect("a JSON value always serialises") + "\n"
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(fields) => {
            let ordered: BTreeMap<_, _> = fields.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        plain => plain.clone(),
    }
}
