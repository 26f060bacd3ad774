# One target in an existing project, on Autopilot: the smallest thing that works.
project_id = "dot-snapshots"
release    = "v0.1.0"
signing    = { public_key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3" }

targets = {
  polkadot-paritydb-prune = {
    chain        = "polkadot"
    database     = "paritydb"
    permalink    = "dot/paritydb"
    schedule     = "0 4 * * *"
    disk_size_gb = 600
  }
}
