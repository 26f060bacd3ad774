# What is snapshotted. The keys of the map are target ids: they name the namespace, the folder in the bucket, the
# subscriptions and the restore claim.

variable "targets" {
  description = "One entry per chain x database x pruning that is snapshotted."
  type = map(object({
    # What the node's --chain takes. polkadot, kusama, westend and paseo are built in; any other chain needs chain_id and genesis_hash.
    chain        = string
    chain_id     = optional(string)
    genesis_hash = optional(string)
    database     = string
    pruning      = optional(string, "256")
    # The stable path on the site, as in dot/paritydb.
    permalink = string
    # Five cron fields. Cloud Scheduler sends the tick.
    schedule  = string
    time_zone = optional(string, "Etc/UTC")
    # True keeps the schedule but sends nothing; the node goes on.
    paused = optional(bool, false)
    # Hours after which a missing snapshot is an alert. Null: twice the schedule's period, as far as it can be read off.
    max_age_hours = optional(number)
    # The node's volume. It can be raised later, never lowered.
    disk_size_gb = number
    # What one archive will take in the bucket; only for the cost estimate. Null: 40 % of the volume.
    archive_size_gb = optional(number)
    formats         = optional(list(string), ["tar.zst"])
    compression     = optional(object({ level = optional(number, 3), frame_size_bytes = optional(number, 4194304), threads = optional(number, 0) }), {})
    retention       = optional(object({ keep = optional(number, 7), grace_hours = optional(number, 72), failure_hours = optional(number, 168) }), {})
    # {height} and {hash} are replaced. Null: the explorers of the built-in chains.
    explorers = optional(list(object({ name = string, url = string })))
    node = optional(object({
      image   = optional(string)
      version = optional(string)
      # Where the program lies in the image; only blocks.zst needs to know.
      binary = optional(string, "/usr/bin/polkadot")
      cpu    = optional(string, "2")
      memory = optional(string, "8Gi")
    }), {})
    # A site or manifest that the node's volume is filled from before its first start. Null: the node syncs.
    bootstrap_url = optional(string)
    # The public key that must have signed it: RW.... Null: this project's own.
    bootstrap_key = optional(string)
  }))

  validation {
    condition     = length(var.targets) >= 1
    error_message = "targets is empty; expected at least one, as in { \"polkadot-paritydb-prune\" = { chain = \"polkadot\", database = \"paritydb\", ... } }."
  }

  validation {
    condition     = alltrue([for id in keys(var.targets) : can(regex("^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", id))])
    error_message = "not target ids: ${join(", ", [for id in keys(var.targets) : "\"${id}\"" if !can(regex("^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", id))])}; expected 1 to 40 of a-z, 0-9 and '-', with no '-' at either end."
  }

  validation {
    condition     = alltrue([for id in keys(var.targets) : !contains(local.reserved_namespaces, id) && !startswith(id, "kube-") && !startswith(id, "gke-") && !startswith(id, "gmp-")])
    error_message = "a target's id is its namespace, and these are taken by the cluster: ${join(", ", [for id in keys(var.targets) : id if contains(local.reserved_namespaces, id) || startswith(id, "kube-") || startswith(id, "gke-") || startswith(id, "gmp-")])}; choose other ids."
  }

  validation {
    condition     = alltrue([for target in var.targets : contains(["rocksdb", "paritydb"], target.database)])
    error_message = "database must be \"rocksdb\" or \"paritydb\": ${join(", ", [for id, target in var.targets : "${id} has \"${target.database}\"" if !contains(["rocksdb", "paritydb"], target.database)])}."
  }

  validation {
    condition     = alltrue([for target in var.targets : can(regex("^(archive|archive-canonical|[1-9][0-9]*)$", target.pruning))])
    error_message = "pruning is what the node's --state-pruning takes, \"archive\", \"archive-canonical\" or a number of blocks: ${join(", ", [for id, target in var.targets : "${id} has \"${target.pruning}\"" if !can(regex("^(archive|archive-canonical|[1-9][0-9]*)$", target.pruning))])}."
  }

  validation {
    condition     = alltrue([for target in var.targets : contains(keys(local.built_in_chains), target.chain) ? target.genesis_hash == null && target.chain_id == null : can(regex("^0x[0-9a-f]{64}$", target.genesis_hash)) && can(regex("^[A-Za-z0-9_-]+$", target.chain_id))])
    error_message = "a chain is either one of ${join(", ", keys(local.built_in_chains))}, with neither chain_id nor genesis_hash, or any other with both: chain_id (the folder under chains/) and genesis_hash (0x and 64 lower-case hexadecimal digits). Wrong: ${join(", ", [for id, target in var.targets : id if !(contains(keys(local.built_in_chains), target.chain) ? target.genesis_hash == null && target.chain_id == null : can(regex("^0x[0-9a-f]{64}$", target.genesis_hash)) && can(regex("^[A-Za-z0-9_-]+$", target.chain_id)))])}."
  }

  validation {
    condition     = alltrue([for target in var.targets : can(regex("^[a-z0-9-]+(/[a-z0-9-]+){1,2}$", target.permalink)) && length(target.permalink) <= 80])
    error_message = "a permalink is two or three segments of a-z, 0-9 and '-', as in dot/paritydb: ${join(", ", [for id, target in var.targets : "${id} has \"${target.permalink}\"" if !can(regex("^[a-z0-9-]+(/[a-z0-9-]+){1,2}$", target.permalink)) || length(target.permalink) > 80])}."
  }

  validation {
    condition     = length(distinct([for target in var.targets : target.permalink])) == length(var.targets)
    error_message = "two targets have the same permalink: ${join(", ", [for permalink, ids in { for id, target in var.targets : target.permalink => id... } : "${permalink} (${join(", ", ids)})" if length(ids) > 1])}; give each its own."
  }

  validation {
    condition     = alltrue([for target in var.targets : can(regex("^[0-9*/,-]+ [0-9*/,-]+ [0-9*/,-]+ ([0-9*/,-]|[A-Z]{3})+ ([0-9*/,-]|[A-Z]{3})+$", target.schedule))])
    error_message = "a schedule has five cron fields (minute, hour, day, month, weekday), as in \"0 4 * * *\": ${join(", ", [for id, target in var.targets : "${id} has \"${target.schedule}\"" if !can(regex("^[0-9*/,-]+ [0-9*/,-]+ [0-9*/,-]+ ([0-9*/,-]|[A-Z]{3})+ ([0-9*/,-]|[A-Z]{3})+$", target.schedule))])}."
  }

  validation {
    condition     = alltrue([for target in var.targets : target.disk_size_gb >= 10 && target.disk_size_gb <= 65536 && floor(target.disk_size_gb) == target.disk_size_gb])
    error_message = "disk_size_gb is a whole number from 10 to 65536: ${join(", ", [for id, target in var.targets : "${id} has ${target.disk_size_gb}" if target.disk_size_gb < 10 || target.disk_size_gb > 65536 || floor(target.disk_size_gb) != target.disk_size_gb])}."
  }

  validation {
    condition     = alltrue(flatten([for target in var.targets : [for format in target.formats : contains(["tar.zst", "tar.lz4", "tree", "blocks.zst"], format)]])) && alltrue([for target in var.targets : contains(target.formats, "tar.zst")])
    error_message = "formats are of tar.zst (always published), tar.lz4, tree and blocks.zst: ${join(", ", [for id, target in var.targets : "${id} has [${join(", ", target.formats)}]" if !contains(target.formats, "tar.zst") || length(setsubtract(target.formats, ["tar.zst", "tar.lz4", "tree", "blocks.zst"])) > 0])}."
  }

  validation {
    condition     = alltrue([for target in var.targets : target.retention.keep >= 1 && target.retention.grace_hours >= 72 && target.retention.failure_hours >= 1])
    error_message = "retention needs keep >= 1 (the newest is never deleted), grace_hours >= 72 (somebody may be downloading) and failure_hours >= 1: ${join(", ", [for id, target in var.targets : id if target.retention.keep < 1 || target.retention.grace_hours < 72 || target.retention.failure_hours < 1])}."
  }

  validation {
    condition     = alltrue([for target in var.targets : target.compression.level >= 1 && target.compression.level <= 19 && target.compression.frame_size_bytes >= 262144 && target.compression.frame_size_bytes <= 67108864 && target.compression.threads >= 0 && target.compression.threads <= 256])
    error_message = "compression takes level 1 to 19, frame_size_bytes 262144 to 67108864, threads 0 to 256 (0: one per core): ${join(", ", [for id, target in var.targets : id if target.compression.level < 1 || target.compression.level > 19 || target.compression.frame_size_bytes < 262144 || target.compression.frame_size_bytes > 67108864 || target.compression.threads < 0 || target.compression.threads > 256])}."
  }

  validation {
    condition     = alltrue([for target in var.targets : target.max_age_hours == null ? true : target.max_age_hours >= 1])
    error_message = "max_age_hours is at least 1: ${join(", ", [for id, target in var.targets : id if target.max_age_hours == null ? false : target.max_age_hours < 1])}."
  }

  validation {
    condition     = alltrue(flatten([for target in var.targets : [for explorer in coalesce(target.explorers, []) : can(regex("^https://.*\\{(height|hash)\\}", explorer.url))]]))
    error_message = "an explorer's url starts with https:// and has {height} or {hash} in it: ${join(", ", flatten([for id, target in var.targets : [for explorer in coalesce(target.explorers, []) : "${id}: ${explorer.url}" if !can(regex("^https://.*\\{(height|hash)\\}", explorer.url))]]))}."
  }

  validation {
    condition     = alltrue([for target in var.targets : target.node.image == null ? true : can(regex("(:[A-Za-z0-9_][A-Za-z0-9._-]*(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})$", target.node.image)) && !endswith(target.node.image, ":latest")])
    error_message = "node.image needs a tag other than latest, a digest, or both: ${join(", ", [for id, target in var.targets : "${id} has \"${target.node.image}\"" if target.node.image == null ? false : !can(regex("(:[A-Za-z0-9_][A-Za-z0-9._-]*(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})$", target.node.image)) || endswith(target.node.image, ":latest")])}."
  }

  validation {
    condition     = alltrue([for target in var.targets : contains(keys(local.built_in_chains), target.chain) || target.node.image != null])
    error_message = "a chain that is not built in needs node.image, the image of its own node: ${join(", ", [for id, target in var.targets : id if !contains(keys(local.built_in_chains), target.chain) && target.node.image == null])}."
  }

  validation {
    condition     = alltrue([for target in var.targets : target.bootstrap_url == null ? true : startswith(target.bootstrap_url, "https://")])
    error_message = "bootstrap_url starts with https://: ${join(", ", [for id, target in var.targets : id if target.bootstrap_url == null ? false : !startswith(target.bootstrap_url, "https://")])}."
  }

  validation {
    condition     = alltrue([for target in var.targets : target.bootstrap_key == null ? true : target.bootstrap_url != null && can(regex("^RW[A-Za-z0-9+/]{54}$", target.bootstrap_key))])
    error_message = "bootstrap_key is the base64 line of a minisign public key (RW and 54 more characters), and goes with bootstrap_url: ${join(", ", [for id, target in var.targets : id if target.bootstrap_key == null ? false : target.bootstrap_url == null || !can(regex("^RW[A-Za-z0-9+/]{54}$", target.bootstrap_key))])}."
  }

  validation {
    condition     = alltrue([for target in var.targets : can(regex("^/[^ ]+$", target.node.binary))])
    error_message = "node.binary is an absolute path in the node's image, as in \"/usr/bin/polkadot\": ${join(", ", [for id, target in var.targets : "${id} has \"${target.node.binary}\"" if !can(regex("^/[^ ]+$", target.node.binary))])}."
  }
}
