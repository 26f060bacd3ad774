# Metrics out of the workers' log lines: shared/src/worker.rs and workers/engine/src/sweep.rs write them, as JSON, one
# line per change of state. A Job is too short-lived for a scrape.

locals {
  pods = "resource.type=\"k8s_container\" AND resource.labels.cluster_name=\"${var.name}\""
}

# "emitted", with the event's id: snapshot-published/<target>/<version>.
resource "google_logging_metric" "published" {
  name        = "${var.name}-published"
  description = "Snapshots that are listed, signed and on the site"
  filter      = "${local.pods} AND jsonPayload.message=\"emitted\" AND jsonPayload.topic=\"snapshot-published\""

  label_extractors = {
    snapshot_target = "REGEXP_EXTRACT(jsonPayload.id, \"^snapshot-published/([a-z0-9-]+)/\")"
  }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
    labels {
      key         = "snapshot_target"
      value_type  = "STRING"
      description = "The target's id"
    }
  }
}

resource "google_logging_metric" "failed" {
  name        = "${var.name}-failed"
  description = "Snapshots that will not be"
  filter      = "${local.pods} AND jsonPayload.message=\"emitted\" AND jsonPayload.topic=\"snapshot-failed\""

  label_extractors = {
    snapshot_target = "REGEXP_EXTRACT(jsonPayload.id, \"^snapshot-failed/([a-z0-9-]+)/\")"
  }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
    labels {
      key         = "snapshot_target"
      value_type  = "STRING"
      description = "The target's id"
    }
  }
}

# What a sweep found although its run was over or dead, or could not take away.
resource "google_logging_metric" "leftovers" {
  name        = "${var.name}-teardown-leftovers"
  description = "Claims and volume snapshots that a run left behind"
  filter = join(" AND ", [
    local.pods,
    "(jsonPayload.message=\"swept\" OR jsonPayload.message=\"swept: the run is over\" OR jsonPayload.message=\"not swept, the next tick tries again\" OR jsonPayload.message=\"what is held cannot be listed, the next tick sweeps again\")",
  ])

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }
}

# A metric that was made a second ago is not yet known to the alerts that name it.
resource "time_sleep" "metrics" {
  create_duration = "30s"
  triggers        = { metrics = join(",", [google_logging_metric.published.id, google_logging_metric.failed.id, google_logging_metric.leftovers.id]) }
}
