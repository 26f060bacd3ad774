#!/usr/bin/env python3
"""Checks manifests without a cluster: core kinds strictly by Kubernetes' schemas, custom ones strictly by their CRDs, pods by
the restricted profile of Pod Security; and writes what an API server of Kubernetes 1.20 can take of them.

usage: check_manifests.py VERSION CRDS OUT FILE...
    VERSION  of Kubernetes, whose schemas are used, as in 1.33
    CRDS     a folder with CustomResourceDefinitions
    OUT      a folder for crds.yaml, namespaces.yaml, objects.yaml
    FILE     what Kustomize made of one overlay; in gke-* ${placeholders} are filled in from values.json
Prints each finding, says what 1.20 cannot know, exits 1 when there is a finding.
"""

import functools
import json
import pathlib
import re
import sys

import jsonschema
import kubernetes_validate
import yaml

# It reads a megabyte of definitions for every object otherwise.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)

HERE = pathlib.Path(__file__).parent
# Kinds whose schema is nowhere here; each with the reason.
UNKNOWN = {("secrets-store.csi.x-k8s.io/v1", "SecretProviderClass"): "GKE's Secret Manager add-on brings its CRD"}
# Served by 1.20 under another version, with the same fields as far as they are used here.
OLDER = {("policy/v1", "PodDisruptionBudget"): "policy/v1beta1", ("batch/v1", "CronJob"): "batch/v1beta1"}
UNSEEN = [
    "policy/v1 PodDisruptionBudget and batch/v1 CronJob (applied as v1beta1)",
    "Pod Security admission (checked here by the restricted profile's rules)",
    "rules in CEL and empty defaults in KEDA's CRDs (left out; types and fields are checked)",
    "SecretProviderClass (no CRD here; not applied)",
    "the label kubernetes.io/metadata.name that 1.21 gives every namespace, which a NetworkPolicy selects by",
]


def load(path):
    """All objects of a rendered overlay, each named as a finding names it."""
    values = json.loads((HERE / "values.json").read_text(encoding="utf-8"))
    values = {**values, **{key: pathlib.Path(path).stem for key in ("target", "namespace")}}

    def value(match):
        if match.group(1) not in values:
            raise SystemExit(f"{path}: ${{{match.group(1)}}} is in no table: see terraform/modules/workloads/README.md")
        return values[match.group(1)]

    def fill(node):
        if isinstance(node, dict):
            return {key: fill(inner) for key, inner in node.items()}
        if isinstance(node, list):
            return [fill(inner) for inner in node]
        return re.sub(r"\$\{(\w+)\}", value, node) if isinstance(node, str) else node

    is_template = pathlib.Path(path).stem.startswith("gke-")
    for item in yaml.safe_load_all(pathlib.Path(path).read_text(encoding="utf-8")):
        if item:
            yield f"{pathlib.Path(path).stem}: {item['kind']} {item['metadata']['name']}", fill(item) if is_template else item


def strict(schema):
    """The same schema, in which an object has no fields but those that are named."""
    if isinstance(schema, list):
        return [strict(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(inner) for key, inner in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_ended:
        made["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return made


def custom_schemas(crds):
    """Schema by apiVersion and kind, of versions that are served."""
    found = {}
    for path in sorted(pathlib.Path(crds).glob("*.yaml")):
        crd = yaml.safe_load(path.read_text(encoding="utf-8"))
        if crd.get("kind") != "CustomResourceDefinition":
            continue
        for version in crd["spec"]["versions"]:
            if version["served"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}
                key = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
                found[key] = jsonschema.Draft202012Validator(schema)
    return found


def schema_findings(item, version, customs):
    key = (item["apiVersion"], item["kind"])
    if key in UNKNOWN:
        return
    if key in customs:
        for error in customs[key].iter_errors(item):
            yield f"{error.json_path}: {error.message[:300]}"
        return
    try:
        kubernetes_validate.validate(item, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message[:300]}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"{item['apiVersion']} is served neither by Kubernetes {version} nor by a CRD"


def trigger_findings(item, scalers):
    """The CRD leaves a trigger's metadata untyped; KEDA's list of its scalers does not."""
    if item["kind"] != "ScaledJob":
        return
    for trigger in item["spec"]["triggers"]:
        known = scalers.get(trigger["type"])
        if known is None:
            yield f"there is no scaler {trigger['type']}"
            continue
        given = trigger["metadata"]
        names = {parameter["name"]: parameter for parameter in known}
        readable = set(names) | {name + "FromEnv" for name, parameter in names.items() if parameter.get("envVariableReadable")}
        yield from (f"{trigger['type']} knows no {key}, but {', '.join(sorted(readable))}" for key in given if key not in readable)
        for name, parameter in names.items():
            if not parameter.get("optional") and "default" not in parameter and not {name, name + "FromEnv"} & set(given):
                yield f"{trigger['type']} needs {name}"
        yield from (f"{trigger['type']}: {key} is {value!r}, expected text" for key, value in given.items() if not isinstance(value, str))


def pod_spec(item):
    spec = item.get("spec", {})
    spec = spec.get("jobTargetRef", spec.get("jobTemplate", {}).get("spec", spec))
    return spec.get("template", {}).get("spec")


VOLUMES = {"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def pod_findings(item):
    """The restricted profile of Pod Security, and what we ask beyond it: a read-only root, limits, a bounded scratch space."""
    pod = pod_spec(item)
    if pod is None:
        return
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "the pod may run as root: expected runAsNonRoot and a runAsUser"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "expected seccompProfile RuntimeDefault"
    yield from (f"the pod has {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
    for volume in pod.get("volumes", []):
        yield from (f"volume {volume['name']}: {key} is not allowed" for key in volume if key not in VOLUMES)
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
            yield f"volume {volume['name']} has no sizeLimit"
    for container in pod.get("initContainers", []) + pod["containers"]:
        yield from (f"container {container['name']}: {finding}" for finding in container_findings(container))


def container_findings(container):
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "capabilities are not dropped"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "the root filesystem is writable"
    resources = container.get("resources", {})
    for part in ("cpu", "memory", "ephemeral-storage"):
        if part not in resources.get("requests", {}):
            yield f"requests no {part}"
    for part in ("memory", "ephemeral-storage"):
        if part not in resources.get("limits", {}):
            yield f"has no limit of {part}"
    if not re.search(r":[\w][\w.-]*(@sha256:[0-9a-f]{64})?$", container["image"]) or ":latest" in container["image"]:
        yield f"image {container['image']} has no tag of its own"


def for_1_20(schema):
    """The same schema without rules in CEL and without empty defaults, which 1.20 takes for null and refuses."""
    if isinstance(schema, list):
        return [for_1_20(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = {"x-kubernetes-validations"} | ({"default"} if schema.get("default") == "" else set())
    made = {}
    for key, value in schema.items():
        if key == "properties":
            made[key] = {name: for_1_20(inner) for name, inner in value.items()}
        elif key not in dropped:
            made[key] = for_1_20(value)
    # A list's key must have a default or be required.
    for key in schema.get("x-kubernetes-list-map-keys", []):
        items = made["items"]
        if "default" not in items["properties"][key] and key not in items.get("required", []):
            items["required"] = [*items.get("required", []), key]
    return made


def of_its_own(item, path):
    """An object of the whole cluster under a name of its overlay's: overlays that exclude each other meet on one server."""
    if item["kind"] == "Namespace":
        return item
    return {**item, "metadata": {**item["metadata"], "name": f"{item['metadata']['name']}-{pathlib.Path(path).stem}"}}


def write_for_1_20(out, crds, items):
    definitions = []
    for path in sorted(pathlib.Path(crds).glob("*.yaml")):
        crd = yaml.safe_load(path.read_text(encoding="utf-8"))
        if crd.get("kind") == "CustomResourceDefinition":
            for version in crd["spec"]["versions"]:
                version["schema"]["openAPIV3Schema"] = for_1_20(version["schema"]["openAPIV3Schema"])
            definitions.append(crd)
    namespaces = sorted({item["metadata"]["namespace"] for item in items if "namespace" in item["metadata"]})
    named = {item["metadata"]["name"]: item for item in items if item["kind"] == "Namespace"}
    spaces = [named.get(name, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}) for name in namespaces]
    objects = [item for item in items if item["kind"] != "Namespace" and (item["apiVersion"], item["kind"]) not in UNKNOWN]
    objects = [{**item, "apiVersion": OLDER.get((item["apiVersion"], item["kind"]), item["apiVersion"])} for item in objects]
    for name, documents in (("crds", definitions), ("namespaces", spaces), ("objects", objects)):
        # JSON is YAML, and is read and written many times faster.
        text = {"apiVersion": "v1", "kind": "List", "items": documents}
        (pathlib.Path(out) / f"{name}.json").write_text(json.dumps(text), encoding="utf-8")
    return len(objects), len(spaces)


def main(version, crds, out, files):
    customs = custom_schemas(crds)
    listed = yaml.safe_load((pathlib.Path(crds) / "keda-scalers-schema.yaml").read_text(encoding="utf-8"))
    scalers = {scaler["type"]: scaler["parameters"] for scaler in listed["scalers"]}
    findings, items = [], []
    for path in files:
        for name, item in load(path):
            items.append(item if "namespace" in item["metadata"] else of_its_own(item, path))
            found = [*schema_findings(item, version, customs), *trigger_findings(item, scalers), *pod_findings(item)]
            findings += [f"{name}: {finding}" for finding in found]
    for finding in findings:
        print(finding, file=sys.stderr)
    objects, spaces = write_for_1_20(out, crds, items)
    print(f"{len(files)} overlays, {len(items)} objects checked; {objects} of them and {spaces} namespaces for the API server")
    print("what Kubernetes 1.20 cannot know:")
    print("\n".join(f"  - {line}" for line in UNSEEN))
    return 1 if findings else 0


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
