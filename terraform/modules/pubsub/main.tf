# Topics and subscriptions, named as shared/src/event.rs and shared/src/names.rs name them.

variable "prefix" {
  description = "Stands before every name: POLKASHOTS_TOPIC_PREFIX of the workers."
  type        = string
}

variable "project_id" {
  type = string
}

variable "project_number" {
  type = string
}

variable "region" {
  type = string
}

variable "targets" {
  type = list(string)
}

variable "published_subscribers" {
  type = list(string)
}

locals {
  topics = ["tick", "volume-snapshot-ready", "snapshot-uploaded", "snapshot-failed", "snapshot-published"]

  # Who reads what for each target.
  per_target = [
    { worker = "engine", topic = "tick" },
    { worker = "engine", topic = "snapshot-uploaded" },
    { worker = "engine", topic = "snapshot-failed" },
    { worker = "snapshotter", topic = "volume-snapshot-ready" },
  ]
  # One publisher for all: there is one index and one site.
  shared = [
    { worker = "publisher", topic = "snapshot-uploaded" },
    { worker = "publisher", topic = "snapshot-failed" },
  ]

  subscriptions = merge(
    merge([
      for target in var.targets : {
        for reader in local.per_target : "${reader.worker}.${reader.topic}.${target}" => merge(reader, { target = target })
      }
    ]...),
    { for reader in local.shared : "${reader.worker}.${reader.topic}" => merge(reader, { target = null }) },
  )

  # Pub/Sub forwards dead letters itself, with its own identity.
  service_agent = "serviceAccount:service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

# Google makes the agent when it is first needed; a grant to one that is not there yet is refused.
resource "google_project_service_identity" "agent" {
  provider = google-beta
  project  = var.project_id
  service  = "pubsub.googleapis.com"
}

resource "google_pubsub_topic" "this" {
  for_each = toset(local.topics)

  name = "${var.prefix}${each.key}"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

# Its name must not be that of a topic of events with the same prefix.
resource "google_pubsub_topic" "dead_letters" {
  name = "${var.prefix}dead-letters"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_subscription" "this" {
  for_each = local.subscriptions

  name  = "${var.prefix}${each.key}"
  topic = google_pubsub_topic.this[each.value.topic].id

  # Google sorts, so that a Job never gets (and gives back) another target's message.
  filter = each.value.target == null ? null : "attributes.target = \"${each.value.target}\""

  # The workers extend it for as long as they work: it is how long a message stays away after its holder died.
  ack_deadline_seconds = 60

  # An acknowledgement is confirmed, so a worker knows whether the message is really gone.
  enable_exactly_once_delivery = true

  message_retention_duration = "604800s"

  # A chain may be paused for longer than the 31 days after which an idle subscription would be deleted.
  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters.id
    max_delivery_attempts = 5
  }
}

# A dead letter that nobody subscribes to is lost; here it stays for a month, for a person.
resource "google_pubsub_subscription" "dead_letters" {
  name  = "${var.prefix}operator.dead-letters"
  topic = google_pubsub_topic.dead_letters.id

  message_retention_duration = "2678400s"
  ack_deadline_seconds       = 600

  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_topic_iam_member" "agent_publishes" {
  depends_on = [google_project_service_identity.agent]

  topic  = google_pubsub_topic.dead_letters.id
  role   = "roles/pubsub.publisher"
  member = local.service_agent
}

resource "google_pubsub_subscription_iam_member" "agent_acknowledges" {
  for_each   = google_pubsub_subscription.this
  depends_on = [google_project_service_identity.agent]

  subscription = each.value.name
  role         = "roles/pubsub.subscriber"
  member       = local.service_agent
}

resource "google_pubsub_topic_iam_member" "outside" {
  for_each = toset(var.published_subscribers)

  topic  = google_pubsub_topic.this["snapshot-published"].id
  role   = "roles/pubsub.subscriber"
  member = each.key
}

output "topics" {
  description = "Name in the code to full id."
  value       = { for name, topic in google_pubsub_topic.this : name => topic.id }
}

output "dead_letter_topic" {
  description = "The whole name without the project: POLKASHOTS_DEAD_LETTER_TOPIC."
  value       = google_pubsub_topic.dead_letters.name
}

output "dead_letter_topic_id" {
  value = google_pubsub_topic.dead_letters.id
}

output "dead_letter_subscription" {
  value = google_pubsub_subscription.dead_letters.name
}

output "subscriptions" {
  description = "Name in the code to what it is."
  value = {
    for key, subscription in google_pubsub_subscription.this : key => merge(local.subscriptions[key], { name = subscription.name })
  }
}
