# Firebase Hosting. Its resources are in google-beta only.

variable "project_id" {
  type = string
}

variable "site_id" {
  type = string
}

variable "domain" {
  type = string
}

# Firebase cannot be taken off a project again; of an existing project, a switch without cost is what `destroy` leaves.
resource "google_firebase_project" "this" {
  provider = google-beta
  project  = var.project_id
}

# A site of our own, because the project's default site cannot be deleted.
resource "google_firebase_hosting_site" "this" {
  provider = google-beta
  project  = google_firebase_project.this.project
  site_id  = var.site_id
}

resource "google_firebase_hosting_custom_domain" "this" {
  provider = google-beta
  count    = var.domain == null ? 0 : 1

  project         = google_firebase_project.this.project
  site_id         = google_firebase_hosting_site.this.site_id
  custom_domain   = var.domain
  cert_preference = "GROUPED"

  # The owner of the domain reads from our outputs what to write into the DNS: waiting for it here would wait for ever.
  wait_dns_verification = false
}

output "site_id" {
  value = google_firebase_hosting_site.this.site_id
}

output "dns_records" {
  value = google_firebase_hosting_custom_domain.this[*].required_dns_updates
}
