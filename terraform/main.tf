# From an empty project to a live site. The order of the modules is the order in which things come to be; `destroy` goes
# the other way, and three things in it must be so:
# - workloads go before KEDA: only KEDA's operator takes its finalizers off ScaledJobs;
# - namespaces go before the cluster: only its CSI drivers delete the disks and snapshots behind claims;
# - everything goes before the network and the project.

module "project" {
  source = "./modules/project"

  project_id  = var.project_id
  new_project = var.new_project
  labels      = local.labels
}

module "network" {
  source     = "./modules/network"
  depends_on = [module.project]

  name   = var.name
  region = var.region
}

module "registry" {
  source     = "./modules/registry"
  depends_on = [module.project]

  name       = var.name
  project_id = module.project.id
  region     = var.region
}

module "gke" {
  source     = "./modules/gke"
  depends_on = [module.project]

  name          = var.name
  project_id    = module.project.id
  region        = var.region
  cluster       = var.cluster
  network       = module.network.network
  subnetwork    = module.network.subnetwork
  repository_id = module.registry.repository_id
}

module "build" {
  source     = "./modules/build"
  depends_on = [module.project]

  name           = var.name
  project_id     = module.project.id
  project_number = module.project.number
  region         = var.region
  release        = var.release
  repository     = var.repository
  repository_id  = module.registry.repository_id
  registry       = module.registry.url
  cache_id       = module.registry.cache_id
  cache          = module.registry.cache_url
  image_names    = local.image_names
  source_dir     = abspath("${path.root}/..")
}

module "pubsub" {
  source     = "./modules/pubsub"
  depends_on = [module.project]

  prefix                = local.topic_prefix
  project_id            = module.project.id
  project_number        = module.project.number
  region                = var.region
  targets               = keys(local.targets)
  published_subscribers = var.published_subscribers
}

module "scheduler" {
  source     = "./modules/scheduler"
  depends_on = [module.project]

  prefix     = local.topic_prefix
  region     = var.region
  tick_topic = module.pubsub.topics["tick"]
  targets    = { for id, target in local.targets : id => { schedule = target.schedule, time_zone = target.time_zone, paused = target.paused } }
}

module "storage" {
  source     = "./modules/storage"
  depends_on = [module.project]
  count      = var.store.kind == "gcs" ? 1 : 0

  bucket   = local.bucket
  location = coalesce(var.store.location, var.region)
  public   = var.store.public
  site_url = local.site_url
}

module "signing" {
  source     = "./modules/signing"
  depends_on = [module.project]

  name            = var.name
  project_id      = module.project.id
  region          = var.region
  secret_key_file = var.signing.secret_key_file
  revision        = var.signing.revision
}

module "site" {
  source     = "./modules/site"
  depends_on = [module.project]

  project_id = module.project.id
  site_id    = local.site_id
  domain     = var.site.domain
}

module "identity" {
  source     = "./modules/identity"
  depends_on = [module.gke, module.site]

  project_id      = module.project.id
  project_number  = module.project.number
  targets         = keys(local.targets)
  publisher_space = var.name
  bucket          = one(module.storage[*].bucket)
  secret_id       = module.signing.secret_id
  topics          = module.pubsub.topics

  dead_letter_topic = module.pubsub.dead_letter_topic_id
  subscriptions     = module.pubsub.subscriptions
}

module "keda" {
  source     = "./modules/keda"
  depends_on = [module.gke]

  keda_version = var.keda_version
}

module "workloads" {
  source     = "./modules/workloads"
  depends_on = [module.keda, module.identity, module.build]

  publisher_space = var.name
  variant         = { trigger = var.trigger, store = var.store.kind }
  targets         = local.targets
  settings = {
    project           = module.project.id
    project_number    = module.project.number
    region            = var.region
    topic_prefix      = local.topic_prefix
    dead_letter_topic = module.pubsub.dead_letter_topic
    registry          = module.registry.url
    release           = var.release
    store             = local.store_url
    s3_endpoint       = coalesce(var.store.endpoint, "unused")
    s3_region         = var.store.region
    archive_url       = local.archive_url
    site_url          = local.site_url
    site_id           = local.site_id
    site_title        = var.site.title
    signing_secret    = module.signing.secret_name
    public_key        = var.signing.public_key
  }
  target_json     = local.target_json
  old_public_keys = var.signing.old_public_keys
  rendered        = abspath("${path.root}/../k8s/rendered")
}

module "observability" {
  source     = "./modules/observability"
  depends_on = [module.project]

  name                     = var.name
  project_id               = module.project.id
  project_number           = module.project.number
  region                   = var.region
  targets                  = { for id, target in local.targets : id => { max_age_hours = target.max_age_hours, paused = target.paused } }
  dead_letter_subscription = module.pubsub.dead_letter_subscription
  subscriptions            = module.pubsub.subscriptions
  emails                   = var.alerts.emails
  budget                   = var.alerts.budget
  billing_account          = var.alerts.billing_account != null ? var.alerts.billing_account : try(var.new_project.billing_account, null)
}

module "estimate" {
  source = "./modules/estimate"

  prices  = var.prices
  cluster = var.cluster
  gcs     = var.store.kind == "gcs"
  targets = {
    for id, target in local.targets : id => {
      cpu             = target.node.cpu
      memory          = target.node.memory
      disk_size_gb    = target.disk_size_gb
      archive_size_gb = coalesce(target.archive_size_gb, ceil(0.4 * target.disk_size_gb))
      period_hours    = target.period_hours
      keep            = target.retention.keep
      grace_hours     = target.retention.grace_hours
      paused          = target.paused
    }
  }
}
