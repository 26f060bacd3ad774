# What comes out of several target maps and switches. Run by script/check-terraform.

variables {
  project_id = "dot-snapshots"
  release    = "v0.1.0"
  signing    = { public_key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3" }
  targets = {
    polkadot-paritydb-prune = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600 }
  }
}

run "one_target_in_an_existing_project" {
  command = plan

  assert {
    condition     = output.trigger_commands["polkadot-paritydb-prune"] == "gcloud pubsub topics publish polkashots-tick --project dot-snapshots --attribute target=polkadot-paritydb-prune --message '{}'"
    error_message = "the trigger command does not name topic, project and target"
  }

  assert {
    condition     = output.permalinks == { polkadot-paritydb-prune = "https://dot-snapshots-site.web.app/dot/paritydb" }
    error_message = "the permalink is not the site's address and the target's path"
  }

  assert {
    condition     = output.archive_url == "https://storage.googleapis.com/dot-snapshots-polkashots"
    error_message = "the archive is not read where the bucket is"
  }

  assert {
    condition     = keys(module.workloads.namespaces) == ["polkadot-paritydb-prune", "polkashots"]
    error_message = "the namespaces are not the target's and the publisher's"
  }

  assert {
    condition     = output.estimated_monthly_cost.total > 100 && output.estimated_monthly_cost.total < 1000
    error_message = "one target of 600 GB should cost hundreds of dollars a month, not ${output.estimated_monthly_cost.total}"
  }
}

run "each_target_has_its_subscriptions_filtered_by_its_id" {
  command = plan

  module {
    source = "./modules/pubsub"
  }

  variables {
    prefix                = "polkashots-"
    project_id            = "dot-snapshots"
    project_number        = "42"
    region                = "europe-west1"
    targets               = ["a", "b"]
    published_subscribers = []
  }

  assert {
    condition = toset([for subscription in google_pubsub_subscription.this : subscription.name]) == toset([
      "polkashots-engine.tick.a", "polkashots-engine.snapshot-uploaded.a", "polkashots-engine.snapshot-failed.a", "polkashots-snapshotter.volume-snapshot-ready.a",
      "polkashots-engine.tick.b", "polkashots-engine.snapshot-uploaded.b", "polkashots-engine.snapshot-failed.b", "polkashots-snapshotter.volume-snapshot-ready.b",
      "polkashots-publisher.snapshot-uploaded", "polkashots-publisher.snapshot-failed",
    ])
    error_message = "the subscriptions are not those that the workers read"
  }

  assert {
    condition     = google_pubsub_subscription.this["engine.tick.b"].filter == "attributes.target = \"b\""
    error_message = "a target's subscription does not filter for it"
  }

  assert {
    condition     = google_pubsub_subscription.this["publisher.snapshot-uploaded"].filter == null
    error_message = "the publisher's subscription is filtered: it would miss targets"
  }

  assert {
    condition     = alltrue([for subscription in google_pubsub_subscription.this : subscription.enable_exactly_once_delivery && subscription.expiration_policy[0].ttl == "" && subscription.dead_letter_policy[0].max_delivery_attempts == 5])
    error_message = "a subscription lacks confirmed acknowledgements, expires, or has no dead letters"
  }
}

run "a_tick_is_a_bare_message_with_the_target" {
  command = plan

  module {
    source = "./modules/scheduler"
  }

  variables {
    prefix     = "polkashots-"
    region     = "europe-west1"
    tick_topic = "projects/dot-snapshots/topics/polkashots-tick"
    targets    = { a = { schedule = "0 4 * * *", time_zone = "Etc/UTC", paused = true } }
  }

  assert {
    condition     = google_cloud_scheduler_job.tick["a"].pubsub_target[0].attributes == tomap({ target = "a" }) && google_cloud_scheduler_job.tick["a"].paused
    error_message = "the job does not send the target, or a paused target is not paused"
  }
}

run "a_worker_reaches_its_own_folder_only" {
  command = plan

  module {
    source = "./modules/identity"
  }

  variables {
    project_id        = "dot-snapshots"
    project_number    = "42"
    targets           = ["a"]
    publisher_space   = "polkashots"
    bucket            = "archive"
    secret_id         = "projects/dot-snapshots/secrets/polkashots-signing-key"
    dead_letter_topic = "projects/dot-snapshots/topics/polkashots-dead-letters"
    topics            = { for topic in ["tick", "volume-snapshot-ready", "snapshot-uploaded", "snapshot-failed", "snapshot-published"] : topic => "projects/dot-snapshots/topics/polkashots-${topic}" }
    subscriptions = {
      "engine.tick.a"               = { worker = "engine", topic = "tick", target = "a", name = "polkashots-engine.tick.a" }
      "publisher.snapshot-uploaded" = { worker = "publisher", topic = "snapshot-uploaded", target = null, name = "polkashots-publisher.snapshot-uploaded" }
    }
  }

  assert {
    condition     = strcontains(google_storage_bucket_iam_member.uploads["snapshotter.a"].condition[0].expression, "startsWith(\"projects/_/buckets/archive/objects/a/\")")
    error_message = "the snapshotter's right to write is not cut to its target's folder"
  }

  assert {
    condition     = google_secret_manager_secret_iam_member.publisher.member == "principal://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/dot-snapshots.svc.id.goog/subject/ns/polkashots/sa/publisher"
    error_message = "somebody else than the publisher reads the signing key"
  }

  assert {
    condition     = google_pubsub_subscription_iam_member.reads["engine.tick.a"].member == output.members["engine.a"]
    error_message = "the engine may not read its own subscription"
  }
}

run "twenty_targets" {
  command = plan

  variables {
    targets = { for index in range(20) : "polkadot-${index}" => { chain = "polkadot", database = "rocksdb", permalink = "dot/t${index}", schedule = "${index} ${index} * * *", disk_size_gb = 300 } }
  }

  assert {
    condition     = length(module.pubsub.subscriptions) == 20 * 4 + 2
    error_message = "twenty targets should have 82 subscriptions, found ${length(module.pubsub.subscriptions)}"
  }

  assert {
    condition     = length(module.workloads.namespaces) == 21
    error_message = "twenty targets should have 21 namespaces, found ${length(module.workloads.namespaces)}"
  }
}

run "a_new_project_with_a_domain" {
  command = plan

  variables {
    new_project = { billing_account = "012345-6789AB-CDEF01", org_id = "123456789012" }
    site        = { domain = "snapshots.example.org" }
    alerts      = { emails = ["night@example.org"], budget = 500 }
  }

  assert {
    condition     = output.site_url == "https://snapshots.example.org"
    error_message = "the site is not at its domain"
  }
}

run "standard_cluster_is_in_one_zone" {
  command = plan

  variables {
    cluster = { mode = "standard", zone = "d" }
  }

  assert {
    condition     = strcontains(output.kubectl_command, "--location europe-west1-d")
    error_message = "a standard cluster's disks and nodes should lie in one zone"
  }
}

run "s3_store_makes_no_bucket_and_asks_for_credentials" {
  command = plan

  variables {
    store = { kind = "s3", bucket = "archive", endpoint = "https://s3.example.org", archive_url = "https://archive.example.org" }
  }

  assert {
    condition     = length(module.storage) == 0 && output.archive_url == "https://archive.example.org"
    error_message = "a bucket is made although snapshots lie in an S3 store"
  }

  assert {
    condition     = length(output.s3_credentials_commands) == 2
    error_message = "both namespaces need the store's credentials"
  }
}

run "a_chain_of_ones_own_is_spelled_out_in_the_targets_file" {
  command = plan

  variables {
    targets = {
      polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600 }
      own      = { chain = "own", chain_id = "own_local", genesis_hash = "0x00000000000000000000000000000000000000000000000000000000000000ab", database = "rocksdb", permalink = "own/rocksdb", schedule = "0 */6 * * *", disk_size_gb = 100, node = { image = "docker.io/example/own:1.2.3" } }
    }
  }

  assert {
    condition     = jsondecode(local.target_json["own"]).chain == { genesis_hash = "0x00000000000000000000000000000000000000000000000000000000000000ab", id = "own_local", name = "own" } && jsondecode(local.target_json["polkadot"]).chain == "polkadot"
    error_message = "the targets file does not hold one chain by name and the other spelled out: ${local.target_json["own"]}"
  }

  assert {
    condition     = local.targets["own"].max_age_hours == 12 && local.targets["polkadot"].max_age_hours == 48
    error_message = "an alert should come after twice the schedule"
  }

  assert {
    condition     = jsondecode(local.target_json["own"]).node == { name = "own", version = "1.2.3" }
    error_message = "the node's name and version are not read off its image"
  }
}

run "placeholders_are_filled_in_whatever_the_values_are" {
  command = plan

  module {
    source = "./modules/workloads"
  }

  variables {
    publisher_space = "polkashots"
    variant         = { trigger = "gcp-pubsub", store = "gcs" }
    rendered        = "./tests/filled"
    old_public_keys = ["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"]
    target_json     = { a = "{\"id\":\"a\"}", b = "{\"id\":\"b\"}" }
    targets         = { for id in ["a", "b"] : id => { id = id, chain = "polkadot", chain_id = "polkadot", database = "paritydb", pruning = id == "b" ? "archive" : "256", permalink = "dot/${id}", disk_size_gb = 600, node_image = "docker.io/parity/polkadot:v1", formats = id == "b" ? ["tar.zst", "blocks.zst"] : ["tar.zst"], bootstrap_url = id == "b" ? "https://example.org" : null, bootstrap_key = id == "b" ? "RWtheirs" : null, node = { cpu = "2", memory = "8Gi", binary = "/usr/bin/polkadot" } } }
    settings        = { public_key = "RWours", site_title = "O'Brien's \"shots\": {a} # $${b} \\ é" }
  }

  assert {
    condition     = jsondecode(helm_release.publisher.values[0]).objects[0].data.title == "O'Brien's \"shots\": {a} # $${b} \\ é"
    error_message = "a title with quotes and braces does not come out as it went in: ${helm_release.publisher.values[0]}"
  }

  assert {
    condition     = jsondecode(helm_release.publisher.values[0]).objects[0].data.targets == "[{\"id\":\"a\"},{\"id\":\"b\"}]"
    error_message = "the publisher does not know all targets"
  }

  assert {
    condition     = jsondecode(helm_release.target["b"].values[0]).objects[0].data.targets == "[{\"id\":\"b\"}]"
    error_message = "a target's workers know other targets: an engine would sweep namespaces that it may not see"
  }

  assert {
    condition     = jsondecode(helm_release.target["a"].values[0]).objects[1].spec.storage == "600Gi"
    error_message = "the volume's size is not filled in"
  }

  assert {
    condition     = [for id in ["a", "b"] : jsondecode(helm_release.target[id].values[0]).objects[1].spec.node] == ["warp RWours no node", "full RWtheirs /usr/bin/polkadot"]
    error_message = "an archive should sync in full, a first snapshot be checked with its own key, and only blocks.zst bring the node's program: ${helm_release.target["b"].values[0]}"
  }

  assert {
    condition     = helm_release.target["a"].wait && !helm_release.target["b"].wait
    error_message = "apply waits for a node that fills its volume first, or does not wait for one that does not"
  }

  assert {
    condition     = [for object in jsondecode(helm_release.publisher.values[0]).objects : object.metadata.name if object.kind == "ConfigMap"] == ["settings", "old-public-keys", "publisher-extra"]
    error_message = "keys of before a rotation do not reach the publisher"
  }
}
