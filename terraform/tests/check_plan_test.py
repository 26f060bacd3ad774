#!/usr/bin/env python3
"""Shows that check_plan.py finds what it is there for: one thing is broken at a time, and each must be found.

usage: check_plan_test.py PLAN.json    (a plan without findings, of tests/four.tfvars)
"""

import copy
import json
import sys
import tempfile

from check_plan import check_destroy, check_planned, resources


def first(plan, kind, name=None):
    """The values of the first planned resource of a kind."""
    for resource in resources(plan["planned_values"]["root_module"]):
        if resource["type"] == kind and name in (None, resource["name"]):
            return resource["values"]
    raise LookupError(f"the plan has no {kind}")


def without(plan, service):
    for resource in resources(plan["planned_values"]["root_module"]):
        if resource["type"] == "google_project_service" and resource["values"]["service"] == service:
            resource["values"]["service"] = "other.googleapis.com"


def with_object(plan, item):
    values = first(plan, "helm_release", "publisher")
    values["values"] = [json.dumps({"objects": json.loads(values["values"][0])["objects"] + [item]})]


def added(plan, kind, values):
    plan["planned_values"]["root_module"].setdefault("resources", []).append({"address": f"{kind}.added", "type": kind, "name": "added", "values": values})


ROLE = {"kind": "Role", "metadata": {"name": "x"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]}

BREAKAGES = [
    ("deletion_protection is on", lambda plan: first(plan, "google_container_cluster").update(deletion_protection=True)),
    ("deletion_protection is not said to be off", lambda plan: first(plan, "google_container_cluster").pop("deletion_protection")),
    ("deletion_protection is not said to be off", lambda plan: first(plan, "google_secret_manager_secret").pop("deletion_protection")),
    ("deletion_policy is not", lambda plan: first(plan, "google_project").update(deletion_policy="PREVENT")),
    ("ABANDON", lambda plan: first(plan, "google_pubsub_topic").update(deletion_policy="ABANDON")),
    ("force_destroy is off", lambda plan: first(plan, "google_storage_bucket").update(force_destroy=False)),
    ("soft delete is on", lambda plan: first(plan, "google_storage_bucket").update(soft_delete_policy=[{"retention_duration_seconds": 604800}])),
    ("force_delete is off", lambda plan: first(plan, "google_monitoring_notification_channel").update(force_delete=False)),
    ("can never be deleted", lambda plan: added(plan, "google_kms_key_ring", {})),
    ("a secret in the state", lambda plan: added(plan, "google_secret_manager_secret_version", {})),
    ("a secret in the state", lambda plan: with_object(plan, {"kind": "Secret", "metadata": {"name": "x"}})),
    ("has a wildcard", lambda plan: with_object(plan, ROLE)),
    ("uses the tag latest", lambda plan: with_object(plan, {"kind": "Pod", "metadata": {"name": "x"}, "spec": {"image": "busybox:latest"}})),
    ("allUsers may do", lambda plan: first(plan, "google_storage_bucket_iam_member", "public").update(role="roles/storage.objectUser")),
    ("a role for everything", lambda plan: first(plan, "google_project_iam_member").update(role="roles/editor")),
    ("which no manifest has", lambda plan: first(plan, "google_secret_manager_secret_iam_member", "publisher").update(member="principal://x/subject/ns/polkashots/sa/publishr")),
    ("filter is", lambda plan: first(plan, "google_pubsub_subscription", "this").update(filter='attributes.target = "other"')),
    ("pubsub.googleapis.com is not switched on", lambda plan: without(plan, "pubsub.googleapis.com")),
    ("no API is known", lambda plan: added(plan, "google_unheard_of", {})),
]

# In the order in which they may go.
END = [
    'module.workloads.helm_release.target["a"]',
    "module.workloads.helm_release.publisher",
    'module.workloads.kubernetes_namespace_v1.this["a"]',
    "module.workloads.helm_release.cluster",
    "module.keda.helm_release.keda",
    "module.gke.google_container_node_pool.standard[0]",
    "module.gke.google_container_cluster.standard[0]",
    "module.network.google_compute_subnetwork.this",
]


def end_in_order(names):
    """What check_destroy finds in a destroy that took these one after the other."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as log:
        for name in names:
            log.write(f"{name}: Destroying... [id=x]\n{name}: Destruction complete after 0s\n")
        log.flush()
        return list(check_destroy(log.name))


def swapped(first, second):
    names = list(END)
    names[first], names[second] = names[second], names[first]
    return names


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        sound = json.load(file)
    missed = []
    for expected, breaks in BREAKAGES:
        plan = copy.deepcopy(sound)
        breaks(plan)
        findings = list(check_planned(plan))
        if not any(expected in finding for finding in findings):
            missed.append(f"not found: {expected} (found: {findings})")
    if end_in_order(END):
        missed.append(f"a good order of destroy is refused: {end_in_order(END)}")
    for first_index, second_index in ((0, 4), (1, 4), (0, 2), (2, 6), (2, 3), (4, 5), (6, 7)):
        if not end_in_order(swapped(first_index, second_index)):
            missed.append(f"not found: {END[second_index]} goes before {END[first_index]}")
    print("\n".join(missed) if missed else f"each of {len(BREAKAGES) + 7} breakages is found")
    sys.exit(1 if missed else 0)
