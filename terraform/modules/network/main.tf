# A network of its own: private nodes, one way out.

variable "name" {
  type = string
}

variable "region" {
  type = string
}

resource "google_compute_network" "this" {
  name                    = var.name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "this" {
  name          = var.name
  region        = var.region
  network       = google_compute_network.this.id
  ip_cidr_range = "10.10.0.0/20"

  # Storage, Pub/Sub and the registry are reached inside Google's network: uploads pass no NAT and cost no egress.
  private_ip_google_access = true

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = "10.20.0.0/16"
  }

  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = "10.30.0.0/20"
  }
}

resource "google_compute_router" "this" {
  name    = var.name
  region  = var.region
  network = google_compute_network.this.id
}

# The nodes' peers and Docker Hub are outside; nothing outside needs to reach in.
resource "google_compute_router_nat" "this" {
  name                               = var.name
  region                             = var.region
  router                             = google_compute_router.this.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"

  # A chain's node keeps many peers open; 64 ports, the default, run out with two nodes on a machine.
  enable_dynamic_port_allocation      = true
  enable_endpoint_independent_mapping = false
  min_ports_per_vm                    = 64
  max_ports_per_vm                    = 4096

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

output "network" {
  value = google_compute_network.this.id
}

output "subnetwork" {
  # The cluster must be gone before its way out is: nodes report their own end through it.
  value      = google_compute_subnetwork.this.id
  depends_on = [google_compute_router_nat.this]
}
