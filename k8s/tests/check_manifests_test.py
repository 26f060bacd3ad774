#!/usr/bin/env python3
"""Breaks a rendered overlay in one place at a time and expects check_manifests.py to find each.

usage: check_manifests_test.py VERSION CRDS FILE    (FILE: what Kustomize made of a target's overlay)
"""

import copy
import pathlib
import sys

import yaml

import check_manifests

JOB = "spec.jobTargetRef.template.spec"
# Kind and name, where, what is put there (None: taken away), words of the finding.
BREAKAGES = [
    (("StatefulSet", "node"), "spec.replica", 1, "replica"),
    (("StatefulSet", "node"), "spec.replicas", "one", "'one'"),
    (("StatefulSet", "node"), "spec.template.spec.containers.0.livenessProbe.httpget", {}, "httpget"),
    (("StatefulSet", "node"), "spec.template.spec.containers.0.securityContext.readOnlyRootFilesystem", False, "writable"),
    (("StatefulSet", "node"), "spec.template.spec.containers.0.resources.requests.ephemeral-storage", None, "requests no ephemeral-storage"),
    (("StatefulSet", "node"), "spec.template.spec.initContainers.0.securityContext.capabilities", None, "capabilities"),
    (("StatefulSet", "node"), "spec.template.spec.securityContext.runAsNonRoot", None, "root"),
    (("StatefulSet", "node"), "spec.template.spec.containers.0.image", "docker.io/parity/polkadot:latest", "no tag of its own"),
    (("StatefulSet", "node"), "spec.template.spec.volumes.0", {"name": "tmp", "hostPath": {"path": "/tmp"}}, "hostPath"),
    (("StatefulSet", "node"), "spec.template.spec.hostNetwork", True, "hostNetwork"),
    (("ScaledJob", "snapshotter"), "spec.scalingStrategy.strategi", "default", "strategi"),
    (("ScaledJob", "snapshotter"), f"{JOB}.containers.0.volumeMount", [], "volumeMount"),
    (("ScaledJob", "snapshotter"), f"{JOB}.volumes.1.emptyDir", {}, "sizeLimit"),
    (("ScaledJob", "snapshotter"), "apiVersion", "keda.sh/v1beta1", "served neither"),
    (("ScaledJob", "engine"), "spec.triggers.0.type", "gcp-pub-sub", "no scaler"),
    (("ScaledJob", "engine"), "spec.triggers.0.metadata.subscription", "a", "knows no subscription"),
    (("ScaledJob", "engine"), "spec.triggers.0.metadata.value", 1, "expected text"),
    (("ScaledJob", "engine"), "spec.maxReplicaCount", "1", "'1'"),
    (("NetworkPolicy", "default-deny"), "spec.podselector", {}, "podselector"),
    (("Role", "engine"), "rules.0.verb", ["get"], "verb"),
    (("PodDisruptionBudget", "node"), "apiVersion", "policy/v1beta1", "served neither"),
]


def broken(items, who, place, value):
    made = copy.deepcopy(next(item for item in items if (item["kind"], item["metadata"]["name"]) == who))
    node, keys = made, [int(key) if key.isdigit() else key for key in place.split(".")]
    for key in keys[:-1]:
        node = node[key]
    if value is None:
        del node[keys[-1]]
    else:
        node[keys[-1]] = value
    return made


def main(version, crds, path):
    items = [item for _, item in check_manifests.load(path)]
    customs = check_manifests.custom_schemas(crds)
    listed = yaml.safe_load((pathlib.Path(crds) / "keda-scalers-schema.yaml").read_text(encoding="utf-8"))
    scalers = {scaler["type"]: scaler["parameters"] for scaler in listed["scalers"]}
    missed = 0
    for who, place, value, words in BREAKAGES:
        item = broken(items, who, place, value)
        found = [
            *check_manifests.schema_findings(item, version, customs),
            *check_manifests.trigger_findings(item, scalers),
            *check_manifests.pod_findings(item),
        ]
        if not any(words in finding for finding in found):
            print(f"not found: {who} {place} = {value!r}: expected a finding with {words!r}, got {found}", file=sys.stderr)
            missed += 1
    print(f"{len(BREAKAGES) - missed} of {len(BREAKAGES)} breakages are found")
    return 1 if missed else 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
