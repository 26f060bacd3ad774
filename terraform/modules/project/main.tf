# The project and its APIs.

variable "project_id" {
  type = string
}

variable "new_project" {
  type = object({
    billing_account = string
    org_id          = optional(string)
    folder_id       = optional(string)
  })
}

variable "labels" {
  type = map(string)
}

resource "google_project" "this" {
  count = var.new_project == null ? 0 : 1

  project_id      = var.project_id
  name            = var.project_id
  billing_account = var.new_project.billing_account
  org_id          = var.new_project.org_id
  folder_id       = var.new_project.folder_id
  labels          = var.labels

  # The default network has firewall rules that let the world in.
  auto_create_network = false
  # The provider's default, PREVENT, would stop `destroy`.
  deletion_policy = "DELETE"
}

data "google_project" "existing" {
  count = var.new_project == null ? 1 : 0

  project_id = var.project_id
}

locals {
  # Each with what it is for; the consistency check compares them with the resources in use.
  apis = {
    "artifactregistry.googleapis.com"     = "images"
    "billingbudgets.googleapis.com"       = "the budget alert"
    "cloudbilling.googleapis.com"         = "the project's billing account"
    "cloudbuild.googleapis.com"           = "building images"
    "cloudresourcemanager.googleapis.com" = "IAM grants on the project"
    "cloudscheduler.googleapis.com"       = "ticks"
    "compute.googleapis.com"              = "network, nodes, disks, their snapshots"
    "container.googleapis.com"            = "GKE"
    "firebase.googleapis.com"             = "the Firebase project"
    "firebasehosting.googleapis.com"      = "the website"
    "iam.googleapis.com"                  = "service accounts"
    "iamcredentials.googleapis.com"       = "Workload Identity"
    "logging.googleapis.com"              = "logs and the metrics made of them"
    "monitoring.googleapis.com"           = "alerts, dashboard, KEDA's view of the queues"
    "pubsub.googleapis.com"               = "events"
    "secretmanager.googleapis.com"        = "the signing key"
    "serviceusage.googleapis.com"         = "switching APIs on"
    "storage.googleapis.com"              = "the archive"
    "sts.googleapis.com"                  = "Workload Identity"
  }
}

resource "google_project_service" "this" {
  for_each = local.apis

  project = var.new_project == null ? var.project_id : google_project.this[0].project_id
  service = each.key

  # An API that is on costs nothing and may be used by others in an existing project; a project of our own goes as a whole.
  disable_on_destroy = false
}

# An API that was switched on a second ago is refused by some of Google's front ends for about a minute more.
resource "time_sleep" "apis" {
  create_duration = "60s"
  triggers        = { apis = join(",", sort([for service in google_project_service.this : service.service])) }
}

output "id" {
  value      = var.project_id
  depends_on = [time_sleep.apis]
}

output "number" {
  value      = var.new_project == null ? data.google_project.existing[0].number : google_project.this[0].number
  depends_on = [time_sleep.apis]
}
