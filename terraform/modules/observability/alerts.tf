resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.emails)

  display_name = each.key
  type         = "email"
  labels       = { email_address = each.key }

  # Otherwise a channel that an alert made by hand uses stops `destroy`.
  force_delete = true
}

locals {
  channels = [for channel in google_monitoring_notification_channel.email : channel.id]
  manual   = "docs/operations.md"

  # A paused target makes no snapshots on purpose.
  awaited = { for id, target in var.targets : id => target if !target.paused }
}

# PromQL, because it may look back further than the day that the other conditions are limited to. `or vector(0)`: a
# target that never published has no series at all, and that is the worst case, not a healthy one.
resource "google_monitoring_alert_policy" "no_new_snapshot" {
  for_each   = local.awaited
  depends_on = [time_sleep.metrics]

  display_name          = "${var.name}: no new snapshot of ${each.key} in ${each.value.max_age_hours} h"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  conditions {
    display_name = "no ${each.key} published in ${each.value.max_age_hours} h"
    condition_prometheus_query_language {
      query               = "(sum(increase(logging_googleapis_com:user_${replace(google_logging_metric.published.name, "-", "_")}{monitored_resource=\"k8s_container\",snapshot_target=\"${each.key}\"}[${each.value.max_age_hours}h])) or vector(0)) < 0.5"
      duration            = "0s"
      evaluation_interval = "600s"
      # A log-based metric without a point is not known to the check of names.
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Twice the schedule went by without a published snapshot of `${each.key}`. See *No new snapshot* in ${local.manual}. Right after the first apply this is expected until the first snapshot is done."
  }
}

resource "google_monitoring_alert_policy" "dead_letters" {
  display_name          = "${var.name}: dead letters"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels

  conditions {
    display_name = "messages in ${var.dead_letter_subscription}"
    condition_threshold {
      filter          = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${var.dead_letter_subscription}\" AND metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "An event could not be handled. Read it with `gcloud pubsub subscriptions pull ${var.dead_letter_subscription} --project ${var.project_id} --limit 10` and see *Dead letters* in ${local.manual}."
  }
}

resource "google_monitoring_alert_policy" "teardown_leftovers" {
  depends_on = [time_sleep.metrics]

  display_name          = "${var.name}: teardown leftovers"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

  conditions {
    display_name = "a sweep found what a run left behind"
    condition_threshold {
      filter          = "resource.type = \"k8s_container\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.leftovers.name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "A claim or a volume snapshot outlived its run: each costs its disk's price. See *Teardown leftovers* in ${local.manual}."
  }
}

# A volume that fills up stops its node, and the next snapshots are of an ever older block.
resource "google_monitoring_alert_policy" "volume_full" {
  display_name          = "${var.name}: a node's volume is nearly full"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

  conditions {
    display_name = "more than 90 % used"
    condition_threshold {
      filter          = "resource.type = \"k8s_pod\" AND resource.labels.cluster_name = \"${var.name}\" AND metric.type = \"kubernetes.io/pod/volume/utilization\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0.9
      duration        = "900s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_MEAN"
        cross_series_reducer = "REDUCE_MAX"
        group_by_fields      = ["resource.labels.namespace_name", "metric.labels.volume_name"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "See *Resize a node's volume* in ${local.manual}."
  }
}

resource "google_billing_budget" "this" {
  provider = google-beta
  count    = var.budget == null ? 0 : 1

  billing_account = var.billing_account
  display_name    = "${var.name} in ${var.project_id}"

  budget_filter {
    projects = ["projects/${var.project_number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.budget)
    }
  }

  threshold_rules {
    threshold_percent = 0.5
  }

  threshold_rules {
    threshold_percent = 0.9
  }

  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  # Without addresses of ours Billing tells its own administrators, which is what leaving this out means.
  dynamic "all_updates_rule" {
    for_each = length(local.channels) > 0 ? [1] : []
    content {
      # Billing takes five at most.
      monitoring_notification_channels = slice(local.channels, 0, min(5, length(local.channels)))
      disable_default_iam_recipients   = false
    }
  }
}
