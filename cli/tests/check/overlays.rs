//! What Kustomize makes of every overlay has no inconsistency, and a breakage of it is found.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use polkashots::check::{Code, Finding, Tree, check_overlay};
use polkashots_shared::testkit::skip::{program_or_skip, report};

use crate::top;

/// Overlay, old text, new text, what must be found, and a part of the line where it must be.
const BREAKAGES: [(&str, &str, &str, &str, &str); 8] = [
    (
        "dot-paritydb",
        "name: POLKASHOTS_CLAIM_DIR",
        "name: POLKASHOTS_CLAIM_FOLDER",
        "does not know",
        "POLKASHOTS_CLAIM_FOLDER",
    ),
    ("dot-paritydb", "maxReplicaCount: 1", "maxReplicaCount: 2", "maxReplicaCount is 2", "maxReplicaCount: 2"),
    ("ksm-rocksdb", "  - watch\n- apiGroups", "  - update\n  - watch\n- apiGroups", "may update", "verbs:"),
    ("ksm-paritydb", "activationValue: \"0\"", "activationValue: \"1\"", "activationValue is 1", "activationValue"),
    (
        "generic-chain",
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        "readOnlyRootFilesystem",
        "readOnlyRootFilesystem: false",
    ),
    ("local", "serviceAccountName: publisher", "serviceAccountName: publishers", "which is not there", "publishers"),
    ("local", "desiredReplicas: \"1\"", "desiredReplica: \"1\"", "has no key desiredReplica", "desiredReplica: "),
    ("publisher", "- --one-shot", "- --one-shots", "does not know", "--one-shots"),
];

/// Every overlay but those of `gke/`, which are checked in as rendered.
fn overlays() -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(top().join("k8s/overlays"))?.map(|entry| Ok(entry?.path()));
    let folders: Vec<PathBuf> = entries.collect::<Result<_>>()?;
    Ok(folders.into_iter().filter(|folder| folder.join("kustomization.yaml").is_file()).collect())
}

fn kustomize(folder: &Path) -> Result<String> {
    let output = Command::new("kubectl").arg("kustomize").arg(folder).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl kustomize {}: {said}", folder.display());
    Ok(String::from_utf8(output.stdout)?)
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn listed(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_overlay_has_an_inconsistency() -> Result<()> {
    let Some(_kubectl) = program_or_skip("no_overlay_has_an_inconsistency", "kubectl") else { return Ok(()) };
    let (tree, code, overlays) = (Tree::read(&top())?, Code::declared(), overlays()?);
    ensure!(overlays.len() >= 9, "only {} overlays", overlays.len());
    let mut findings = Vec::new();
    for folder in &overlays {
        findings.extend(check_overlay(&name(folder), kustomize(folder)?, &tree, &code));
    }
    ensure!(findings.is_empty(), "{} findings:\n{}", findings.len(), listed(&findings));
    report(&format!("{} overlays without an inconsistency", overlays.len()));
    Ok(())
}

#[test]
fn a_breakage_of_an_overlay_is_found_at_its_line() -> Result<()> {
    let Some(_kubectl) = program_or_skip("a_breakage_of_an_overlay_is_found_at_its_line", "kubectl") else {
        return Ok(());
    };
    let (tree, code) = (Tree::read(&top())?, Code::declared());
    for (overlay, old, new, finds, at) in BREAKAGES {
        let yaml = kustomize(&top().join("k8s/overlays").join(overlay))?;
        ensure!(yaml.contains(old), "no {old:?} in {overlay} any more: write it anew");
        let broken = yaml.replacen(old, new, 1);
        let findings = check_overlay(overlay, broken.clone(), &tree, &code);
        let line = |finding: &Finding| broken.lines().nth(finding.line - 1).unwrap_or_default();
        let found = findings.iter().any(|finding| finding.what.contains(finds) && line(finding).contains(at));
        ensure!(found, "{overlay}: {old:?} -> {new:?}: expected {finds:?} at {at:?}, found\n{}", listed(&findings));
    }
    Ok(())
}
