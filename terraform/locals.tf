locals {
  labels = { "managed-by" = "terraform", "app" = var.name }

  # As in shared/src/chain.rs: the names that the workers know without a genesis hash, and the folder of each under chains/.
  built_in_chains = {
    polkadot = "polkadot"
    kusama   = "ksmcc3"
    westend  = "westend2"
    paseo    = "paseo"
  }

  # As in shared/src/chain.rs. The targets file has no defaults of its own, so the cloud says them here.
  explorer_hosts = {
    polkadot = { subscan = "polkadot.subscan.io", rpc = "rpc.polkadot.io", statescan = "polkadot.statescan.io" }
    kusama   = { subscan = "kusama.subscan.io", rpc = "kusama-rpc.polkadot.io", statescan = "kusama.statescan.io" }
    westend  = { subscan = "westend.subscan.io", rpc = "westend-rpc.polkadot.io", statescan = "westend.statescan.io" }
    paseo    = { subscan = "paseo.subscan.io", rpc = "paseo.rpc.amforc.com", statescan = null }
  }
  explorers = {
    for chain, host in local.explorer_hosts : chain => concat(
      [
        { name = "Subscan", url = "https://${host.subscan}/block/{height}" },
        { name = "Polkadot-JS Apps", url = "https://polkadot.js.org/apps/?rpc=wss%3A%2F%2F${host.rpc}#/explorer/query/{hash}" },
      ],
      host.statescan == null ? [] : [{ name = "Statescan", url = "https://${host.statescan}/#/blocks/{height}" }],
    )
  }

  # Namespaces of the cluster and of our own; a target's id may be none of them.
  reserved_namespaces = ["default", "keda", "gatekeeper-system", "config-management-system", var.name]

  # Upstream's image, for built-in chains. Add @sha256:... to hold it to the byte.
  default_node_image = "docker.io/parity/polkadot:v1.25.1"

  topic_prefix = "${var.name}-"
  image_names  = ["snapshot-importer", "snapshot-engine", "snapshotter", "website-builder"]

  bucket      = coalesce(var.store.bucket, "${var.project_id}-${var.name}")
  store_url   = var.store.kind == "gcs" ? "gs://${local.bucket}" : "s3://${local.bucket}"
  archive_url = var.store.kind == "gcs" ? "https://storage.googleapis.com/${local.bucket}" : var.store.archive_url

  site_id  = coalesce(var.site.id, trimsuffix(substr("${var.project_id}-site", 0, 30), "-"))
  site_url = var.site.domain == null ? "https://${local.site_id}.web.app" : "https://${var.site.domain}"

  targets = {
    for id, target in var.targets : id => merge(target, {
      id         = id
      node_image = coalesce(target.node.image, local.default_node_image)
      # The site shows it; read off the image's tag where nobody says it.
      node_version  = target.node.version != null ? target.node.version : try(regex(":v?([0-9]+\\.[0-9]+\\.[0-9]+)(@sha256:[0-9a-f]{64})?$", coalesce(target.node.image, local.default_node_image))[0], null)
      chain_id      = target.chain_id != null ? target.chain_id : lookup(local.built_in_chains, target.chain, target.chain)
      period_hours  = local.period_hours[id]
      max_age_hours = coalesce(target.max_age_hours, 2 * local.period_hours[id])
    })
  }

  # How often a schedule ticks, as far as it can be read off; the longest reading where it is unclear, so that no alert
  # fires too early. max_age_hours overrides it.
  cron = { for id, target in var.targets : id => zipmap(["minute", "hour", "day", "month", "weekday"], split(" ", target.schedule)) }
  period_hours = {
    for id, cron in local.cron : id => (
      cron.month != "*" ? 366 * 24 :
      cron.day != "*" ? 31 * 24 :
      cron.weekday != "*" ? 7 * 24 :
      cron.hour == "*" ? 1 :
      can(regex("^\\*/[0-9]+$", cron.hour)) ? tonumber(trimprefix(cron.hour, "*/")) :
      24
    )
  }

  # What the workers' targets files say of each target, in the words of shared/src/target.rs. As text: a chain is a name
  # or an object, and one HCL list cannot hold both.
  target_json = {
    for id, target in local.targets : id => jsonencode(merge(
      {
        id          = id
        permalink   = target.permalink
        chain       = target.chain
        database    = target.database
        pruning     = target.pruning
        formats     = target.formats
        compression = target.compression
        retention   = target.retention
        schedule    = target.schedule
        time_zone   = target.time_zone
        explorers   = target.explorers != null ? target.explorers : lookup(local.explorers, target.chain, [])
      },
      target.genesis_hash == null ? {} : { chain = { name = target.chain, id = target.chain_id, genesis_hash = target.genesis_hash } },
      target.node_version == null ? {} : { node = { name = local.node_names[id], version = target.node_version } },
    ))
  }
  # The image's last part: docker.io/parity/polkadot:v1.25.1@sha256:... is polkadot.
  node_names = { for id, target in local.targets : id => split(":", reverse(split("/", split("@", target.node_image)[0]))[0])[0] }
}
