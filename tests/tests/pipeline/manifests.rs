//! The manifests that Terraform applies, as `script/render-k8s` wrote them, with the values that Terraform fills in.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

const RENDERED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/rendered");

/// The objects of one file.
pub struct Manifests {
    file: String,
    objects: Vec<Value>,
}

impl Manifests {
    /// Reads a file of `k8s/rendered`; a `${placeholder}` that `values` does not have is an error.
    pub fn read(file: &str, values: &BTreeMap<&str, String>) -> Result<Self> {
        let path = Path::new(RENDERED).join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut objects: Vec<Value> = serde_saphyr::from_multiple(&text).with_context(|| format!("{file}: YAML"))?;
        for object in &mut objects {
            fill(object, values).with_context(|| file.to_owned())?;
        }
        Ok(Self { file: file.to_owned(), objects })
    }

    /// The object of that kind and name.
    pub fn object(&self, kind: &str, name: &str) -> Result<&Value> {
        let found = self.of_kind(kind).find(|object| object["metadata"]["name"] == name);
        found.with_context(|| format!("{}: no {kind} {name}", self.file))
    }

    /// The objects of that kind.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The spec of the pods that an object makes.
    pub fn pod(&self, kind: &str, name: &str) -> Result<&Value> {
        let spec = &self.object(kind, name)?["spec"];
        let template = if kind == "ScaledJob" { &spec["jobTargetRef"]["template"] } else { &spec["template"] };
        template.get("spec").with_context(|| format!("{}: {kind} {name} has no pods", self.file))
    }

    /// The subscriptions whose messages start a Job, by their last names.
    pub fn subscriptions(&self) -> Vec<&str> {
        let triggers = self.of_kind("ScaledJob").filter_map(|job| job["spec"]["triggers"].as_array()).flatten();
        let names = triggers.filter_map(|trigger| trigger["metadata"]["subscriptionName"].as_str());
        names.map(|name| name.rsplit('/').next().unwrap_or(name)).collect()
    }

    /// The name of the claim that the first pod of the StatefulSet `node` has, by the names that Kubernetes gives them.
    pub fn node_claim(&self) -> Result<String> {
        let node = self.object("StatefulSet", "node")?;
        let template = node.pointer("/spec/volumeClaimTemplates/0/metadata/name").and_then(Value::as_str);
        let (template, node) = template.zip(node["metadata"]["name"].as_str()).context("a claim of the node's")?;
        Ok(format!("{template}-{node}-0"))
    }
}

/// Puts values in the place of the placeholders of every text, as Terraform's `templatestring` does.
fn fill(value: &mut Value, values: &BTreeMap<&str, String>) -> Result<()> {
    match value {
        Value::String(text) => *text = filled(text, values)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill(item, values))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|field| fill(field, values))?,
        _ => {}
    }
    Ok(())
}

fn filled(text: &str, values: &BTreeMap<&str, String>) -> Result<String> {
    let (mut whole, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').with_context(|| format!("{text}: no end of a placeholder"))?;
        let Some(value) = values.get(name) else { bail!("{text}: nothing is said of ${{{name}}}") };
        whole.push_str(before);
        whole.push_str(value);
        rest = after;
    }
    Ok(whole + rest)
}
