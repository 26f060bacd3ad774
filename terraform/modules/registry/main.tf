# Where the images lie.

variable "name" {
  type = string
}

variable "project_id" {
  type = string
}

variable "region" {
  type = string
}

resource "google_artifact_registry_repository" "this" {
  repository_id = var.name
  location      = var.region
  format        = "DOCKER"
  description   = "The images of the workers"

  docker_config {
    # A tag always means the same build, so that setting an old release really rolls back.
    immutable_tags = true
  }

  cleanup_policies {
    id     = "delete-untagged"
    action = "DELETE"
    condition {
      tag_state  = "UNTAGGED"
      older_than = "604800s"
    }
  }
}

output "repository_id" {
  value = google_artifact_registry_repository.this.id
}

output "url" {
  value = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.this.repository_id}"
}

# Layers of earlier builds. Apart from the images, because its tags are written again at every build; losing it costs
# half an hour of RocksDB.
resource "google_artifact_registry_repository" "cache" {
  repository_id = "${var.name}-cache"
  location      = var.region
  format        = "DOCKER"
  description   = "Build cache"

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      tag_state  = "ANY"
      older_than = "2592000s"
    }
  }
}

output "cache_id" {
  value = google_artifact_registry_repository.cache.id
}

output "cache_url" {
  value = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.cache.repository_id}"
}
