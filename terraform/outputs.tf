output "site_url" {
  description = "The website."
  value       = local.site_url
}

output "permalinks" {
  description = "The address that always leads to a target's newest archive."
  value       = { for id, target in local.targets : id => "${local.site_url}/${target.permalink}" }
}

output "archive_url" {
  description = "Where the snapshots themselves are read."
  value       = local.archive_url
}

output "public_key" {
  description = "What restorers pin: polkashots restore --key <this>. Publish it somewhere else too; a key that is only on the site proves nothing about the site."
  value       = var.signing.public_key
}

output "signing_key_command" {
  description = "Puts the secret key where the publisher reads it; needed once, unless signing.secret_key_file is given."
  value       = "gcloud secrets versions add ${module.signing.secret_name} --project ${module.project.id} --data-file polkashots.key"
}

output "trigger_commands" {
  description = "Asks for a snapshot of a target now."
  value       = { for id in keys(local.targets) : id => "gcloud pubsub topics publish ${local.topic_prefix}tick --project ${module.project.id} --attribute target=${id} --message '{}'" }
}

output "kubectl_command" {
  description = "Makes kubectl talk to the cluster."
  value       = "gcloud container clusters get-credentials ${module.gke.name} --project ${module.project.id} --location ${module.gke.location}"
}

output "s3_credentials_commands" {
  description = "With store.kind = \"s3\": puts the store's credentials into each namespace, once. They have no place in the state."
  value = var.store.kind != "s3" ? [] : [
    for space in concat(keys(local.targets), [var.name]) :
    "kubectl --namespace ${space} create secret generic s3-credentials --from-literal AWS_ACCESS_KEY_ID=... --from-literal AWS_SECRET_ACCESS_KEY=..."
  ]
}

output "subscribe_command" {
  description = "How an outside project hears of new snapshots; its identity must be in published_subscribers."
  value       = "gcloud pubsub subscriptions create polkashots-news --topic ${module.pubsub.topics["snapshot-published"]} --message-filter 'attributes.target = \"${keys(local.targets)[0]}\"'"
}

output "dns_records" {
  description = "What the domain's DNS must say before Firebase serves it; empty without site.domain."
  value       = module.site.dns_records
}

output "dashboard_url" {
  description = "Snapshots, queues and dead letters at a glance."
  value       = module.observability.dashboard_url
}

output "images" {
  description = "What runs."
  value       = { for name in local.image_names : name => "${module.registry.url}/${name}:${var.release}" }
}

output "estimated_monthly_cost" {
  description = "USD a month at list prices (variable prices), without downloads: those are paid by the GiB, egress_per_download says how much each one costs."
  value       = module.estimate.monthly_cost
}
