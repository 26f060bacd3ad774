//! A plan of Terraform's: what will really be applied, with every name and placeholder filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::finding::{Finding, Report};
use super::tree::Tree;

/// Why a plan cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file could not be read.
    #[error("read the plan {path}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what Terraform prints.
    #[error("{path} is not what `terraform show -json` prints of a saved plan: {problem}")]
    NotAPlan {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The planned resources by their addresses.
#[derive(Debug)]
pub struct Plan {
    resources: BTreeMap<String, Json>,
}

impl Plan {
    /// Reads what `terraform show -json PLAN` printed.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| PlanError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|problem| PlanError::NotAPlan { path: path.to_owned(), problem })
    }

    /// Reads the JSON itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        let json: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let root = json.pointer("/planned_values/root_module").ok_or("no planned_values.root_module")?;
        let mut resources = BTreeMap::new();
        collect(root, &mut resources);
        Ok(Self { resources })
    }

    /// Compares what will be applied with itself; findings are at the resource in `tree`.
    pub fn check(&self, tree: &Tree) -> Vec<Finding> {
        let mut report = Report::default();
        self.subscriptions(tree, &mut report);
        self.principals(tree, &mut report);
        self.filled(tree, &mut report);
        report.into_findings()
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Json)> {
        let fits = move |(_, resource): &(&String, &Json)| resource["type"] == kind;
        self.resources.iter().filter(fits).map(|(address, resource)| (address.as_str(), resource))
    }

    /// A subscription of a target gets that target's events, and the others all.
    fn subscriptions(&self, tree: &Tree, report: &mut Report) {
        for (address, resource) in
            self.of("google_pubsub_subscription").filter(|(_, one)| one["name"] != "dead_letters")
        {
            let values = &resource["values"];
            let name = values["name"].as_str().unwrap_or_default();
            let expected = name.splitn(3, '.').nth(2).map(|target| format!("attributes.target = \"{target}\""));
            let found = values["filter"].as_str();
            if found != expected.as_deref() {
                report.add(
                    place(tree, resource),
                    format!("{address}: the filter of {name} is {}", found.unwrap_or("none")),
                    expected.unwrap_or("none: it reads of all targets".into()),
                    "filter by the target that the name ends with",
                );
            }
        }
    }

    /// The objects that helm applies, each with the resource that it is in.
    fn objects(&self) -> Vec<(&Json, Json)> {
        let mut found = Vec::new();
        for (_, resource) in self.of("helm_release") {
            let texts = resource["values"]["values"].as_array().into_iter().flatten().filter_map(Json::as_str);
            for values in texts.filter_map(|text| serde_json::from_str::<Json>(text).ok()) {
                let objects = values["objects"].as_array().cloned().unwrap_or_default();
                found.extend(objects.into_iter().map(|object| (resource, object)));
            }
        }
        found
    }

    /// Grants are to accounts that are applied; what is applied and works in the cloud has one.
    fn principals(&self, tree: &Tree, report: &mut Report) {
        let objects = self.objects();
        let accounts: BTreeSet<_> = objects
            .iter()
            .filter(|(_, object)| object["kind"] == "ServiceAccount")
            .map(|(_, object)| (text(object, "/metadata/namespace"), text(object, "/metadata/name")))
            .collect();
        let mut granted = BTreeSet::new();
        for (address, resource) in &self.resources {
            let Some(member) = resource["values"]["member"].as_str() else {
                continue;
            };
            let Some((_, subject)) = member.split_once("/subject/ns/") else {
                continue;
            };
            let (space, account) = subject.split_once("/sa/").unwrap_or((subject, ""));
            if space != "keda" && !accounts.contains(&(space.to_owned(), account.to_owned())) {
                report.add(
                    place(tree, resource),
                    format!("{address}: a grant to ServiceAccount {account} of namespace {space}"),
                    "an account that the plan applies",
                    "correct the name, or add the account",
                );
            }
            granted.insert((space.to_owned(), account.to_owned()));
        }
        // In a project that is still to be made its number is unknown, and with it every principal.
        if granted.is_empty() {
            return;
        }
        for (resource, job) in objects.iter().filter(|(_, object)| object["kind"] == "ScaledJob") {
            let account = text(job, "/spec/jobTargetRef/template/spec/serviceAccountName");
            let who = (text(job, "/metadata/namespace"), account);
            if !granted.contains(&who) {
                let what = format!(
                    "ScaledJob {} of {} runs as {}, which may do nothing",
                    text(job, "/metadata/name"),
                    who.0,
                    who.1
                );
                report.add(place(tree, resource), what, "grants to its account", "add it to modules/identity");
            }
        }
    }

    /// Every placeholder is filled in, every namespace is made, and every trigger waits for a subscription that is made.
    fn filled(&self, tree: &Tree, report: &mut Report) {
        let spaces: BTreeSet<_> =
            self.of("kubernetes_namespace_v1").map(|(_, one)| text(one, "/values/metadata/0/name")).collect();
        let subscriptions: BTreeSet<_> =
            self.of("google_pubsub_subscription").map(|(_, one)| text(one, "/values/name")).collect();
        for (resource, object) in self.objects() {
            let title = format!("{} {}", text(&object, "/kind"), text(&object, "/metadata/name"));
            let source = object.to_string();
            if let Some((_, rest)) = source.split_once("${") {
                let name = rest.split('}').next().unwrap_or_default();
                let what = format!("{title}: ${{{name}}} is not filled in");
                report.add(place(tree, resource), what, "a value", "add the placeholder to modules/workloads");
            }
            let space = text(&object, "/metadata/namespace");
            if !space.is_empty() && !spaces.contains(&space) {
                let what = format!("{title} is in the namespace {space}, which nothing makes");
                report.add(place(tree, resource), what, "a namespace of modules/workloads", "correct the namespace");
            }
            for trigger in object.pointer("/spec/triggers").and_then(Json::as_array).into_iter().flatten() {
                let name = subscription_of(trigger);
                if !subscriptions.contains(&name) {
                    let what = format!("{title} waits for the subscription {name}, which nothing makes");
                    report.add(place(tree, resource), what, "a subscription of modules/pubsub", "correct the trigger");
                }
            }
        }
    }
}

fn collect(module: &Json, resources: &mut BTreeMap<String, Json>) {
    for resource in module["resources"].as_array().into_iter().flatten() {
        resources.insert(text(resource, "/address"), resource.clone());
    }
    for child in module["child_modules"].as_array().into_iter().flatten() {
        collect(child, resources);
    }
}

fn text(json: &Json, pointer: &str) -> String {
    json.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn subscription_of(trigger: &Json) -> String {
    let name = text(trigger, "/metadata/subscriptionName");
    if !name.is_empty() {
        return name.rsplit('/').next().unwrap_or_default().to_owned();
    }
    let query = text(trigger, "/metadata/query");
    query.split("subscription_id=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
}

/// Where a planned resource is written down.
fn place<'a>(tree: &'a Tree, resource: &Json) -> (&'a str, usize) {
    let (kind, name) = (text(resource, "/type"), text(resource, "/name"));
    let module = text(resource, "/address");
    let folder = match module.strip_prefix("module.").and_then(|rest| rest.split(['.', '[']).next()) {
        Some(module) => format!("terraform/modules/{module}/"),
        None => "terraform/".to_owned(),
    };
    let found = tree.hcl("terraform/").filter(|(file, _)| file.starts_with(&folder)).find_map(|(file, body)| {
        let mut blocks = body.blocks_of("resource");
        let block = blocks.find(|block| block.label(0) == kind && block.label(1) == name)?;
        Some((file, block.line))
    });
    found.unwrap_or(("terraform/main.tf", 1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A plan of one target with one trigger.
    fn plan(filter: &str, subject: &str, space: &str, subscription: &str) -> Plan {
        let job = json!({"kind": "ScaledJob", "metadata": {"name": "engine", "namespace": space}, "spec": {
            "jobTargetRef": {"template": {"spec": {"serviceAccountName": "engine"}}},
            "triggers": [{"metadata": {"subscriptionName": format!("projects/p/subscriptions/{subscription}")}}],
        }});
        let account = json!({"kind": "ServiceAccount", "metadata": {"name": "engine", "namespace": "dot"}});
        let values = json!({"objects": [account, job]}).to_string();
        let resource = |kind: &str, name: &str, values: Json| json!({"address": format!("module.x.{kind}.{name}"), "type": kind, "name": name, "values": values});
        let resources = json!([
            resource(
                "google_pubsub_subscription",
                "this",
                json!({"name": "polkashots-engine.tick.dot", "filter": filter})
            ),
            resource(
                "google_pubsub_topic_iam_member",
                "emits",
                json!({"member": format!("principal://x/subject/{subject}")})
            ),
            resource("kubernetes_namespace_v1", "this", json!({"metadata": [{"name": "dot"}]})),
            resource("helm_release", "target", json!({"values": [values]})),
        ]);
        let module = json!({"child_modules": [{"resources": resources}]});
        Plan::parse(&json!({"planned_values": {"root_module": module}}).to_string()).expect("is a plan")
    }

    fn found(plan: &Plan) -> Vec<String> {
        plan.check(&Tree::default()).into_iter().map(|finding| finding.what).collect()
    }

    const FILTER: &str = "attributes.target = \"dot\"";
    const SUBJECT: &str = "ns/dot/sa/engine";
    const TICKS: &str = "polkashots-engine.tick.dot";

    #[test]
    fn a_plan_that_fits_has_no_finding() {
        assert_eq!(found(&plan(FILTER, SUBJECT, "dot", TICKS)), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_fit_together_is_found() {
        let filter = found(&plan("attributes.target = \"ksm\"", SUBJECT, "dot", TICKS));
        assert!(filter.iter().any(|what| what.contains("the filter of polkashots-engine.tick.dot is")), "{filter:?}");
        let grant = found(&plan(FILTER, "ns/dot/sa/engines", "dot", TICKS));
        assert!(
            grant.iter().any(|what| what.contains("a grant to ServiceAccount engines of namespace dot")),
            "{grant:?}"
        );
        assert!(grant.iter().any(|what| what.contains("runs as engine, which may do nothing")), "{grant:?}");
        let space = found(&plan(FILTER, SUBJECT, "ksm", TICKS));
        assert!(space.iter().any(|what| what.contains("in the namespace ksm, which nothing makes")), "{space:?}");
        let trigger = found(&plan(FILTER, SUBJECT, "dot", "${topic_prefix}engine.tick.dot"));
        assert!(trigger.iter().any(|what| what.contains("${topic_prefix} is not filled in")), "{trigger:?}");
        assert!(trigger.iter().any(|what| what.contains("waits for the subscription")), "{trigger:?}");
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        assert!(Plan::parse("{}").expect_err("empty").contains("planned_values"));
        assert!(Plan::parse("no").is_err());
    }
}
