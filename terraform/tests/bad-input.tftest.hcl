# Every wrong input is refused by the variable that it belongs to.

variables {
  project_id = "dot-snapshots"
  release    = "v0.1.0"
  signing    = { public_key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3" }
  targets = {
    polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600 }
  }
}

run "a_project_id_in_upper_case" {
  command = plan

  variables {
    project_id = "DOT-snapshots"
  }

  expect_failures = [var.project_id]
}

run "a_billing_account_by_name" {
  command = plan

  variables {
    new_project = { billing_account = "My Account" }
  }

  expect_failures = [var.new_project]
}

run "a_project_in_two_places" {
  command = plan

  variables {
    new_project = { billing_account = "012345-6789AB-CDEF01", org_id = "1", folder_id = "2" }
  }

  expect_failures = [var.new_project]
}

run "a_zone_for_a_region" {
  command = plan

  variables {
    region = "europe-west1-b"
  }

  expect_failures = [var.region]
}

run "a_long_name" {
  command = plan

  variables {
    name = "a-name-that-is-too-long-for-it"
  }

  expect_failures = [var.name]
}

run "the_tag_latest" {
  command = plan

  variables {
    release = "latest"
  }

  expect_failures = [var.release]
}

run "an_unknown_cluster_mode" {
  command = plan

  variables {
    cluster = { mode = "gigantic" }
  }

  expect_failures = [var.cluster]
}

run "more_nodes_at_least_than_at_most" {
  command = plan

  variables {
    cluster = { mode = "standard", min_nodes = 5, max_nodes = 2 }
  }

  expect_failures = [var.cluster]
}

run "a_zone_with_its_region" {
  command = plan

  variables {
    cluster = { mode = "standard", zone = "europe-west1-b" }
  }

  expect_failures = [var.cluster]
}

run "an_address_that_is_no_network" {
  command = plan

  variables {
    cluster = { authorized_networks = { "office" = "203.0.113.0/24" } }
  }

  expect_failures = [var.cluster]
}

run "an_unknown_store" {
  command = plan

  variables {
    store = { kind = "ftp" }
  }

  expect_failures = [var.store]
}

run "an_s3_store_without_endpoint" {
  command = plan

  variables {
    store = { kind = "s3", bucket = "archive", archive_url = "https://archive.example.org" }
  }

  expect_failures = [var.store]
}

run "an_endpoint_without_s3" {
  command = plan

  variables {
    store = { endpoint = "https://s3.example.org" }
  }

  expect_failures = [var.store]
}

run "a_bucket_in_upper_case" {
  command = plan

  variables {
    store = { bucket = "Archive" }
  }

  expect_failures = [var.store]
}

run "an_unknown_trigger" {
  command = plan

  variables {
    trigger = "cron"
  }

  expect_failures = [var.trigger]
}

run "a_site_id_with_a_dot" {
  command = plan

  variables {
    site = { id = "snapshots.example" }
  }

  expect_failures = [var.site]
}

run "a_domain_with_its_scheme" {
  command = plan

  variables {
    site = { domain = "https://snapshots.example.org" }
  }

  expect_failures = [var.site]
}

run "a_public_key_that_is_a_secret_one" {
  command = plan

  variables {
    signing = { public_key = "RWRTY0IyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }
  }

  expect_failures = [var.signing]
}

run "an_old_key_that_is_none" {
  command = plan

  variables {
    signing = { public_key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3", old_public_keys = ["old.pub"] }
  }

  expect_failures = [var.signing]
}

run "a_repository_by_ssh" {
  command = plan

  variables {
    repository = { url = "git@github.com:example/polkashots.git", app_installation_id = 1, token_secret_version = "projects/p/secrets/s/versions/1" }
  }

  expect_failures = [var.repository]
}

run "a_token_of_no_fixed_version" {
  command = plan

  variables {
    repository = { url = "https://github.com/example/polkashots.git", app_installation_id = 1, token_secret_version = "projects/p/secrets/s/versions/latest" }
  }

  expect_failures = [var.repository]
}

run "an_alert_to_nobody" {
  command = plan

  variables {
    alerts = { emails = ["night"] }
  }

  expect_failures = [var.alerts]
}

run "half_a_budget" {
  command = plan

  variables {
    alerts = { budget = 0.5, billing_account = "012345-6789AB-CDEF01" }
  }

  expect_failures = [var.alerts]
}

run "a_budget_without_an_account" {
  command = plan

  variables {
    alerts = { budget = 100 }
  }

  expect_failures = [var.alerts]
}

run "everybody_as_a_subscriber" {
  command = plan

  variables {
    published_subscribers = ["allUsers"]
  }

  expect_failures = [var.published_subscribers]
}

run "a_range_of_keda_versions" {
  command = plan

  variables {
    keda_version = "~> 2.20"
  }

  expect_failures = [var.keda_version]
}

run "no_target" {
  command = plan

  variables {
    targets = {}
  }

  expect_failures = [var.targets]
}

run "a_target_id_with_an_underscore" {
  command = plan

  variables {
    targets = { polka_dot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600 } }
  }

  expect_failures = [var.targets]
}

run "a_target_id_that_is_too_long" {
  command = plan

  variables {
    targets = { aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600 } }
  }

  expect_failures = [var.targets]
}

run "a_target_named_like_the_publishers_namespace" {
  command = plan

  variables {
    targets = { polkashots = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600 } }
  }

  expect_failures = [var.targets]
}

run "a_target_named_like_a_namespace_of_the_cluster" {
  command = plan

  variables {
    targets = { kube-system = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600 } }
  }

  expect_failures = [var.targets]
}

run "an_unknown_database" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "leveldb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600 } }
  }

  expect_failures = [var.targets]
}

run "pruning_in_words" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, pruning = "some" } }
  }

  expect_failures = [var.targets]
}

run "an_unknown_chain_without_genesis" {
  command = plan

  variables {
    targets = { polkadot = { chain = "own", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600 } }
  }

  expect_failures = [var.targets]
}

run "a_genesis_for_a_built_in_chain" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, genesis_hash = "0xabababababababababababababababababababababababababababababababab" } }
  }

  expect_failures = [var.targets]
}

run "a_genesis_in_upper_case" {
  command = plan

  variables {
    targets = { polkadot = { chain = "own", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, chain_id = "own", genesis_hash = "0xABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB", node = { image = "docker.io/example/own:1" } } }
  }

  expect_failures = [var.targets]
}

run "an_own_chain_without_its_node" {
  command = plan

  variables {
    targets = { polkadot = { chain = "own", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, chain_id = "own", genesis_hash = "0xabababababababababababababababababababababababababababababababab" } }
  }

  expect_failures = [var.targets]
}

run "a_permalink_of_one_segment" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot", schedule = "0 4 * * *", disk_size_gb = 600 } }
  }

  expect_failures = [var.targets]
}

run "one_permalink_for_two_targets" {
  command = plan

  variables {
    targets = { a = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600 }, b = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600 } }
  }

  expect_failures = [var.targets]
}

run "a_schedule_of_six_fields" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 0 4 * * *", disk_size_gb = 600 } }
  }

  expect_failures = [var.targets]
}

run "a_schedule_in_words" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "@daily", disk_size_gb = 600 } }
  }

  expect_failures = [var.targets]
}

run "a_disk_of_nothing" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 1 } }
  }

  expect_failures = [var.targets]
}

run "a_disk_of_half_a_gigabyte_more" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 100.5 } }
  }

  expect_failures = [var.targets]
}

run "an_unknown_format" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, formats = ["tar.zst", "zip"] } }
  }

  expect_failures = [var.targets]
}

run "formats_without_the_default" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, formats = ["tar.lz4"] } }
  }

  expect_failures = [var.targets]
}

run "retention_that_keeps_nothing" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, retention = { keep = 0 } } }
  }

  expect_failures = [var.targets]
}

run "a_grace_period_that_is_too_short" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, retention = { grace_hours = 24 } } }
  }

  expect_failures = [var.targets]
}

run "a_compression_level_that_stock_tools_refuse" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, compression = { level = 22 } } }
  }

  expect_failures = [var.targets]
}

run "an_age_of_nothing" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, max_age_hours = 0 } }
  }

  expect_failures = [var.targets]
}

run "an_explorer_without_a_block" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, explorers = [{ name = "X", url = "https://x.example.org/" }] } }
  }

  expect_failures = [var.targets]
}

run "a_node_of_the_latest_image" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, node = { image = "docker.io/parity/polkadot:latest" } } }
  }

  expect_failures = [var.targets]
}

run "a_node_image_without_a_tag" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, node = { image = "docker.io/parity/polkadot" } } }
  }

  expect_failures = [var.targets]
}

run "a_bootstrap_over_http" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, bootstrap_url = "http://snapshots.example.org" } }
  }

  expect_failures = [var.targets]
}

run "a_bootstrap_key_that_is_none" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, bootstrap_url = "https://snapshots.example.org", bootstrap_key = "polkashots.pub" } }
  }

  expect_failures = [var.targets]
}

run "a_bootstrap_key_without_a_bootstrap" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, bootstrap_key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3" } }
  }

  expect_failures = [var.targets]
}

run "a_node_binary_that_is_no_path" {
  command = plan

  variables {
    targets = { polkadot = { chain = "polkadot", database = "paritydb", permalink = "dot/paritydb", schedule = "0 4 * * *", disk_size_gb = 600, node = { binary = "polkadot" } } }
  }

  expect_failures = [var.targets]
}
