//! `polkashots check`: terraform, manifests, images and the binaries' own settings against each other.

mod code;
mod command;
mod declared;
mod dockerfile;
mod finding;
mod hcl;
mod objects;
mod plan;
mod rules;
mod strict;
mod tree;
mod yaml;

pub use self::code::{Binary, Code, Permission, Setting, Topic};
pub use self::command::{CheckArgs, run};
pub use self::finding::Finding;
pub use self::plan::{Plan, PlanError};
pub use self::tree::{Tree, TreeError};

/// Checks what Kustomize makes of an overlay, which is filled in by hand: it says where what was found is in `yaml`, as `name`.
pub fn check_overlay(name: &str, yaml: String, tree: &Tree, code: &Code) -> Vec<Finding> {
    let (mut report, mut tree) = (finding::Report::default(), tree.clone());
    // By its ending a file is known to be YAML; beside the sources no other file has this name.
    let file = format!("{name}#kustomized.yaml");
    tree.put(&file, yaml);
    tree.broken(&mut report);
    rules::apply_to_overlay(&tree, &file, code, &mut report);
    report.into_findings()
}

/// Compares everything with everything; what is found is sorted by file and line.
pub fn check(tree: &Tree, code: &Code) -> Vec<Finding> {
    let mut report = finding::Report::default();
    tree.broken(&mut report);
    rules::apply(tree, code, &mut report);
    report.into_findings()
}
