//! Custom resources are of a served version and have only fields that their schema names; so have pods.

use super::Context;
use crate::check::finding::Report;
use crate::check::objects::Object;
use crate::check::strict::{CRDS, Mismatch, compare, pod_template};

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    for object in &context.objects {
        custom(*object, report);
        if object.kind() != "ScaledJob"
            && let (Some(pod), Some(schema)) = (object.pod(), pod_template())
        {
            let mut found = Vec::new();
            compare(pod.template, schema, "spec.template", &mut found);
            add(*object, found, report);
        }
    }
}

fn custom(object: Object<'_>, report: &mut Report) {
    let api = object.root.text_at("apiVersion").unwrap_or_default();
    let (group, version) = api.split_once('/').unwrap_or(("", api));
    let versions: Vec<_> = CRDS.iter().filter(|crd| crd.kind == object.kind()).collect();
    let Some(any) = versions.first() else { return };
    let served: Vec<_> = versions.iter().filter(|crd| crd.served).collect();
    let Some(crd) = served.iter().find(|crd| crd.group == group && crd.version == version) else {
        let names: Vec<_> = served.iter().map(|crd| format!("{}/{}", crd.group, crd.version)).collect();
        let what = format!("{} is of {api}, which is not served", object.title());
        report.add(object.at("apiVersion"), what, names.join(", "), "use a served version");
        return;
    };
    if any.scope == "Cluster" && object.root.at("metadata.namespace").is_some() {
        let what = format!("{} has a namespace", object.title());
        report.add(
            object.at("metadata.namespace"),
            what,
            "none: it is of the whole cluster",
            "keep it out of overlays with a namespace",
        );
    }
    let mut found = Vec::new();
    compare(object.root, &crd.schema, "", &mut found);
    // The schema of metadata is Kubernetes' own, which the CRD leaves out.
    found.retain(|one| !one.what.starts_with("metadata."));
    add(object, found, report);
}

fn add(object: Object<'_>, found: Vec<Mismatch>, report: &mut Report) {
    for Mismatch { line, what, expected } in found {
        report.add((object.file, line), format!("{}: {what}", object.title()), expected, "correct the field");
    }
}
