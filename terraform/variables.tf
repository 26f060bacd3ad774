# Everything that a host decides. Only project_id, release and targets have no default.
# The targets have a file of their own: targets.tf.

variable "project_id" {
  description = "The Google Cloud project that holds everything. Made if new_project is given, otherwise it must be there."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is \"${var.project_id}\"; expected 6 to 30 of a-z, 0-9 and '-', starting with a letter and not ending with '-'."
  }
}

variable "new_project" {
  description = "Makes the project, with this billing account, in this organisation or folder. Null: the project is there already."
  type = object({
    billing_account = string
    org_id          = optional(string)
    folder_id       = optional(string)
  })
  default = null

  validation {
    condition     = var.new_project == null ? true : can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.new_project.billing_account))
    error_message = "new_project.billing_account is not a billing account's id; expected the form 012345-6789AB-CDEF01, as `gcloud billing accounts list` prints it."
  }

  validation {
    condition     = var.new_project == null ? true : var.new_project.org_id == null || var.new_project.folder_id == null
    error_message = "new_project has both org_id and folder_id; a project lies in one of them (or in neither): remove one."
  }
}

variable "region" {
  description = "Where everything runs and lies."
  type        = string
  default     = "europe-west1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is \"${var.region}\"; expected a region such as europe-west1, not a zone."
  }
}

variable "name" {
  description = "Stands before the names of what is made, so that two installations can share a project."
  type        = string
  default     = "polkashots"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is \"${var.name}\"; expected 3 to 20 of a-z, 0-9 and '-', starting with a letter and not ending with '-'."
  }
}

variable "release" {
  description = "The tag of the four images: a version or a commit. Applying another one builds it if it is not in the registry yet; applying an old one rolls back."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", var.release)) && var.release != "latest"
    error_message = "release is \"${var.release}\"; expected an image tag that always means the same build, such as v0.1.0 or a commit, never \"latest\"."
  }
}

variable "cluster" {
  description = "Autopilot (the default: pods are paid, nothing else to keep) or standard (a node pool of your own: cheaper from about four targets on)."
  type = object({
    mode         = optional(string, "autopilot")
    machine_type = optional(string, "e2-standard-8")
    min_nodes    = optional(number, 1)
    max_nodes    = optional(number, 6)
    zone         = optional(string, "b")
    # Who may reach the control plane. Empty: anybody who has credentials.
    authorized_networks = optional(map(string), {})
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["autopilot", "standard"], var.cluster.mode)
    error_message = "cluster.mode is \"${var.cluster.mode}\"; expected \"autopilot\" or \"standard\"."
  }

  validation {
    condition     = var.cluster.min_nodes >= 1 && var.cluster.max_nodes >= var.cluster.min_nodes
    error_message = "cluster.min_nodes is ${var.cluster.min_nodes} and cluster.max_nodes ${var.cluster.max_nodes}; expected 1 <= min_nodes <= max_nodes."
  }

  validation {
    condition     = can(regex("^[a-f]$", var.cluster.zone))
    error_message = "cluster.zone is \"${var.cluster.zone}\"; expected the zone's letter alone, as in \"b\" for ${var.region}-b."
  }

  validation {
    condition     = alltrue([for block in keys(var.cluster.authorized_networks) : can(cidrhost(block, 0))])
    error_message = "cluster.authorized_networks maps CIDR blocks to names, as in { \"203.0.113.0/24\" = \"office\" }; not CIDR: ${join(", ", [for block in keys(var.cluster.authorized_networks) : block if !can(cidrhost(block, 0))])}."
  }
}

variable "store" {
  description = "Where snapshots lie: Cloud Storage (the default) or an S3-compatible store (R2, MinIO, AWS), whose bucket you make and whose credentials you put into the secret that is made for them."
  type = object({
    kind        = optional(string, "gcs")
    bucket      = optional(string)
    public      = optional(bool, true)
    location    = optional(string)
    endpoint    = optional(string)
    region      = optional(string, "auto")
    archive_url = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["gcs", "s3"], var.store.kind)
    error_message = "store.kind is \"${var.store.kind}\"; expected \"gcs\" or \"s3\"."
  }

  validation {
    condition     = var.store.kind != "s3" || (var.store.bucket != null && can(regex("^https://", var.store.endpoint)) && can(regex("^https://", var.store.archive_url)))
    error_message = "store.kind \"s3\" needs store.bucket (its name), store.endpoint (https://..., where it is written) and store.archive_url (https://..., where people read it)."
  }

  validation {
    condition     = var.store.kind != "gcs" || var.store.endpoint == null
    error_message = "store.endpoint is only for store.kind = \"s3\"; remove it, or set the kind."
  }

  validation {
    condition     = var.store.bucket == null ? true : can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.store.bucket))
    error_message = "store.bucket is not a bucket name; expected 3 to 63 of a-z, 0-9 and '-', with no '-' at either end."
  }
}

variable "trigger" {
  description = "What KEDA counts messages with: gcp-pubsub (its own scaler, deprecated upstream) or prometheus (Cloud Monitoring's Prometheus API)."
  type        = string
  default     = "gcp-pubsub"

  validation {
    condition     = contains(["gcp-pubsub", "prometheus"], var.trigger)
    error_message = "trigger is \"${var.trigger}\"; expected \"gcp-pubsub\" or \"prometheus\"."
  }
}

variable "site" {
  description = "The website: its title, its id at Firebase Hosting (part of https://ID.web.app, unique in the world), and a domain of your own if you have one."
  type = object({
    title  = optional(string, "Polkashots")
    id     = optional(string)
    domain = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.site.id == null ? true : can(regex("^[a-z0-9][a-z0-9-]{4,28}[a-z0-9]$", var.site.id))
    error_message = "site.id is not a Firebase Hosting site id; expected 6 to 30 of a-z, 0-9 and '-', with no '-' at either end."
  }

  validation {
    condition     = var.site.domain == null ? true : can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.site.domain))
    error_message = "site.domain is not a domain name; expected something like snapshots.example.org, without https:// and without a path."
  }
}

variable "signing" {
  description = "The key that snapshots are signed with. public_key: the line that starts with RW of the .pub file of `polkashots keygen`. secret_key_file: put into Secret Manager by gcloud, never read by Terraform; null: you put it there yourself (output signing_key_command)."
  type = object({
    public_key      = string
    old_public_keys = optional(list(string), [])
    secret_key_file = optional(string)
    # Raise it to put another file in: see "Rotate the key" in docs/operations.md.
    revision = optional(number, 1)
  })

  validation {
    condition     = alltrue([for key in concat([var.signing.public_key], var.signing.old_public_keys) : can(regex("^RW[A-Za-z0-9+/]{54}$", key))])
    error_message = "signing.public_key and signing.old_public_keys are minisign public keys: 56 characters of base64 that start with RW, the second line of the .pub file that `polkashots keygen` wrote."
  }
}

variable "repository" {
  description = "The GitHub repository whose tags v* are built, through Cloud Build's app. Null: only `terraform apply` builds, from this checkout."
  type = object({
    url                 = string
    app_installation_id = number
    # Secret Manager version with the OAuth token of the app's authorisation, made by hand: a token has no place in the state.
    token_secret_version = string
  })
  default = null

  validation {
    condition     = var.repository == null ? true : can(regex("^https://github\\.com/[^/]+/[^/]+\\.git$", var.repository.url))
    error_message = "repository.url is not a clone address; expected https://github.com/OWNER/NAME.git."
  }

  validation {
    condition     = var.repository == null ? true : can(regex("^projects/[^/]+/secrets/[^/]+/versions/[0-9]+$", var.repository.token_secret_version))
    error_message = "repository.token_secret_version is not a secret version with a number; expected projects/PROJECT/secrets/NAME/versions/NUMBER."
  }
}

variable "alerts" {
  description = "Who is told (e-mail addresses), and the monthly budget in the billing account's currency. Without a budget none is made."
  type = object({
    emails          = optional(list(string), [])
    budget          = optional(number)
    billing_account = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for email in var.alerts.emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", email))])
    error_message = "alerts.emails has something that is not an e-mail address: ${join(", ", [for email in var.alerts.emails : email if !can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", email))])}."
  }

  validation {
    condition     = var.alerts.budget == null ? true : var.alerts.budget >= 1 && floor(var.alerts.budget) == var.alerts.budget
    error_message = "alerts.budget is a whole number of currency units a month, at least 1."
  }

  validation {
    condition     = var.alerts.budget == null || var.alerts.billing_account != null || var.new_project != null
    error_message = "alerts.budget needs alerts.billing_account when the project exists already: budgets belong to billing accounts (`gcloud billing accounts list`)."
  }
}

variable "published_subscribers" {
  description = "Who outside may subscribe to snapshot-published, as IAM members: [\"serviceAccount:bot@their-project.iam.gserviceaccount.com\"]."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.published_subscribers : can(regex("^(user|group|serviceAccount|principal|principalSet):", member))])
    error_message = "published_subscribers takes IAM members with their kind in front, as in \"serviceAccount:bot@project.iam.gserviceaccount.com\"; allUsers is not taken: anybody could run up costs in this project."
  }
}

variable "keda_version" {
  description = "The version of KEDA and of its helm chart."
  type        = string
  default     = "2.20.0"

  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", var.keda_version))
    error_message = "keda_version is \"${var.keda_version}\"; expected an exact version such as 2.20.0."
  }
}

variable "prices" {
  description = "What estimated_monthly_cost reckons with, in USD: list prices of europe-west1 without discounts. Override them with yours."
  type = object({
    cluster_hour            = optional(number, 0.10)
    autopilot_vcpu_hour     = optional(number, 0.0490)
    autopilot_gib_hour      = optional(number, 0.0054)
    standard_node_hour      = optional(number, 0.2948)
    disk_gib_month          = optional(number, 0.11)
    volume_snapshot_gib_day = optional(number, 0.0019)
    archive_gib_month       = optional(number, 0.020)
    nat_hour                = optional(number, 0.0014)
    nat_gib                 = optional(number, 0.045)
    egress_gib              = optional(number, 0.12)
  })
  default  = {}
  nullable = false
}
