//! ScaledJobs: trigger keys, subscriptions, and the rules of one message per Job.

use super::{Context, differences};
use crate::check::finding::Report;
use crate::check::objects::{Object, Part, Rendered};
use crate::check::strict::SCALERS;
use crate::check::yaml::Node;

/// What a ScaledJob must say, and what happens otherwise.
const MUST: [(&str, &str, &str); 7] = [
    ("spec.scalingStrategy.strategy", "default", "undelivered messages include those being worked on"),
    ("spec.rollout.strategy", "gradual", "any other kills a running upload when the spec changes"),
    ("spec.maxReplicaCount", "1", "one run per target at a time"),
    ("spec.successfulJobsHistoryLimit", "3", "finished pods are kept for their logs, not for ever"),
    ("spec.failedJobsHistoryLimit", "5", "failed pods are kept for their logs, not for ever"),
    ("spec.jobTargetRef.backoffLimit", "0", "a message that was not handled comes again by itself"),
    ("spec.jobTargetRef.template.spec.restartPolicy", "Never", "a restarted container would pull a second message"),
];
const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    of_manifests(context, report);
    for rendered in &context.rendered {
        for job in rendered.objects.iter().filter(|object| object.kind() == "ScaledJob") {
            subscriptions(*job, rendered, context, report);
            authentication(*job, rendered, report);
        }
    }
}

/// What holds of a ScaledJob wherever it is applied.
pub(super) fn of_manifests(context: &Context<'_>, report: &mut Report) {
    for job in context.objects.iter().filter(|object| object.kind() == "ScaledJob") {
        promises(*job, report);
        job.root.items_at("spec.triggers").iter().for_each(|trigger| keys(*job, trigger, report));
    }
}

fn promises(job: Object<'_>, report: &mut Report) {
    for (path, expected, why) in MUST {
        let found = job.root.text_at(path);
        if found != Some(expected) {
            let key = path.rsplit('.').next().unwrap_or(path);
            report.add(
                job.at(path),
                format!("{}: {key} is {}", job.title(), found.unwrap_or("not set")),
                format!("{expected}: {why}"),
                format!("set {path}: {expected}"),
            );
        }
    }
    let annotations = job.root.at("spec.jobTargetRef.template.metadata.annotations");
    if annotations.and_then(|map| map.get(SAFE_TO_EVICT)?.text()) != Some("false") {
        let line = annotations
            .and_then(|map| map.get(SAFE_TO_EVICT))
            .map_or(job.root.line_at("spec.jobTargetRef.template.metadata"), |node| node.line);
        report.add(
            (job.file, line),
            format!("{}: the autoscaler may evict a run", job.title()),
            format!("{SAFE_TO_EVICT}: \"false\" on the pod"),
            "add the annotation",
        );
    }
}

/// The keys of a trigger: the CRD takes any, the scaler only its own.
fn keys(job: Object<'_>, trigger: &Node, report: &mut Report) {
    let kind = trigger.text_at("type").unwrap_or_default();
    let Some(known) = SCALERS.get(kind) else {
        let names: Vec<_> = SCALERS.keys().map(String::as_str).collect();
        let what = format!("{}: a trigger of type {kind:?}", job.title());
        report.add(
            (job.file, trigger.line_at("type")),
            what,
            format!("one of {}", names.join(", ")),
            "correct the type",
        );
        return;
    };
    let given = trigger.get("metadata").map_or(&[][..], Node::entries);
    for (key, value) in given {
        let found = known.iter().find(|one| one.name == *key);
        if found.is_none_or(|one| one.removed) {
            let names: Vec<_> = known.iter().filter(|one| !one.removed).map(|one| one.name.as_str()).collect();
            let what = format!("{}: the scaler {kind} has no key {key}", job.title());
            report.add((job.file, value.line), what, format!("one of {}", names.join(", ")), "correct the key");
        }
    }
    for key in known.iter().filter(|one| one.required && !given.iter().any(|(name, _)| *name == one.name)) {
        let what = format!("{}: the trigger lacks {}", job.title(), key.name);
        report.add(
            (job.file, trigger.line_at("metadata")),
            what,
            format!("{}, which {kind} requires", key.name),
            "add it",
        );
    }
    for (key, expected) in thresholds(kind) {
        let found = trigger.get("metadata").and_then(|map| map.get(key));
        if found.and_then(Node::text) != Some(expected) {
            report.add(
                (job.file, found.map_or(trigger.line_at("metadata"), |node| node.line)),
                format!("{}: {key} is {}", job.title(), found.and_then(Node::text).unwrap_or("not set")),
                format!("{expected:?}: one Job as soon as one message waits, none without one"),
                format!("set {key}: \"{expected}\""),
            );
        }
    }
}

fn thresholds(kind: &str) -> &'static [(&'static str, &'static str)] {
    match kind {
        // It counts no messages.
        "cron" => &[],
        "gcp-pubsub" => &[("value", "1"), ("activationValue", "0"), ("valueIfNull", "0")],
        _ => &[("threshold", "1"), ("activationThreshold", "0"), ("ignoreNullValues", "true")],
    }
}

/// A Job is started for exactly the subscriptions that its worker reads.
fn subscriptions(job: Object<'_>, rendered: &Rendered<'_>, context: &Context<'_>, report: &mut Report) {
    let containers = job.pod().map(|pod| pod.containers()).unwrap_or_default();
    let Some(binary) = containers.iter().find_map(|one| context.code.in_image(one.image_name())) else {
        return;
    };
    let Some(worker) = binary.worker else { return };
    let suffix = if rendered.part == Part::Target { ".${target}" } else { "" };
    let expected: Vec<_> =
        binary.reads.iter().map(|topic| format!("${{topic_prefix}}{worker}.{topic}{suffix}")).collect();
    let triggers = job.root.items_at("spec.triggers");
    let mut found = Vec::new();
    for trigger in triggers {
        let (name, line) = subscription_of(trigger);
        if !expected.iter().any(|one| one == name) {
            report.add(
                (job.file, line),
                format!("{}: waits for the subscription {name:?}", job.title()),
                format!("one of {}", expected.join(", ")),
                "name a subscription that terraform/modules/pubsub makes for this worker",
            );
        }
        found.push(name);
    }
    let known: Vec<_> = expected.iter().map(String::as_str).collect();
    for name in differences(&found, &known).1 {
        let what = format!("{}: no trigger for {name}", job.title());
        report.add(job.at("spec.triggers"), what, "one for each topic that the worker reads", "add the trigger");
    }
}

/// The subscription that a trigger counts, and the line where it is named.
fn subscription_of(trigger: &Node) -> (&str, usize) {
    let metadata = trigger.get("metadata");
    if let Some(name) = metadata.and_then(|map| map.get("subscriptionName")) {
        let text = name.text().unwrap_or_default();
        return (text.strip_prefix("projects/${project}/subscriptions/").unwrap_or(text), name.line);
    }
    let Some(query) = metadata.and_then(|map| map.get("query")) else {
        return ("", trigger.line);
    };
    let id = query.text().unwrap_or_default().split("subscription_id=\"").nth(1).unwrap_or_default();
    (id.split('"').next().unwrap_or_default(), query.line)
}

fn authentication(job: Object<'_>, rendered: &Rendered<'_>, report: &mut Report) {
    for trigger in job.root.items_at("spec.triggers") {
        let name = trigger.text_at("authenticationRef.name").unwrap_or_default();
        let found = rendered.objects.iter().find(|one| one.kind() == "TriggerAuthentication" && one.name() == name);
        let Some(found) = found else {
            let at = (job.file, trigger.line_at("authenticationRef.name"));
            let what = format!("{}: TriggerAuthentication {name:?} is not there", job.title());
            report.add(at, what, "one in the same namespace", "add it, or correct authenticationRef");
            continue;
        };
        let provider = found.root.text_at("spec.podIdentity.provider");
        if provider != Some("gcp") {
            report.add(
                found.at("spec.podIdentity.provider"),
                format!("{}: podIdentity is {}", found.title(), provider.unwrap_or("not set")),
                "gcp: KEDA counts with its own identity, no key exists",
                "set spec.podIdentity.provider: gcp",
            );
        }
    }
    for trigger in job.root.items_at("spec.triggers").iter().filter(|one| one.text_at("type") == Some("prometheus")) {
        let Some(address) = trigger.at("metadata.serverAddress") else {
            continue;
        };
        let expected = "https://monitoring.googleapis.com/v1/projects/${project}/location/global/prometheus";
        if address.text() != Some(expected) {
            report.add(
                (job.file, address.line),
                format!("{}: asks {}", job.title(), address.text().unwrap_or_default()),
                expected,
                "ask Cloud Monitoring of this project",
            );
        }
    }
}
