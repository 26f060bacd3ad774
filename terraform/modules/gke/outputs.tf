output "name" {
  value = local.cluster.name
}

output "location" {
  value = local.location
}

output "host" {
  # Whoever talks to the cluster needs its nodes, and their right to pull images, to be there: and to be there still
  # when it is torn down, because finalizers are taken off by pods.
  value      = "https://${local.cluster.endpoint}"
  depends_on = [google_container_node_pool.standard, google_project_iam_member.nodes, google_artifact_registry_repository_iam_member.nodes]
}

output "ca_certificate" {
  value = base64decode(local.cluster.master_auth[0].cluster_ca_certificate)
}
