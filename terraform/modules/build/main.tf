# Builds the images: once from this checkout, so that `apply` ends with running pods, and from then on at every tag v*
# of a connected repository.

locals {
  config = "docker/cloudbuild.yaml"
  substitutions = {
    _REGISTRY = var.registry
    _CACHE    = var.cache
  }
}

resource "google_service_account" "builder" {
  account_id   = "${var.name}-builder"
  display_name = "Builds the images of ${var.name}"
}

resource "google_project_iam_member" "builder_logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = "serviceAccount:${google_service_account.builder.email}"
}

resource "google_artifact_registry_repository_iam_member" "builder" {
  for_each = { images = var.repository_id, cache = var.cache_id }

  repository = each.value
  role       = "roles/artifactregistry.writer"
  member     = "serviceAccount:${google_service_account.builder.email}"
}

# gcloud's own staging bucket would outlive `destroy`.
resource "google_storage_bucket" "source" {
  name                        = "${var.project_id}-${var.name}-source"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    condition {
      age = 7
    }
    action {
      type = "Delete"
    }
  }
}

resource "google_storage_bucket_iam_member" "builder" {
  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = "serviceAccount:${google_service_account.builder.email}"
}

# Terraform has no resource for one build, so gcloud, which the operator is logged in with anyway, starts it and waits.
# A release that is in the registry already is not built again: that is what makes going back quick.
resource "terraform_data" "first_build" {
  triggers_replace = { release = var.release, registry = var.registry }

  provisioner "local-exec" {
    command = "${path.module}/first-build"
    environment = {
      PROJECT         = var.project_id
      REGION          = var.region
      RELEASE         = var.release
      REGISTRY        = var.registry
      CACHE           = var.cache
      IMAGES          = join(" ", var.image_names)
      SOURCE_DIR      = var.source_dir
      CONFIG          = local.config
      SERVICE_ACCOUNT = google_service_account.builder.id
      STAGING         = "gs://${google_storage_bucket.source.name}/source"
    }
  }

  depends_on = [
    google_project_iam_member.builder_logs,
    google_artifact_registry_repository_iam_member.builder,
    google_storage_bucket_iam_member.builder,
  ]
}

# Google makes the agent when it is first needed; a grant to one that is not there yet is refused.
resource "google_project_service_identity" "agent" {
  provider = google-beta
  count    = var.repository == null ? 0 : 1

  project = var.project_id
  service = "cloudbuild.googleapis.com"
}

# Cloud Build's agent opens the connection, so it is the one that reads the token.
resource "google_secret_manager_secret_iam_member" "connection" {
  count      = var.repository == null ? 0 : 1
  depends_on = [google_project_service_identity.agent]

  secret_id = join("/", slice(split("/", var.repository.token_secret_version), 0, 4))
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:service-${var.project_number}@gcp-sa-cloudbuild.iam.gserviceaccount.com"
}

resource "google_cloudbuildv2_connection" "github" {
  count      = var.repository == null ? 0 : 1
  depends_on = [google_secret_manager_secret_iam_member.connection]

  name     = var.name
  location = var.region

  github_config {
    app_installation_id = var.repository.app_installation_id
    authorizer_credential {
      oauth_token_secret_version = var.repository.token_secret_version
    }
  }
}

resource "google_cloudbuildv2_repository" "this" {
  count = var.repository == null ? 0 : 1

  name              = var.name
  location          = var.region
  parent_connection = google_cloudbuildv2_connection.github[0].name
  remote_uri        = var.repository.url
}

resource "google_cloudbuild_trigger" "release" {
  count = var.repository == null ? 0 : 1

  name            = "${var.name}-release"
  location        = var.region
  description     = "Builds the images of a tag v*; terraform apply with release = that tag rolls them out"
  service_account = google_service_account.builder.id
  filename        = local.config

  repository_event_config {
    repository = google_cloudbuildv2_repository.this[0].id
    push {
      tag = "^v[0-9]+\\.[0-9]+\\.[0-9]+$"
    }
  }

  # Cloud Build puts the tag's name in here; the config reads _RELEASE because a first build has no tag.
  substitutions = merge(local.substitutions, { _RELEASE = "$TAG_NAME" })
}

output "release" {
  # Known when the images are there.
  value      = var.release
  depends_on = [terraform_data.first_build]
}
