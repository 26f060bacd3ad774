locals {
  published = "logging.googleapis.com/user/${google_logging_metric.published.name}"
  failed    = "logging.googleapis.com/user/${google_logging_metric.failed.name}"
  leftovers = "logging.googleapis.com/user/${google_logging_metric.leftovers.name}"

  charts = [
    { title = "Published snapshots a day", filter = "resource.type=\"k8s_container\" metric.type=\"${local.published}\"", period = "86400s", aligner = "ALIGN_DELTA", reducer = "REDUCE_SUM", group = ["metric.label.snapshot_target"] },
    { title = "Failed snapshots a day", filter = "resource.type=\"k8s_container\" metric.type=\"${local.failed}\"", period = "86400s", aligner = "ALIGN_DELTA", reducer = "REDUCE_SUM", group = ["metric.label.snapshot_target"] },
    { title = "Messages waiting or being worked on", filter = "resource.type=\"pubsub_subscription\" metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\"", period = "60s", aligner = "ALIGN_MAX", reducer = "REDUCE_SUM", group = ["resource.label.subscription_id"] },
    { title = "Oldest message, seconds", filter = "resource.type=\"pubsub_subscription\" metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"", period = "60s", aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", group = ["resource.label.subscription_id"] },
    { title = "Dead letters", filter = "resource.type=\"pubsub_subscription\" resource.label.subscription_id=\"${var.dead_letter_subscription}\" metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\"", period = "60s", aligner = "ALIGN_MAX", reducer = "REDUCE_SUM", group = [] },
    { title = "Teardown leftovers a day", filter = "resource.type=\"k8s_container\" metric.type=\"${local.leftovers}\"", period = "86400s", aligner = "ALIGN_DELTA", reducer = "REDUCE_SUM", group = [] },
    { title = "Volumes, share used", filter = "resource.type=\"k8s_pod\" resource.label.cluster_name=\"${var.name}\" metric.type=\"kubernetes.io/pod/volume/utilization\"", period = "300s", aligner = "ALIGN_MEAN", reducer = "REDUCE_MAX", group = ["resource.label.namespace_name"] },
    { title = "Archive, bytes", filter = "resource.type=\"gcs_bucket\" metric.type=\"storage.googleapis.com/storage/v2/total_bytes\"", period = "86400s", aligner = "ALIGN_MEAN", reducer = "REDUCE_SUM", group = ["resource.label.bucket_name"] },
  ]
}

resource "google_monitoring_dashboard" "this" {
  depends_on = [time_sleep.metrics]

  dashboard_json = jsonencode({
    displayName = var.name
    mosaicLayout = {
      columns = 12
      tiles = [
        for index, chart in local.charts : {
          xPos   = 6 * (index % 2)
          yPos   = 4 * floor(index / 2)
          width  = 6
          height = 4
          widget = {
            title = chart.title
            xyChart = {
              dataSets = [{
                plotType = "LINE"
                timeSeriesQuery = {
                  timeSeriesFilter = {
                    filter = chart.filter
                    aggregation = {
                      alignmentPeriod    = chart.period
                      perSeriesAligner   = chart.aligner
                      crossSeriesReducer = chart.reducer
                      groupByFields      = chart.group
                    }
                  }
                }
              }]
            }
          }
        }
      ]
    }
  })
}

output "dashboard_url" {
  value = "https://console.cloud.google.com/monitoring/dashboards/builder/${element(split("/", google_monitoring_dashboard.this.id), -1)}?project=${var.project_id}"
}
