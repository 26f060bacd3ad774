//! What is compared with what: one file per subject.

mod build;
mod cloud;
mod images;
mod keda;
mod names;
mod network;
mod permissions;
mod pods;
mod pubsub;
mod schemas;
mod secrets;
mod settings;
mod storage;

use super::code::Code;
use super::finding::Report;
use super::objects::{self, Object, Rendered};
use super::tree::Tree;

/// What every rule looks at.
pub(super) struct Context<'a> {
    tree: &'a Tree,
    code: &'a Code,
    /// What is applied.
    rendered: Vec<Rendered<'a>>,
    /// What is applied, and what it is made of.
    objects: Vec<Object<'a>>,
}

/// Applies every rule.
pub(super) fn apply(tree: &Tree, code: &Code, report: &mut Report) {
    let context = Context { tree, code, rendered: objects::rendered(tree), objects: objects::whole(tree) };
    for rule in [
        build::rule,
        cloud::rule,
        images::rule,
        keda::rule,
        names::rule,
        network::rule,
        permissions::rule,
        pods::rule,
        pubsub::rule,
        schemas::rule,
        secrets::rule,
        settings::rule,
        storage::rule,
    ] {
        rule(&context, report);
    }
}

/// Applies the rules that need nothing but what Kustomize makes of an overlay in `file`, and the images.
pub(super) fn apply_to_overlay(tree: &Tree, file: &str, code: &Code, report: &mut Report) {
    let objects = objects::of_file(tree, file);
    let context = Context { tree, code, rendered: objects::by_namespace(&objects), objects };
    for rule in [
        keda::of_manifests,
        network::rule,
        permissions::of_manifests,
        pods::rule,
        schemas::rule,
        secrets::rule,
        settings::of_manifests,
    ] {
        rule(&context, report);
    }
}

/// What is in `found` and not in `known`, and the other way round.
fn differences<'a>(found: &[&'a str], known: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let lacks = |of: &[&'a str], other: &[&'a str]| of.iter().filter(|name| !other.contains(name)).copied().collect();
    (lacks(found, known), lacks(known, found))
}
