//! Placeholders, namespaces, buckets, sites and secrets: a name is said once and reaches where it is used.

use std::collections::BTreeSet;

use super::Context;
use crate::check::finding::Report;
use crate::check::hcl::{Body, Expr};
use crate::check::objects::{Object, Part, Rendered};

const WORKLOADS: &str = "terraform/modules/workloads";
/// Kinds that belong to the whole cluster.
const CLUSTER_SCOPED: [&str; 6] =
    ["StorageClass", "VolumeSnapshotClass", "PriorityClass", "ClusterRole", "ClusterRoleBinding", "Namespace"];

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    let known = Known::read(context);
    for rendered in &context.rendered {
        known.placeholders(rendered, report);
        for object in &rendered.objects {
            namespace(*object, rendered.part, report);
            secret_name(*object, report);
        }
        twice(rendered, report);
    }
    variants(context, report);
    namespaces(context, report);
    folders(context, report);
    settings(context, report);
}

/// The placeholders that Terraform fills in, for each part.
struct Known {
    target: BTreeSet<String>,
    publisher: BTreeSet<String>,
}

impl Known {
    fn read(context: &Context<'_>) -> Self {
        let shared = root_settings(context).map(keys).unwrap_or_default();
        let of = |name: &str| {
            let own =
                context.tree.local(WORKLOADS, name).map(|(_, expr)| expr.all().into_iter().flat_map(keys).collect());
            let own: BTreeSet<String> = own.unwrap_or_default();
            own.union(&shared).cloned().collect()
        };
        Self { target: of("of_target"), publisher: of("of_publisher") }
    }

    fn placeholders(&self, rendered: &Rendered<'_>, report: &mut Report) {
        let (known, whose) = match rendered.part {
            Part::Target => (&self.target, "a target"),
            Part::Publisher | Part::Cluster => (&self.publisher, "the publisher and the cluster"),
        };
        if known.is_empty() {
            return;
        }
        for object in &rendered.objects {
            for (_, text, line) in object.root.scalars() {
                for name in placeholders(text).filter(|name| !known.contains(*name)) {
                    let names: Vec<_> = known.iter().map(String::as_str).collect();
                    report.add(
                        (rendered.file, line),
                        format!("${{{name}}} is no placeholder of {whose}"),
                        format!("one of {}", names.join(", ")),
                        "correct the name: terraform/modules/workloads/README.md lists them",
                    );
                }
            }
        }
    }
}

fn keys(expr: &Expr) -> BTreeSet<String> {
    expr.entries.iter().map(|(name, _)| name.clone()).collect()
}

fn root_settings<'a>(context: &'a Context<'_>) -> Option<&'a Expr> {
    let mut files = context.tree.hcl("terraform/main.tf");
    files.find_map(|(_, body)| workloads(body)?.get("settings"))
}

fn workloads(body: &Body) -> Option<&Body> {
    body.blocks_of("module").find(|block| block.label(0) == "workloads").map(|block| &block.body)
}

/// The names in `${...}`, but for `$${...}`, which stands for itself.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("${").filter_map(|(at, _)| {
        let escaped = text[..at].ends_with('$');
        let name = text[at + 2..].split('}').next()?;
        (!escaped).then_some(name)
    })
}

/// What belongs to a target is in its namespace, the publisher in its own, and classes in none.
fn namespace(object: Object<'_>, part: Part, report: &mut Report) {
    let scoped = CLUSTER_SCOPED.contains(&object.kind());
    let expected = match part {
        _ if scoped => None,
        Part::Cluster => None,
        Part::Target => Some("${target}"),
        Part::Publisher => Some("${namespace}"),
    };
    if part == Part::Cluster && !scoped {
        let what = format!("{} is of a namespace", object.title());
        report.add(
            object.at("kind"),
            what,
            "only what belongs to the whole cluster",
            "move it to a target or the publisher",
        );
    }
    if part != Part::Cluster && scoped {
        let what = format!("{} belongs to the whole cluster", object.title());
        report.add(object.at("kind"), what, "it in cluster.yaml, once", "move it to k8s/overlays/gke/cluster");
    }
    let found = object.root.text_at("metadata.namespace");
    if found != expected {
        report.add(
            object.at("metadata.namespace"),
            format!("{} is in the namespace {}", object.title(), found.unwrap_or("none")),
            expected.unwrap_or("none: it belongs to the whole cluster"),
            "set the overlay's namespace",
        );
    }
}

/// The signing key is read from the secret that Terraform makes.
fn secret_name(object: Object<'_>, report: &mut Report) {
    let Some(secrets) = object.root.at("spec.parameters.secrets").filter(|_| object.kind() == "SecretProviderClass")
    else {
        return;
    };
    let text = secrets.text().unwrap_or_default();
    if !text.contains("projects/${project}/secrets/${signing_secret}/versions/") {
        report.add(
            (object.file, secrets.line),
            format!("{}: reads {:?}", object.title(), text.lines().next().unwrap_or_default()),
            "projects/${project}/secrets/${signing_secret}/versions/...",
            "name the secret that modules/signing makes",
        );
    }
}

/// Two objects of one kind and name: the second would overwrite the first.
fn twice(rendered: &Rendered<'_>, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for object in &rendered.objects {
        if !seen.insert(object.title()) {
            let what = format!("{} is there twice", object.title());
            report.add(object.at("metadata.name"), what, "each object once", "give one of them another name");
        }
    }
}

/// Each combination that a variable may choose has its file.
fn variants(context: &Context<'_>, report: &mut Report) {
    let rendered: Vec<_> = context.rendered.iter().map(|rendered| rendered.file).collect();
    if rendered.is_empty() {
        return;
    }
    let mut expected = vec!["cluster.yaml".to_owned()];
    for part in ["target", "publisher"] {
        for store in ["gcs", "s3"] {
            expected.extend(["gcp-pubsub", "prometheus"].map(|trigger| format!("{part}-{store}-{trigger}.yaml")));
        }
    }
    for name in expected.iter().filter(|name| !rendered.iter().any(|file| file.ends_with(&format!("/{name}")))) {
        let file = format!("k8s/rendered/{name}");
        report.add(
            (&file, 1),
            "it is not there",
            "a file for each store and trigger",
            "add its overlay and run script/render-k8s",
        );
    }
}

/// Namespaces are made of the targets and the publisher's.
fn namespaces(context: &Context<'_>, report: &mut Report) {
    for (file, block) in
        context.tree.resources("kubernetes_namespace_v1").filter(|(file, _)| file.starts_with(WORKLOADS))
    {
        let each = block.body.get("for_each").map_or("", |expr| expr.source.as_str());
        if !each.contains("keys(var.targets)") || !each.contains("var.publisher_space") {
            let what = format!("namespaces are made for {each}");
            report.add(
                (file, block.line_of("for_each")),
                what,
                "keys(var.targets) and var.publisher_space",
                "namespaces are targets",
            );
        }
        if let Some((file, map)) = context.tree.local(WORKLOADS, "namespace_labels") {
            let key = "pod-security.kubernetes.io/enforce";
            let value = map.get(key);
            if value.and_then(|one| one.literal.as_deref()) != Some("restricted") {
                let line = value.map_or(map.line, |one| one.line);
                report.add(
                    (file, line),
                    format!("{key} is not restricted"),
                    "restricted",
                    "every pod fits that profile",
                );
            }
        }
    }
}

/// Uploads under way lie where the rights and the bucket's own broom expect them.
fn folders(context: &Context<'_>, report: &mut Report) {
    let parts = format!("\"{}\"", context.code.parts_prefix);
    for (file, what) in [
        ("terraform/modules/storage/main.tf", "the lifecycle rule for abandoned uploads"),
        ("terraform/modules/identity/main.tf", "the right to write parts"),
    ] {
        for found in context.tree.under(file).filter(|found| !found.text.contains(&parts)) {
            let line = found.line_of(if file.contains("storage") { "matches_prefix" } else { "for folder in" });
            let what = format!("{what} is for another folder");
            report.add((file, line), what, format!("{parts}, where workers put parts"), "change it alike");
        }
    }
}

/// What the root hands to the placeholders is what the module of that subject made.
fn settings(context: &Context<'_>, report: &mut Report) {
    let expected = [
        ("topic_prefix", "local.topic_prefix"),
        ("dead_letter_topic", "module.pubsub.dead_letter_topic"),
        ("registry", "module.registry.url"),
        ("release", "var.release"),
        ("store", "local.store_url"),
        ("archive_url", "local.archive_url"),
        ("site_url", "local.site_url"),
        ("site_id", "local.site_id"),
        ("signing_secret", "module.signing.secret_name"),
        ("project", "module.project.id"),
    ];
    let Some(settings) = root_settings(context) else { return };
    for (name, source) in expected {
        let Some(found) = settings.get(name).filter(|found| found.source != source) else {
            continue;
        };
        let what = format!("the placeholder {name} stands for {}", found.source);
        report.add(("terraform/main.tf", found.line), what, source, "hand over what the module made");
    }
    same_everywhere(context, report);
}

/// Modules that must agree get the same value.
fn same_everywhere(context: &Context<'_>, report: &mut Report) {
    let expected = [
        ("storage", "bucket", "local.bucket"),
        ("site", "site_id", "local.site_id"),
        ("pubsub", "prefix", "local.topic_prefix"),
        ("scheduler", "prefix", "local.topic_prefix"),
        ("pubsub", "targets", "keys(local.targets)"),
        ("identity", "targets", "keys(local.targets)"),
        ("identity", "publisher_space", "var.name"),
        ("workloads", "publisher_space", "var.name"),
        ("workloads", "targets", "local.targets"),
        ("identity", "secret_id", "module.signing.secret_id"),
        ("identity", "bucket", "one(module.storage[*].bucket)"),
        ("build", "registry", "module.registry.url"),
        ("build", "image_names", "local.image_names"),
    ];
    for (file, body) in context.tree.hcl("terraform/main.tf") {
        for (module, name, source) in expected {
            let block = body.blocks_of("module").find(|block| block.label(0) == module);
            let Some(found) = block.and_then(|block| block.body.get(name)).filter(|found| found.source != source)
            else {
                continue;
            };
            let what = format!("module.{module} gets {name} = {}", found.source);
            report.add((file, found.line), what, source, "modules that must agree get the same value");
        }
    }
}
