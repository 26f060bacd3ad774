//! Topics, subscriptions, filters, dead letters, grants and payload schemas: Terraform's, the code's and KEDA's.

use super::{Context, differences};
use crate::check::finding::Report;
use crate::check::hcl::{Block, Expr};

const FOLDER: &str = "terraform/modules/pubsub";
const IDENTITY: &str = "terraform/modules/identity";

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    topics(context, report);
    subscriptions(context, report);
    for (file, block) in context.tree.resources("google_pubsub_subscription") {
        subscription(file, block, report);
    }
    dead_letters(context, report);
    emits(context, report);
    scheduler(context, report);
    payload_schemas(context, report);
}

fn topics(context: &Context<'_>, report: &mut Report) {
    let Some((file, list)) = context.tree.local(FOLDER, "topics") else {
        return;
    };
    let ours: Vec<_> = list.literals().iter().map(|(name, _)| *name).collect();
    let code: Vec<_> = context.code.topics.iter().map(|topic| topic.name).collect();
    let (unknown, missing) = differences(&ours, &code);
    let expected = format!("the topics of shared/src/event.rs: {}", code.join(", "));
    for (name, line) in list.literals().into_iter().filter(|(name, _)| unknown.contains(name)) {
        report.add((file, line), format!("topic {name} is none of ours"), &expected, "correct the name");
    }
    for name in missing {
        report.add((file, list.line), format!("topic {name} is missing"), &expected, format!("add {name}"));
    }
}

/// `local.per_target` and `local.shared` are the pairs of worker and topic that the workers themselves name.
fn subscriptions(context: &Context<'_>, report: &mut Report) {
    let known = context.code.subscriptions();
    let mut found = Vec::new();
    let mut last = None;
    for name in ["per_target", "shared"] {
        let Some((file, list)) = context.tree.local(FOLDER, name) else {
            continue;
        };
        for item in &list.parts {
            let of = |key: &str| item.get(key).and_then(|value| value.literal.clone()).unwrap_or_default();
            let pair = (of("worker"), of("topic"));
            if !known.iter().any(|(worker, topic)| (*worker, *topic) == (pair.0.as_str(), pair.1.as_str())) {
                report.add(
                    (file, item.line),
                    format!("{} has a subscription to {}", pair.0, pair.1),
                    format!("what the workers read: {}", in_words(&known)),
                    "correct the pair: nobody would take its messages",
                );
            }
            found.push(pair);
        }
        last = Some((file, list.line));
    }
    let Some(at) = last else { return };
    for (worker, topic) in
        known.iter().filter(|(w, t)| !found.iter().any(|(a, b)| (a.as_str(), b.as_str()) == (*w, *t)))
    {
        report.add(
            at,
            format!("{worker} has no subscription to {topic}"),
            "one for each topic that it reads",
            "add the pair",
        );
    }
}

fn in_words(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(worker, topic)| format!("{worker} {topic}")).collect::<Vec<_>>().join(", ")
}

fn subscription(file: &str, block: &Block, report: &mut Report) {
    let ttl = block.body.blocks_of("expiration_policy").next();
    if ttl.and_then(|policy| policy.literal("ttl")) != Some("") {
        report.add(
            (file, ttl.map_or(block.line, |policy| policy.line_of("ttl"))),
            format!("subscription {} expires", block.label(1)),
            "expiration_policy { ttl = \"\" }: an idle one would be deleted after 31 days",
            "let it never expire",
        );
    }
    if block.label(1) == "dead_letters" {
        return;
    }
    let filter = block.body.get("filter");
    if filter.is_none_or(|filter| !filter.source.contains("\"attributes.target = \\\"${each.value.target}\\\"\"")) {
        report.add(
            (file, block.line_of("filter")),
            format!("the filter is {}", filter.map_or("none", |filter| filter.source.as_str())),
            "attributes.target = \"<target>\", the attribute that every event has",
            "filter by attributes.target: an empty target is all of them",
        );
    }
    if block.body.get("name").is_none_or(|name| name.template() != "${var.prefix}${each.key}") {
        report.add(
            (file, block.line_of("name")),
            "the subscription's name is not the prefix and its key",
            "${var.prefix}${each.key}, as shared/src/names.rs and KEDA's triggers name it",
            "name it after its key",
        );
    }
    let deadline = block.literal("ack_deadline_seconds").and_then(|text| text.parse::<u32>().ok());
    if deadline.is_none_or(|seconds| !(10..=600).contains(&seconds)) {
        let what = format!("ack_deadline_seconds is {}", block.literal("ack_deadline_seconds").unwrap_or("not set"));
        report.add(
            (file, block.line_of("ack_deadline_seconds")),
            what,
            "10 to 600",
            "say how long a dead holder keeps a message",
        );
    }
    if block.literal("enable_exactly_once_delivery") != Some("true") {
        report.add(
            (file, block.line_of("enable_exactly_once_delivery")),
            "an acknowledgement is not confirmed",
            "enable_exactly_once_delivery = true: a worker must know that the message is gone",
            "switch it on",
        );
    }
    if block.body.blocks_of("dead_letter_policy").next().is_none() {
        let expected = "a dead_letter_policy: what can never succeed must not be tried for ever";
        report.add((file, block.line), "no dead_letter_policy", expected, "add one");
    }
}

/// As many deliveries as the workers count, and Google's agent allowed to do both halves.
fn dead_letters(context: &Context<'_>, report: &mut Report) {
    let setting = context.code.binaries.iter().find_map(|binary| binary.setting("POLKASHOTS_MAX_ATTEMPTS"));
    let default = setting.and_then(|setting| setting.default.clone()).unwrap_or_default();
    let given = context.objects.iter().filter(|object| object.kind() == "ConfigMap").filter_map(|object| {
        let value = object.root.at("data")?.get("POLKASHOTS_MAX_ATTEMPTS")?;
        Some((object.file, value.line, value.text()?.to_owned()))
    });
    let mut attempts: Vec<_> = given.collect();
    for (file, block) in context.tree.resources("google_pubsub_subscription") {
        let Some(policy) = block.body.blocks_of("dead_letter_policy").next() else {
            continue;
        };
        let limit = policy.literal("max_delivery_attempts").unwrap_or_default();
        if attempts.is_empty() {
            attempts.push((file, policy.line_of("max_delivery_attempts"), default.clone()));
        }
        for (file, line, value) in attempts.iter().filter(|(_, _, value)| value != limit) {
            report.add(
                (file, *line),
                format!("workers give up after {value} attempts, Pub/Sub after {limit}"),
                "the same number",
                "change POLKASHOTS_MAX_ATTEMPTS and max_delivery_attempts alike",
            );
        }
        if policy
            .body
            .get("dead_letter_topic")
            .is_none_or(|topic| !topic.source.contains("google_pubsub_topic.dead_letters"))
        {
            let at = (file, policy.line_of("dead_letter_topic"));
            report.add(
                at,
                "dead letters go elsewhere",
                "google_pubsub_topic.dead_letters",
                "name the topic that is read",
            );
        }
    }
    let agent = |kind: &str, role: &str| {
        context.tree.resources(kind).any(|(_, block)| {
            block.literal("role") == Some(role)
                && block.body.get("member").is_some_and(|member| member.source == "local.service_agent")
        })
    };
    for (kind, role) in [
        ("google_pubsub_topic_iam_member", "roles/pubsub.publisher"),
        ("google_pubsub_subscription_iam_member", "roles/pubsub.subscriber"),
    ] {
        if context.tree.local(FOLDER, "topics").is_some() && !agent(kind, role) {
            report.add(
                ("terraform/modules/pubsub/main.tf", 1),
                format!("Pub/Sub's own agent is not granted {role}"),
                "publisher on the dead-letter topic and subscriber on each subscription",
                format!("add a {kind} for local.service_agent"),
            );
        }
    }
}

/// What each worker may publish is what it emits.
fn emits(context: &Context<'_>, report: &mut Report) {
    let Some((file, workers)) = context.tree.local(IDENTITY, "workers") else {
        return;
    };
    let entries = workers.all().into_iter().flat_map(|expr| &expr.entries);
    for (key, worker) in entries {
        let Some(granted) = worker.get("emits") else { continue };
        let account = worker.get("account").and_then(|account| account.literal.as_deref()).unwrap_or_default();
        let Some(binary) = context.code.binaries.iter().find(|binary| binary.worker == Some(account)) else {
            let known: Vec<_> = context.code.binaries.iter().filter_map(|binary| binary.worker).collect();
            let expected = format!("one of {}", known.join(", "));
            report.add(
                (file, worker.line),
                format!("{key}: {account:?} is no worker"),
                expected,
                "correct the account",
            );
            continue;
        };
        compare_emits((file, granted), key, &binary.emits, report);
    }
}

fn compare_emits((file, granted): (&str, &Expr), key: &str, emits: &[&str], report: &mut Report) {
    let names: Vec<_> = granted.literals().iter().map(|(name, _)| *name).collect();
    let (unknown, missing) = differences(&names, emits);
    let expected = format!("what it emits: {}", emits.join(", "));
    for name in unknown {
        report.add((file, granted.line), format!("{key} may publish to {name}"), &expected, "take the grant away");
    }
    for name in missing {
        report.add((file, granted.line), format!("{key} may not publish to {name}"), &expected, "grant it");
    }
}

/// A bare message whose attribute names the target is a tick.
fn scheduler(context: &Context<'_>, report: &mut Report) {
    for (file, block) in context.tree.resources("google_cloud_scheduler_job") {
        let Some(target) = block.body.blocks_of("pubsub_target").next() else {
            continue;
        };
        let attributes = target.body.get("attributes");
        let named = attributes.and_then(|map| map.get("target")).map(|value| value.source.as_str());
        if named != Some("each.key") {
            report.add(
                (file, target.line_of("attributes")),
                format!("a tick's attribute target is {}", named.unwrap_or("not set")),
                "attributes = { target = each.key }: subscriptions filter by it",
                "name the target of the job",
            );
        }
        if target.body.get("topic_name").is_none_or(|topic| topic.source != "var.tick_topic") {
            let at = (file, target.line_of("topic_name"));
            report.add(at, "a job publishes to another topic", "var.tick_topic", "publish ticks to the tick topic");
        }
    }
    for (file, body) in context.tree.hcl("terraform/main.tf") {
        let module = body.blocks_of("module").find(|block| block.label(0) == "scheduler");
        let Some(block) = module else { continue };
        if block.body.get("tick_topic").is_none_or(|topic| topic.source != "module.pubsub.topics[\"tick\"]") {
            let at = (file, block.line_of("tick_topic"));
            report.add(at, "ticks go to another topic", "module.pubsub.topics[\"tick\"]", "hand over the tick topic");
        }
    }
}

/// Every event has the schema that the site serves.
fn payload_schemas(context: &Context<'_>, report: &mut Report) {
    if context.tree.under("schemas/").next().is_none() {
        return;
    }
    for topic in &context.code.topics {
        let path = format!("schemas/{}.json", topic.event_type.trim_start_matches("io.polkashots."));
        let Some(text) = context.tree.text(&path) else {
            let what = format!("the payload of {} has no schema", topic.event_type);
            report.add(
                (&path, 1),
                what,
                "a file that is written from the type",
                "run the test of shared's schemas with POLKASHOTS_BLESS=1",
            );
            continue;
        };
        let schema: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        if !required.iter().any(|name| name == "target") {
            let line = 1 + text.lines().position(|line| line.contains("\"required\"")).unwrap_or(0);
            report.add(
                (&path, line),
                format!("the payload of {} need not name its target", topic.event_type),
                "required: target",
                "every event names the target that its attribute names",
            );
        }
    }
}
