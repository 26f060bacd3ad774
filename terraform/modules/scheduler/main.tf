# One job per target: a bare message with the target's id, which shared/src/event.rs reads as a tick.

variable "prefix" {
  type = string
}

variable "region" {
  type = string
}

variable "tick_topic" {
  type = string
}

variable "targets" {
  type = map(object({
    schedule  = string
    time_zone = string
    paused    = bool
  }))
}

resource "google_cloud_scheduler_job" "tick" {
  for_each = var.targets

  name        = "${var.prefix}tick-${each.key}"
  region      = var.region
  description = "Asks for a snapshot of ${each.key}"
  schedule    = each.value.schedule
  time_zone   = each.value.time_zone
  paused      = each.value.paused

  pubsub_target {
    topic_name = var.tick_topic
    attributes = { target = each.key }
    data       = base64encode("{}")
  }

  # Pub/Sub refuses for seconds, not for hours; a tick that comes late by an hour would be a surprise.
  retry_config {
    retry_count          = 5
    min_backoff_duration = "5s"
    max_backoff_duration = "60s"
  }
}
