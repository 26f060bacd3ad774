# The four targets of the proposal in a new project, with a domain, a repository, alerts and a budget.
project_id  = "polkashots-main"
new_project = { billing_account = "012345-6789AB-CDEF01", folder_id = "123456789012" }
release     = "v0.1.0"
signing     = { public_key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3", secret_key_file = "polkashots.key" }
site        = { title = "Polkashots", domain = "snapshots.example.org" }
repository = {
  url                  = "https://github.com/example/polkashots.git"
  app_installation_id  = 1234567
  token_secret_version = "projects/polkashots-main/secrets/github-token/versions/1"
}
alerts                = { emails = ["night@example.org", "day@example.org"], budget = 900 }
published_subscribers = ["serviceAccount:bot@other-project.iam.gserviceaccount.com"]

targets = {
  polkadot-rocksdb-prune = {
    chain        = "polkadot"
    database     = "rocksdb"
    permalink    = "dot/rocksdb"
    schedule     = "0 2 * * *"
    disk_size_gb = 700
    formats      = ["tar.zst", "tar.lz4", "tree"]
  }
  polkadot-paritydb-prune = {
    chain         = "polkadot"
    database      = "paritydb"
    permalink     = "dot/paritydb"
    schedule      = "0 4 * * *"
    disk_size_gb  = 600
    bootstrap_url = "https://snapshots.example.com"
  }
  kusama-rocksdb-prune = {
    chain        = "kusama"
    database     = "rocksdb"
    permalink    = "ksm/rocksdb"
    schedule     = "30 */12 * * *"
    disk_size_gb = 600
  }
  kusama-paritydb-prune = {
    chain        = "kusama"
    database     = "paritydb"
    permalink    = "ksm/paritydb"
    schedule     = "0 6 * * MON"
    paused       = true
    disk_size_gb = 500
  }
}
