//! Terraform's resources: their APIs are on, `destroy` takes them, and no grant is wider than it must be.

use std::collections::BTreeSet;

use super::Context;
use crate::check::finding::Report;
use crate::check::hcl::Block;

/// The API that a kind of resource is made through, by the beginning of its name; the longest that fits counts.
const APIS: [(&str, &str); 17] = [
    ("google_artifact_registry_", "artifactregistry"),
    ("google_billing_budget", "billingbudgets"),
    ("google_cloud_scheduler_", "cloudscheduler"),
    ("google_cloudbuild", "cloudbuild"),
    ("google_compute_", "compute"),
    ("google_container_", "container"),
    ("google_dns_", "dns"),
    ("google_firebase_", "firebase"),
    ("google_firebase_hosting_", "firebasehosting"),
    ("google_logging_", "logging"),
    ("google_monitoring_", "monitoring"),
    ("google_project", "cloudresourcemanager"),
    ("google_project_service", "serviceusage"),
    ("google_pubsub_", "pubsub"),
    ("google_secret_manager_", "secretmanager"),
    ("google_service_account", "iam"),
    ("google_storage_", "storage"),
];
/// Used by what is made, not by a resource of Terraform's.
const INDIRECT: [&str; 4] = ["cloudbilling", "iamcredentials", "sts", "billingbudgets"];
/// What a resource must say so that `destroy` takes it, and leaves nothing that is paid for.
const GOES: [(&str, &str, &str); 6] = [
    ("google_container_cluster", "deletion_protection", "false"),
    ("google_secret_manager_secret", "deletion_protection", "false"),
    ("google_project", "deletion_policy", "DELETE"),
    ("google_storage_bucket", "force_destroy", "true"),
    ("google_storage_bucket", "uniform_bucket_level_access", "true"),
    ("google_monitoring_notification_channel", "force_delete", "true"),
];
/// Resources that keep a secret in the state.
const LEAKS: [&str; 5] = [
    "google_service_account_key",
    "google_secret_manager_secret_version",
    "google_storage_hmac_key",
    "kubernetes_secret_v1",
    "kubernetes_secret",
];
/// Roles for everything.
const BASIC: [&str; 3] = ["roles/owner", "roles/editor", "roles/viewer"];

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    let mut resources = Vec::new();
    for (file, body) in context.tree.hcl("terraform/") {
        resources.extend(body.blocks_of("resource").map(|block| (file, block)));
    }
    apis(&resources, context, report);
    for (file, block) in &resources {
        goes(file, block, report);
        grant(file, block, report);
        images(file, block, report);
        if LEAKS.contains(&block.label(0)) {
            let what = format!("{} keeps a secret in the state", block.label(0));
            report.add((file, block.line), what, "no secret in the state", "let gcloud or a person put it in");
        }
    }
    providers(context, report);
}

fn apis(resources: &[(&str, &Block)], context: &Context<'_>, report: &mut Report) {
    let Some((file, map)) = context.tree.local("terraform/modules/project", "apis") else {
        return;
    };
    let on = |api: &str| map.get(&format!("{api}.googleapis.com")).is_some();
    let mut used = BTreeSet::new();
    for (at, block) in resources.iter().filter(|(_, block)| block.label(0).starts_with("google_")) {
        let kind = block.label(0);
        let fits = APIS.iter().filter(|(prefix, _)| kind.starts_with(prefix)).max_by_key(|(prefix, _)| prefix.len());
        let Some((_, api)) = fits else {
            let what = format!("no API is known for {kind}");
            report.add(
                (at, block.line),
                what,
                "an entry of APIS in cli/src/check/rules/cloud.rs",
                "add the API's name there",
            );
            continue;
        };
        if used.insert(*api) && !on(api) {
            let what = format!("{kind} needs {api}.googleapis.com, which is not switched on");
            report.add(
                (at, block.line),
                what,
                "an entry of local.apis in modules/project",
                format!("add {api}.googleapis.com"),
            );
        }
    }
    for (name, why) in &map.entries {
        let api = name.trim_end_matches(".googleapis.com");
        if !used.contains(api) && !INDIRECT.contains(&api) {
            let what = format!("{name} is switched on, and no resource uses it");
            report.add((file, why.line), what, "APIs of resources that are there", "remove it");
        }
    }
}

fn goes(file: &str, block: &Block, report: &mut Report) {
    let kind = block.label(0);
    for (_, key, expected) in GOES.iter().filter(|(of, ..)| *of == kind) {
        let found = block.literal(key);
        if found != Some(expected) {
            let what = format!("{kind}.{}: {key} is {}", block.label(1), found.unwrap_or("not set"));
            report.add(
                (file, block.line_of(key)),
                what,
                format!("{expected}, or `destroy` leaves something"),
                format!("set {key} = {expected}"),
            );
        }
    }
    if kind == "google_storage_bucket" {
        let policy = block.body.blocks_of("soft_delete_policy").next();
        let seconds = policy.and_then(|policy| policy.literal("retention_duration_seconds"));
        if seconds != Some("0") {
            let line = policy.map_or(block.line, |policy| policy.line_of("retention_duration_seconds"));
            let what =
                format!("{kind}.{}: deleted objects are kept for {} s", block.label(1), seconds.unwrap_or("604800"));
            report.add(
                (file, line),
                what,
                "0: a deleted snapshot would be paid for another week",
                "switch soft delete off",
            );
        }
    }
    if kind.starts_with("google_kms_") {
        report.add(
            (file, block.line),
            format!("{kind} can never be deleted"),
            "nothing that `destroy` leaves",
            "use Secret Manager",
        );
    }
}

fn grant(file: &str, block: &Block, report: &mut Report) {
    let Some(role) = block.literal("role") else { return };
    if BASIC.contains(&role) {
        let what = format!("{} grants {role}", block.label(1));
        report.add(
            (file, block.line_of("role")),
            what,
            "a role for what is needed, not for everything",
            "name a narrower role",
        );
    }
    let member = block.body.get("member").map_or("", |member| member.template());
    let public = matches!(member, "allUsers" | "allAuthenticatedUsers");
    let may = (block.label(0), role) == ("google_storage_bucket_iam_member", "roles/storage.objectViewer");
    if public && !may {
        let what = format!("{member} gets {role}");
        report.add(
            (file, block.line_of("member")),
            what,
            "roles/storage.objectViewer on the archive, at most",
            "narrow the grant",
        );
    }
}

fn images(file: &str, block: &Block, report: &mut Report) {
    for (_, expr) in &block.body.attributes {
        for one in expr.all().iter().filter(|one| one.literal.as_deref().is_some_and(|text| text.ends_with(":latest")))
        {
            report.add(
                (file, one.line),
                "the tag latest",
                "a tag that always means the same build",
                "name the version",
            );
        }
    }
}

/// What the provider calls latest is another one tomorrow.
fn providers(context: &Context<'_>, report: &mut Report) {
    for (file, body) in context.tree.hcl("terraform/") {
        for block in body.all_blocks().into_iter().filter(|block| block.kind == "required_providers") {
            for (name, provider) in &block.body.attributes {
                let official = provider.get("source").and_then(|one| one.literal.as_deref()).unwrap_or_default();
                if !official.starts_with("hashicorp/") {
                    let what = format!("the provider {name} is {official:?}");
                    report.add((file, provider.line), what, "hashicorp's own providers only", "use one of them");
                }
                if file == "terraform/versions.tf" && provider.get("version").is_none() {
                    let what = format!("the provider {name} has no version");
                    report.add((file, provider.line), what, "a version constraint", "pin its major version");
                }
            }
        }
        for block in body.blocks_of("resource").filter(|block| block.label(0) == "helm_release") {
            if block.body.get("repository").is_some() && block.body.get("version").is_none() {
                let what = format!("helm_release.{} has no version", block.label(1));
                report.add((file, block.line), what, "the chart's exact version", "pin it");
            }
        }
    }
}
