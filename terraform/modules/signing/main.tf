# Where the key that snapshots are signed with lies. Secret Manager and not KMS: KMS signs, but what it signs is not in
# minisign's format, and its key rings cannot be deleted by anybody, ever.

variable "name" {
  type = string
}

variable "project_id" {
  type = string
}

variable "region" {
  type = string
}

variable "secret_key_file" {
  type = string
}

variable "revision" {
  type = number
}

resource "google_secret_manager_secret" "this" {
  secret_id = "${var.name}-signing-key"

  # The default is false; said here because `destroy` depends on it.
  deletion_protection = false

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

# The secret's value never passes through Terraform: gcloud reads the file, and the state has only its path.
resource "terraform_data" "secret_key" {
  count = var.secret_key_file == null ? 0 : 1

  triggers_replace = { secret = google_secret_manager_secret.this.id, revision = var.revision }

  provisioner "local-exec" {
    command = "gcloud secrets versions add \"$SECRET\" --project \"$PROJECT\" --data-file \"$FILE\""
    environment = {
      SECRET  = google_secret_manager_secret.this.secret_id
      PROJECT = var.project_id
      FILE    = var.secret_key_file
    }
  }
}

output "secret_id" {
  value = google_secret_manager_secret.this.id
}

output "secret_name" {
  value = google_secret_manager_secret.this.secret_id
}
