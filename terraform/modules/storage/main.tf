# The archive.

variable "bucket" {
  type = string
}

variable "location" {
  type = string
}

variable "public" {
  type = bool
}

variable "site_url" {
  type = string
}

resource "google_storage_bucket" "this" {
  name     = var.bucket
  location = var.location

  # Access is said in one place, not object by object.
  uniform_bucket_level_access = true
  public_access_prevention    = var.public ? "inherited" : "enforced"

  # `destroy` takes the snapshots along.
  force_destroy = true

  # A deleted snapshot of 300 GB would be paid for another week. Nothing here is irreplaceable: the next tick makes one.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  # Parts of an upload that died and that no engine's sweep found: a target that was removed from the map.
  lifecycle_rule {
    condition {
      age            = 2
      matches_prefix = [".uploads/"]
    }
    action {
      type = "Delete"
    }
  }

  lifecycle_rule {
    condition {
      age = 2
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  # A page may read the index and the manifests from a browser.
  cors {
    origin          = [var.site_url]
    method          = ["GET", "HEAD"]
    response_header = ["Content-Type", "Content-Length", "Content-Range", "ETag"]
    max_age_seconds = 3600
  }
}

# objectViewer lists as well: Parity's chart needs that for its gcs method.
resource "google_storage_bucket_iam_member" "public" {
  count = var.public ? 1 : 0

  bucket = google_storage_bucket.this.name
  role   = "roles/storage.objectViewer"
  member = "allUsers"
}

output "bucket" {
  value = google_storage_bucket.this.name
}
