# The cluster. Two resources, not one with conditions: most arguments of the one are refused by the other.

locals {
  autopilot = var.cluster.mode == "autopilot"
  # A disk lies in one zone, so a standard pool in one zone never has a node where a claim's disk is not.
  zone     = "${var.region}-${var.cluster.zone}"
  location = local.autopilot ? var.region : local.zone
  cluster  = one(concat(google_container_cluster.autopilot, google_container_cluster.standard))
}

resource "google_container_cluster" "autopilot" {
  count = local.autopilot ? 1 : 0

  name             = var.name
  location         = local.location
  enable_autopilot = true
  network          = var.network
  subnetwork       = var.subnetwork

  # The default, true, would stop `destroy`.
  deletion_protection = false

  release_channel {
    channel = "REGULAR"
  }

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  private_cluster_config {
    enable_private_nodes = true
  }

  # Mounts the signing key from Secret Manager with the publisher's own identity: it is never a Kubernetes Secret.
  secret_manager_config {
    enabled = true
  }

  cluster_autoscaling {
    auto_provisioning_defaults {
      service_account = google_service_account.nodes.email
      oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    }
  }

  dynamic "master_authorized_networks_config" {
    for_each = length(var.cluster.authorized_networks) > 0 ? [1] : []
    content {
      dynamic "cidr_blocks" {
        for_each = var.cluster.authorized_networks
        content {
          cidr_block   = cidr_blocks.key
          display_name = cidr_blocks.value
        }
      }
    }
  }

  maintenance_policy {
    recurring_window {
      # Weekend mornings (UTC): an upgrade restarts nodes, and a run that it cuts starts over. GKE wants at least 48 hours
      # of such time in any 32 days, which hold eight weekend days: seven hours each are enough, four would be refused.
      start_time = "2026-01-03T05:00:00Z"
      end_time   = "2026-01-03T12:00:00Z"
      recurrence = "FREQ=WEEKLY;BYDAY=SA,SU"
    }
  }

  lifecycle {
    # GKE fills these in by itself; a plan must not want to take them away.
    ignore_changes = [
      cluster_autoscaling[0].auto_provisioning_defaults[0].management,
      cluster_autoscaling[0].auto_provisioning_defaults[0].upgrade_settings,
      maintenance_policy[0].disruption_budget,
    ]
  }
}

resource "google_container_cluster" "standard" {
  count = local.autopilot ? 0 : 1

  name       = var.name
  location   = local.location
  network    = var.network
  subnetwork = var.subnetwork

  deletion_protection = false

  # The pool below is the only one; a cluster is not made without a first pool.
  remove_default_node_pool = true
  initial_node_count       = 1

  release_channel {
    channel = "REGULAR"
  }

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  private_cluster_config {
    enable_private_nodes = true
  }

  secret_manager_config {
    enabled = true
  }

  workload_identity_config {
    workload_pool = "${var.project_id}.svc.id.goog"
  }

  # Without it NetworkPolicies are accepted and ignored. Autopilot has it by itself, and the three addons.
  datapath_provider = "ADVANCED_DATAPATH"

  addons_config {
    gce_persistent_disk_csi_driver_config {
      enabled = true
    }
  }

  logging_config {
    enable_components = ["SYSTEM_COMPONENTS", "WORKLOADS"]
  }

  monitoring_config {
    enable_components = ["SYSTEM_COMPONENTS", "POD", "STORAGE"]
    managed_prometheus {
      enabled = true
    }
  }

  dynamic "master_authorized_networks_config" {
    for_each = length(var.cluster.authorized_networks) > 0 ? [1] : []
    content {
      dynamic "cidr_blocks" {
        for_each = var.cluster.authorized_networks
        content {
          cidr_block   = cidr_blocks.key
          display_name = cidr_blocks.value
        }
      }
    }
  }

  maintenance_policy {
    recurring_window {
      start_time = "2026-01-03T05:00:00Z"
      end_time   = "2026-01-03T12:00:00Z"
      recurrence = "FREQ=WEEKLY;BYDAY=SA,SU"
    }
  }

  lifecycle {
    ignore_changes = [maintenance_policy[0].disruption_budget]
  }
}

resource "google_container_node_pool" "standard" {
  count = local.autopilot ? 0 : 1

  name     = "workers"
  cluster  = google_container_cluster.standard[0].id
  location = local.zone

  autoscaling {
    min_node_count = var.cluster.min_nodes
    max_node_count = var.cluster.max_nodes
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }

  node_config {
    machine_type    = var.cluster.machine_type
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    disk_type       = "pd-balanced"
    disk_size_gb    = 100

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }

    # Pods see the metadata server of Workload Identity, never the machine's own account.
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }

  lifecycle {
    ignore_changes = [node_config[0].boot_disk, node_config[0].kubelet_config, node_config[0].linux_node_config]
  }
}

# The default account of the project's machines may edit everything; this one may log, and pull our images.
resource "google_service_account" "nodes" {
  account_id   = "${var.name}-nodes"
  display_name = "Machines of the ${var.name} cluster"
}

resource "google_project_iam_member" "nodes" {
  project = var.project_id
  role    = "roles/container.defaultNodeServiceAccount"
  member  = "serviceAccount:${google_service_account.nodes.email}"
}

resource "google_artifact_registry_repository_iam_member" "nodes" {
  repository = var.repository_id
  role       = "roles/artifactregistry.reader"
  member     = "serviceAccount:${google_service_account.nodes.email}"
}
