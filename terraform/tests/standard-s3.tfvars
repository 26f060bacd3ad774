# A chain that is not built in, on a Standard cluster, with an S3-compatible store and the Prometheus trigger.
project_id = "parachain-snapshots"
region     = "us-central1"
name       = "para-shots"
release    = "3f2a91c"
trigger    = "prometheus"
signing    = { public_key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3" }
cluster    = { mode = "standard", zone = "c", max_nodes = 3, authorized_networks = { "203.0.113.0/24" = "office" } }
store = {
  kind        = "s3"
  bucket      = "para-archive"
  endpoint    = "https://0123456789abcdef.r2.cloudflarestorage.com"
  archive_url = "https://archive.example.org"
}

targets = {
  para-archive = {
    chain        = "para"
    chain_id     = "para_local"
    genesis_hash = "0x00000000000000000000000000000000000000000000000000000000000000ab"
    database     = "rocksdb"
    pruning      = "archive"
    permalink    = "para/rocksdb/archive"
    schedule     = "15 3 1 * *"
    disk_size_gb = 2000
    retention    = { keep = 2 }
    explorers    = [{ name = "Own", url = "https://explorer.example.org/block/{height}" }]
    node         = { image = "docker.io/example/para-node:1.2.3@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", cpu = "4", memory = "16Gi" }
  }
  westend-paritydb-prune = {
    chain        = "westend"
    database     = "paritydb"
    permalink    = "wnd/paritydb"
    schedule     = "0 * * * *"
    disk_size_gb = 200
  }
}
