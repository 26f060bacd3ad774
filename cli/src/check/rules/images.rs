//! The image chain: what is built is what the registry holds and what the manifests run.

use super::{Context, differences};
use crate::check::finding::Report;
use crate::check::objects::Container;

/// What Terraform fills in for upstream's node image; its own validation asks for a tag.
const NODE_IMAGE: &str = "${node_image}";

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    registry_names(context, report);
    dockerfiles(context, report);
    built_images(context, report);
    for rendered in &context.rendered {
        let pods = rendered.objects.iter().filter_map(|object| object.pod());
        for container in pods.flat_map(|pod| pod.containers()) {
            manifest_image(container, context, report);
        }
    }
    for (path, documents) in context.tree.yaml("docker/").filter(|(path, _)| path.contains("compose")) {
        let images = documents.iter().flat_map(|root| root.get("services").map_or(&[][..], |node| node.entries()));
        for (service, node) in images {
            let Some(image) = node.get("image") else { continue };
            pinned((path, image.line), &format!("service {service}"), image.text().unwrap_or_default(), report);
        }
    }
}

/// Terraform's list is what its outputs name and what the first build waits for.
fn registry_names(context: &Context<'_>, report: &mut Report) {
    let Some((file, list)) = context.tree.local("terraform", "image_names") else {
        return;
    };
    let names: Vec<_> = list.literals().iter().map(|(name, _)| *name).collect();
    compare((file, list.line), "local.image_names", &names, context, report);
}

fn dockerfiles(context: &Context<'_>, report: &mut Report) {
    let folders: Vec<_> = context.tree.dockerfiles().filter_map(|(path, _)| path.split('/').nth(1)).collect();
    compare(("docker/build-and-push", 1), "docker/*/Dockerfile", &folders, context, report);
}

/// What Cloud Build builds, and what the script that it calls knows.
fn built_images(context: &Context<'_>, report: &mut Report) {
    for (path, documents) in context.tree.yaml("docker/cloudbuild.yaml") {
        let steps: Vec<_> = documents.iter().flat_map(|root| root.items_at("steps")).collect();
        let calls = |step: &&&crate::check::yaml::Node| {
            step.items_at("args").first().and_then(|word| word.text()) == Some("docker/build-and-push")
        };
        let built: Vec<_> =
            steps.iter().filter(calls).filter_map(|step| step.items_at("args").get(1)?.text()).collect();
        let line = steps.iter().find(calls).map_or(1, |step| step.line);
        compare((path, line), "the images that cloudbuild.yaml builds", &built, context, report);
        for step in steps.iter().filter(calls) {
            let (id, image) = (step.text_at("id"), step.items_at("args").get(1).and_then(|word| word.text()));
            if let (Some(id), Some(image)) = (id, image)
                && (id != image || !context.code.images().contains(&image))
            {
                let line = step.items_at("args").get(1).map_or(step.line, |word| word.line);
                report.add(
                    (path, line),
                    format!("step {id} builds {image}"),
                    format!("an image of its own name, one of {}", context.code.images().join(", ")),
                    "name step and image alike",
                );
            }
        }
    }
    for script in context.tree.under("docker/build-and-push") {
        let line = script.text.lines().find(|line| line.trim_end().ends_with(") ;;")).unwrap_or_default();
        let names: Vec<_> = line.trim().trim_end_matches(") ;;").split('|').map(str::trim).collect();
        compare((&script.path, script.line_of(") ;;")), "the images that the script knows", &names, context, report);
    }
}

fn compare(at: (&str, usize), whose: &str, names: &[&str], context: &Context<'_>, report: &mut Report) {
    let known = context.code.images();
    let (unknown, missing) = differences(names, &known);
    for name in unknown {
        let expected = format!("images of {}", known.join(", "));
        report.add(at, format!("{whose}: {name} is no image of ours"), expected, "correct or remove the name");
    }
    for name in missing {
        let expected = format!("all of {}", known.join(", "));
        report.add(at, format!("{whose}: {name} is missing"), expected, format!("add {name}"));
    }
}

fn manifest_image(container: Container<'_>, context: &Context<'_>, report: &mut Report) {
    let (image, at) = (container.image(), container.at("image"));
    if image == NODE_IMAGE {
        return;
    }
    if let Some(rest) = image.strip_prefix("${registry}/") {
        let (name, tag) = rest.split_once(':').unwrap_or((rest, ""));
        if !context.code.images().contains(&name) {
            report.add(
                at,
                format!("{} runs {image}, which nothing builds", container.title()),
                format!("one of {}", context.code.images().join(", ")),
                "correct the name, or add the image to docker/ and docker/cloudbuild.yaml",
            );
        }
        if tag != "${release}" {
            report.add(
                at,
                format!("{} runs the tag {tag:?}", container.title()),
                "${release}, the tag that Cloud Build pushes",
                "let the overlay's newTag be ${release}",
            );
        }
        return;
    }
    if context.code.in_image(container.image_name()).is_some() {
        report.add(
            at,
            format!("{} runs {image}", container.title()),
            "an image of ${registry}, where Cloud Build pushes it",
            "set newName in the overlay's images",
        );
        return;
    }
    pinned(at, &container.title(), image, report);
}

/// A tag that always means the same, or a digest.
pub(super) fn pinned(at: (&str, usize), whose: &str, image: &str, report: &mut Report) {
    let last = image.rsplit('/').next().unwrap_or(image);
    let tag = last.split_once(':').map_or("", |(_, tag)| tag);
    if image.contains("${") || image.contains("@sha256:") || image.contains('$') {
        return;
    }
    if tag.is_empty() || tag == "latest" {
        report.add(
            at,
            format!("{whose} uses {image}"),
            "a tag that always means the same build, or a digest",
            "name the version: never latest, never none",
        );
    }
}
