# Namespaces and what runs in them.
#
# The manifests are Kustomize's: script/render-k8s writes what `kubectl kustomize` makes of k8s/overlays/gke/* into
# k8s/rendered/, and a check fails when the two differ. A rendered file is an ordinary manifest whose values may hold
# ${placeholders}; here they are filled in and the objects handed to helm as the values of a chart that only prints them.
#
# Why so, and not otherwise:
# - kubernetes_manifest asks the API server at plan time: no plan without a cluster, so no single apply;
# - `kubectl apply -k` in a build step or a provisioner leaves everything behind on `destroy`, and shows nothing in a plan;
# - with helm the plan of an empty project works, a plan's diff shows what changes, `destroy` removes it, an object that
#   leaves the manifests leaves the cluster, and nobody needs kustomize installed.

locals {
  files = {
    cluster   = "${var.rendered}/cluster.yaml"
    target    = "${var.rendered}/target-${var.variant.store}-${var.variant.trigger}.yaml"
    blocks    = "${var.rendered}/target-${var.variant.store}-${var.variant.trigger}-blocks.yaml"
    publisher = "${var.rendered}/publisher-${var.variant.store}-${var.variant.trigger}.yaml"
  }

  # As JSON the placeholders stand inside JSON strings whatever YAML's quoting was, so filling them in needs no care
  # beyond escaping the values as JSON.
  templates = {
    for name, path in local.files : name =>
    "[${join(",", [for document in split("\n---\n", file(path)) : jsonencode(yamldecode(document)) if trimspace(document) != ""])}]"
  }
  cluster_template   = local.templates["cluster"]
  target_template    = local.templates["target"]
  blocks_template    = local.templates["blocks"]
  publisher_template = local.templates["publisher"]

  # Of the settings and of one target; each escaped, without the quotes around it.
  of_target = {
    for id, target in var.targets : id => merge(var.settings, {
      target        = id
      chain         = target.chain
      chain_id      = target.chain_id
      database      = target.database
      pruning       = target.pruning
      permalink     = target.permalink
      disk_size     = "${target.disk_size_gb}Gi"
      node_image    = target.node_image
      node_cpu      = target.node.cpu
      node_memory   = target.node.memory
      node_binary   = target.node.binary
      bootstrap_url = target.bootstrap_url == null ? "" : target.bootstrap_url
      bootstrap_key = coalesce(target.bootstrap_key, var.settings.public_key)
      # A warp sync leaves out the states that an archive is for.
      sync = can(tonumber(target.pruning)) ? "warp" : "full"
      # Its workers know no other target: an engine sweeps the namespaces of all that it knows, and may see only its own.
      targets_json = "[${var.target_json[id]}]"
    })
  }
  of_publisher = merge(var.settings, { namespace = var.publisher_space, targets_json = "[${join(",", values(var.target_json))}]" })

  escaped_targets   = { for id, values in local.of_target : id => { for key, value in values : key => trimsuffix(trimprefix(jsonencode(value), "\""), "\"") } }
  escaped_publisher = { for key, value in local.of_publisher : key => trimsuffix(trimprefix(jsonencode(value), "\""), "\"") }

  # With blocks.zst the snapshotter runs the chain's own node, on a claim that it may write to; without, it may not.
  filled = {
    for id, target in var.targets : id => contains(target.formats, "blocks.zst") ? (
      templatestring(local.blocks_template, local.escaped_targets[id])
      ) : (
      templatestring(local.target_template, local.escaped_targets[id])
    )
  }

  # How many keys there were before is the host's history, so no manifest can say it. The publisher's pod mounts the one
  # and reads its variables from the other, if they are there.
  old_key_files = { for index, key in var.old_public_keys : "${index}.pub" => "untrusted comment: a key of before a rotation\n${key}\n" }
  old_keys = length(var.old_public_keys) == 0 ? [] : [
    jsonencode({
      apiVersion = "v1"
      kind       = "ConfigMap"
      metadata   = { name = "old-public-keys", namespace = var.publisher_space }
      data       = local.old_key_files
    }),
    jsonencode({
      apiVersion = "v1"
      kind       = "ConfigMap"
      metadata   = { name = "publisher-extra", namespace = var.publisher_space }
      data       = { POLKASHOTS_OLD_PUBLIC_KEYS = join(",", [for file in keys(local.old_key_files) : "/etc/polkashots/old-keys/${file}"]) }
    }),
  ]

  chart = "${path.module}/chart"

  # What the restricted profile of Pod Security asks is asked of every pod.
  namespace_labels = {
    "app.kubernetes.io/part-of"          = "polkashots"
    "pod-security.kubernetes.io/enforce" = "restricted"
    "pod-security.kubernetes.io/warn"    = "restricted"
  }
}

# Storage and snapshot classes, priorities: of the cluster, so apart from the namespaces and gone after them.
resource "helm_release" "cluster" {
  name      = "polkashots-cluster"
  namespace = "default"
  chart     = local.chart
  values    = [jsonencode({ objects = jsondecode(templatestring(local.cluster_template, local.escaped_publisher)) })]
}

resource "kubernetes_namespace_v1" "this" {
  for_each   = toset(concat(keys(var.targets), [var.publisher_space]))
  depends_on = [helm_release.cluster]

  metadata {
    name   = each.key
    labels = local.namespace_labels
  }

  # Its claims and volume snapshots go with it, and the disks behind them: that takes minutes.
  timeouts {
    delete = "30m"
  }
}

resource "helm_release" "target" {
  for_each = var.targets

  name      = "polkashots"
  namespace = kubernetes_namespace_v1.this[each.key].metadata[0].name
  chart     = local.chart
  values    = [jsonencode({ objects = jsondecode(local.filled[each.key]) })]

  # A node that first fills its volume from a snapshot is ready after an hour or more; every other one in minutes.
  wait    = each.value.bootstrap_url == null
  timeout = 1800
}

resource "helm_release" "publisher" {
  name      = "polkashots"
  namespace = kubernetes_namespace_v1.this[var.publisher_space].metadata[0].name
  chart     = local.chart
  values    = [jsonencode({ objects = concat(jsondecode(templatestring(local.publisher_template, local.escaped_publisher)), [for object in local.old_keys : jsondecode(object)]) })]
  timeout   = 900
}

output "namespaces" {
  value = { for name, namespace in kubernetes_namespace_v1.this : name => namespace.metadata[0].name }
}
