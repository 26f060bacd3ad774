# What a month costs, roughly. No resource: arithmetic on list prices, so that a host sees the bill before making it.

variable "prices" {
  type = object({
    cluster_hour            = number
    autopilot_vcpu_hour     = number
    autopilot_gib_hour      = number
    standard_node_hour      = number
    disk_gib_month          = number
    volume_snapshot_gib_day = number
    archive_gib_month       = number
    nat_hour                = number
    nat_gib                 = number
    egress_gib              = number
  })
}

variable "cluster" {
  type = object({
    mode      = string
    min_nodes = number
  })
}

variable "gcs" {
  description = "False: snapshots lie in somebody else's store and are not on this bill."
  type        = bool
}

variable "targets" {
  type = map(object({
    cpu             = string
    memory          = string
    disk_size_gb    = number
    archive_size_gb = number
    period_hours    = number
    keep            = number
    grace_hours     = number
    paused          = bool
  }))
}

locals {
  hours = 730

  # Kubernetes' quantities as numbers: 500m and 2 are CPUs, 8Gi and 512Mi are memory.
  cpus = { for id, target in var.targets : id => endswith(target.cpu, "m") ? tonumber(trimsuffix(target.cpu, "m")) / 1000 : tonumber(target.cpu) }
  gibs = { for id, target in var.targets : id => endswith(target.memory, "Mi") ? tonumber(trimsuffix(target.memory, "Mi")) / 1024 : tonumber(trimsuffix(target.memory, "Gi")) }

  # A run holds a copy of the volume and a pod of 2 CPUs and 2 GiB at about 100 MB of database a second.
  run_hours = { for id, target in var.targets : id => min(target.period_hours, 0.5 + target.disk_size_gb / 360) }
  runs      = { for id, target in var.targets : id => target.paused ? 0 : local.hours / target.period_hours }

  autopilot = var.cluster.mode == "autopilot"
  nodes = {
    for id in keys(var.targets) : id =>
    local.autopilot ? local.hours * (local.cpus[id] * var.prices.autopilot_vcpu_hour + local.gibs[id] * var.prices.autopilot_gib_hour) : 0
  }
  workers = {
    for id in keys(var.targets) : id =>
    local.autopilot ? local.runs[id] * local.run_hours[id] * 2 * (var.prices.autopilot_vcpu_hour + var.prices.autopilot_gib_hour) : 0
  }
  disks = {
    for id, target in var.targets : id =>
    target.disk_size_gb * (var.prices.disk_gib_month * (1 + local.runs[id] * local.run_hours[id] / local.hours) + var.prices.volume_snapshot_gib_day * local.runs[id] * local.run_hours[id] / 24)
  }
  archive = {
    for id, target in var.targets : id =>
    var.gcs ? target.archive_size_gb * (target.keep + target.grace_hours / target.period_hours) * var.prices.archive_gib_month : 0
  }
  of_targets = { for id in keys(var.targets) : id => local.nodes[id] + local.workers[id] + local.disks[id] + local.archive[id] }

  # A node talks to its peers at about 150 GiB a month, through the NAT.
  network = local.hours * var.prices.nat_hour * length(var.targets) + 150 * var.prices.nat_gib * length(var.targets)
  cluster = local.hours * var.prices.cluster_hour + (local.autopilot ? 0 : local.hours * var.prices.standard_node_hour * max(var.cluster.min_nodes, ceil(sum(values(local.cpus)) / 7)))
}

output "monthly_cost" {
  value = {
    currency            = "USD"
    cluster             = floor(local.cluster)
    network             = floor(local.network)
    targets             = { for id, cost in local.of_targets : id => floor(cost) }
    total               = ceil(local.cluster + local.network + sum(values(local.of_targets)))
    egress_per_download = { for id, target in var.targets : id => var.gcs ? floor(target.archive_size_gb * var.prices.egress_gib * 100) / 100 : 0 }
  }
}
