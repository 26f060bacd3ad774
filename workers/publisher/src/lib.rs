//! Signs manifests, keeps the index, renders the site and announces snapshots.
