#!/usr/bin/env python3
"""Checks what Terraform says about one life of the project: its plan, the commands it ran, the order of its end.

usage: check_plan.py plan PLAN.json | gcloud LOG PLAN.json | destroy OUTPUT
Prints each finding and exits 1 when there is one.
"""

import json
import re
import sys


def resources(module):
    """Every planned resource of a module and of those in it."""
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from resources(child)


def strings(value, path=""):
    """Every string in a value, with its place."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from strings(inner, f"{path}[{index}]")


def objects(resource):
    """The Kubernetes objects that a helm release carries."""
    for values in resource["values"].get("values") or []:
        if values and values.startswith("{"):
            yield from json.loads(values).get("objects", [])


def stays(resource):
    """Why `destroy` would stop at a resource, or leave something of it."""
    kind, values = resource["type"], resource["values"]
    if values.get("deletion_protection"):
        return "deletion_protection is on"
    if kind in ("google_container_cluster", "google_secret_manager_secret") and values.get("deletion_protection") is not False:
        return "deletion_protection is not said to be off"
    if kind == "google_project" and values.get("deletion_policy") != "DELETE":
        return 'deletion_policy is not "DELETE"'
    if values.get("deletion_policy") in ("PREVENT", "ABANDON"):
        return f'deletion_policy is "{values["deletion_policy"]}"'
    if kind == "google_storage_bucket" and not values.get("force_destroy"):
        return "force_destroy is off: a bucket with objects stays"
    if kind == "google_storage_bucket" and values["soft_delete_policy"][0]["retention_duration_seconds"] != 0:
        return "soft delete is on: deleted snapshots are paid for"
    if kind == "google_monitoring_notification_channel" and not values.get("force_delete"):
        return "force_delete is off: a channel in use stays"
    if kind.startswith("google_kms_"):
        return "a key ring can never be deleted"
    return None


def leaks(resource):
    """What of a resource would put a secret into the state, or let in more than is meant."""
    kind, values = resource["type"], resource["values"]
    if kind in ("google_service_account_key", "google_secret_manager_secret_version", "google_storage_hmac_key", "kubernetes_secret_v1"):
        yield f"{kind} keeps a secret in the state"
    member = values.get("member", "")
    if member in ("allUsers", "allAuthenticatedUsers") and (kind, values.get("role")) != ("google_storage_bucket_iam_member", "roles/storage.objectViewer"):
        yield f"{member} may do {values.get('role')}"
    if values.get("role") in ("roles/owner", "roles/editor", "roles/viewer"):
        yield f"{values['role']} is a role for everything"
    for place, text in strings(values):
        if re.search(r":latest(@|$|\")", text):
            yield f"{place} uses the tag latest"
    for item in objects(resource):
        name = f"{item.get('kind')} {item.get('metadata', {}).get('name')}"
        if item.get("kind") == "Secret":
            yield f"{name} keeps a secret in the state"
        for rule in item.get("rules") or []:
            if any("*" in rule.get(part, []) for part in ("verbs", "resources", "apiGroups")):
                yield f"{name} has a wildcard"


def principals(found):
    """Grants to ServiceAccounts that no manifest has."""
    accounts = {
        (item["metadata"].get("namespace"), item["metadata"]["name"])
        for resource in found
        if resource["type"] == "helm_release"
        for item in objects(resource)
        if item.get("kind") == "ServiceAccount"
    }
    for resource in found:
        match = re.search(r"/subject/ns/([^/]+)/sa/([^/]+)$", resource["values"].get("member") or "")
        if match and match.group(1) != "keda" and match.groups() not in accounts:
            yield f"{resource['address']}: grants to ServiceAccount {match.group(2)} of namespace {match.group(1)}, which no manifest has"


def filters(found):
    """Subscriptions that would get another target's messages, or none."""
    for resource in found:
        if resource["type"] != "google_pubsub_subscription" or resource["name"] == "dead_letters":
            continue
        name = resource["values"]["name"].split(".")
        target = name[2] if len(name) == 3 else None
        expected = None if target is None else f'attributes.target = "{target}"'
        if resource["values"].get("filter") != expected:
            yield f"{resource['address']}: filter is {resource['values'].get('filter')!r}, expected {expected!r}"


# The API that a kind of resource is made through, by the beginning of its name; the longest that fits counts.
APIS = {
    "google_artifact_registry_": "artifactregistry",
    "google_billing_budget": "billingbudgets",
    "google_cloud_scheduler_": "cloudscheduler",
    "google_cloudbuild": "cloudbuild",
    "google_compute_": "compute",
    "google_container_": "container",
    "google_firebase_": "firebase",
    "google_firebase_hosting_": "firebasehosting",
    "google_logging_": "logging",
    "google_monitoring_": "monitoring",
    "google_project": "cloudresourcemanager",
    "google_project_service": "serviceusage",
    "google_pubsub_": "pubsub",
    "google_secret_manager_": "secretmanager",
    "google_service_account": "iam",
    "google_storage_": "storage",
}


def apis(found):
    """Resources whose API nobody switches on."""
    on = {resource["values"]["service"] for resource in found if resource["type"] == "google_project_service"}
    for kind in sorted({resource["type"] for resource in found if resource["type"].startswith("google_")}):
        fits = [prefix for prefix in APIS if kind.startswith(prefix)]
        if not fits:
            yield f"{kind}: no API is known for it; add it to APIS in {__file__}"
        elif f"{APIS[max(fits, key=len)]}.googleapis.com" not in on:
            yield f"{kind}: {APIS[max(fits, key=len)]}.googleapis.com is not switched on; add it to modules/project"


def check_plan(path):
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    yield from check_planned(plan)


def check_planned(plan):
    found = list(resources(plan["planned_values"]["root_module"]))
    for resource in found:
        reason = stays(resource)
        if reason:
            yield f"{resource['address']}: {reason}"
        yield from (f"{resource['address']}: {leak}" for leak in leaks(resource))
    yield from principals(found)
    yield from filters(found)
    yield from apis(found)


def check_gcloud(log, plan):
    with open(log, encoding="utf-8") as file:
        calls = file.read().splitlines()
    with open(plan, encoding="utf-8") as file:
        variables = json.load(file)["variables"]
    builds = [call for call in calls if call.startswith("builds submit")]
    if len(builds) != 1:
        yield f"expected one build, found {len(builds)}"
    release = variables["release"]["value"]
    for build in builds:
        for part in ("--service-account ", "--gcs-source-staging-dir gs://", f"_RELEASE={release}"):
            if part not in build:
                yield f"the build lacks {part.strip()}: {build}"
    key = variables["signing"]["value"].get("secret_key_file")
    added = [call for call in calls if call.startswith("secrets versions add")]
    if len(added) != (1 if key else 0):
        yield f"expected {1 if key else 0} secret key to be put in, found {added}"


def check_destroy(path):
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    begun = {line.split(": Destroying...")[0]: at for at, line in enumerate(lines) if ": Destroying..." in line}
    done = {line.split(": Destruction complete")[0]: at for at, line in enumerate(lines) if ": Destruction complete" in line}

    def order(first, then, why):
        for a in (name for name in begun if first in name):
            for b in (name for name in begun if then in name):
                if done.get(a, len(lines)) > begun[b]:
                    yield f"{b} began to go before {a} was gone: {why}"

    yield from order("helm_release.target", "keda.helm_release.keda", "nobody takes KEDA's finalizers off")
    yield from order("helm_release.publisher", "keda.helm_release.keda", "nobody takes KEDA's finalizers off")
    yield from order("helm_release.target", "workloads.kubernetes_namespace", "objects are taken away by their release")
    yield from order("workloads.kubernetes_namespace", "google_container_cluster", "nobody deletes the disks behind claims")
    yield from order("workloads.kubernetes_namespace", "helm_release.cluster", "a volume snapshot is deleted by its class's driver")
    yield from order("helm_release", "google_container_node_pool", "charts' hooks need a node")
    yield from order("google_container_cluster", "google_compute_subnetwork", "a network in use stays")
    yield from order("google_container_cluster", "google_compute_router_nat", "nodes report their end through it")


CHECKS = {"plan": check_plan, "gcloud": check_gcloud, "destroy": check_destroy}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in CHECKS:
        sys.exit(__doc__)
    findings = list(CHECKS[sys.argv[1]](*sys.argv[2:]))
    for finding in findings:
        print(finding, file=sys.stderr)
    sys.exit(1 if findings else 0)
