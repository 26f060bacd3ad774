provider "google" {
  project = var.project_id
  region  = var.region

  default_labels = local.labels
}

# Firebase and budgets are refused (403) unless the request names a project that pays for it; with one's own
# credentials, rather than a service account's, that is not so by itself.
provider "google-beta" {
  project               = var.project_id
  region                = var.region
  billing_project       = var.project_id
  user_project_override = true

  default_labels = local.labels
}

# Both Kubernetes providers get their token from gcloud's plugin when they need it. A token from a data source would be
# written to the state, and would be too old after a long first build.
provider "kubernetes" {
  host                   = module.gke.host
  cluster_ca_certificate = module.gke.ca_certificate

  exec {
    api_version = "client.authentication.k8s.io/v1beta1"
    command     = "gke-gcloud-auth-plugin"
  }
}

provider "helm" {
  kubernetes = {
    host                   = module.gke.host
    cluster_ca_certificate = module.gke.ca_certificate

    exec = {
      api_version = "client.authentication.k8s.io/v1beta1"
      command     = "gke-gcloud-auth-plugin"
    }
  }
}
