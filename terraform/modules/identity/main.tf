# Who may do what. Workers are Kubernetes ServiceAccounts, named directly in the grants: no service account of Google's
# stands between, and no key exists anywhere.

variable "project_id" {
  type = string
}

variable "project_number" {
  type = string
}

variable "targets" {
  type = list(string)
}

variable "publisher_space" {
  description = "The publisher's namespace."
  type        = string
}

variable "bucket" {
  description = "Null with an S3 store."
  type        = string
}

variable "secret_id" {
  type = string
}

variable "topics" {
  type = map(string)
}

variable "dead_letter_topic" {
  type = string
}

variable "subscriptions" {
  type = map(object({
    worker = string
    topic  = string
    target = string
    name   = string
  }))
}

locals {
  pool = "principal://iam.googleapis.com/projects/${var.project_number}/locations/global/workloadIdentityPools/${var.project_id}.svc.id.goog/subject"

  # Engine and snapshotter live in each target's namespace, the publisher in one of its own.
  workers = merge(
    merge([for target in var.targets : {
      "engine.${target}"      = { space = target, account = "engine", target = target, emits = ["volume-snapshot-ready", "snapshot-failed"] }
      "snapshotter.${target}" = { space = target, account = "snapshotter", target = target, emits = ["snapshot-uploaded", "snapshot-failed"] }
    }]...),
    { publisher = { space = var.publisher_space, account = "publisher", target = null, emits = ["snapshot-published", "snapshot-failed"] } },
  )
  members = { for key, worker in local.workers : key => "${local.pool}/ns/${worker.space}/sa/${worker.account}" }

  reads = {
    for key, subscription in var.subscriptions : key =>
    local.members[subscription.target == null ? subscription.worker : "${subscription.worker}.${subscription.target}"]
  }
  writes = merge([for key, worker in local.workers : { for topic in worker.emits : "${key}/${topic}" => { member = local.members[key], topic = topic } }]...)

  # The workers that put objects into one target's folder.
  uploaders = var.bucket == null ? {} : { for key, worker in local.workers : key => worker if worker.target != null }
}

resource "google_pubsub_subscription_iam_member" "reads" {
  for_each = local.reads

  subscription = var.subscriptions[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = each.value
}

resource "google_pubsub_topic_iam_member" "emits" {
  for_each = local.writes

  topic  = var.topics[each.value.topic]
  role   = "roles/pubsub.publisher"
  member = each.value.member
}

# A worker that sees that a message can never succeed puts it there itself, with the reason.
resource "google_pubsub_topic_iam_member" "rejects" {
  for_each = local.members

  topic  = var.dead_letter_topic
  role   = "roles/pubsub.publisher"
  member = each.value
}

# Listing is a right on the bucket, so it cannot be cut to a folder; a reader's right is all that the world has too.
resource "google_storage_bucket_iam_member" "reads" {
  for_each = local.uploaders

  bucket = var.bucket
  role   = "roles/storage.objectViewer"
  member = local.members[each.key]
}

# Whoever handles one chain's data can touch neither another chain's snapshots nor the index.
resource "google_storage_bucket_iam_member" "uploads" {
  for_each = local.uploaders

  bucket = var.bucket
  role   = "roles/storage.objectUser"
  member = local.members[each.key]

  condition {
    title       = "own-folder"
    description = "${each.value.target}/ and the parts of uploads under way"
    expression = join(" || ", [
      for folder in ["${each.value.target}/", ".uploads/"] : "resource.name.startsWith(\"projects/_/buckets/${var.bucket}/objects/${folder}\")"
    ])
  }
}

resource "google_storage_bucket_iam_member" "publisher" {
  count = var.bucket == null ? 0 : 1

  bucket = var.bucket
  role   = "roles/storage.objectUser"
  member = local.members["publisher"]
}

resource "google_secret_manager_secret_iam_member" "publisher" {
  secret_id = var.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.members["publisher"]
}

resource "google_project_iam_member" "publisher_hosting" {
  project = var.project_id
  role    = "roles/firebasehosting.admin"
  member  = local.members["publisher"]
}

# The Hosting API counts the publisher's calls against this project.
resource "google_project_iam_member" "publisher_quota" {
  project = var.project_id
  role    = "roles/serviceusage.serviceUsageConsumer"
  member  = local.members["publisher"]
}

# KEDA counts messages as itself, not as the Job that it starts.
resource "google_project_iam_member" "keda" {
  project = var.project_id
  role    = "roles/monitoring.viewer"
  member  = "${local.pool}/ns/keda/sa/keda-operator"
}

output "members" {
  description = "Each worker's principal."
  value       = local.members
}
