//! `polkashots-snapshotter`: the snapshotter as a process of its own, on Pub/Sub, a bucket and a mounted restore claim.

use std::process::ExitCode;

use polkashots_snapshotter::binary::{SnapshotterSettings, service};

fn main() -> ExitCode {
    polkashots_shared::service::main(|settings: SnapshotterSettings, metrics| async move {
        service(&settings, metrics).await
    })
}
