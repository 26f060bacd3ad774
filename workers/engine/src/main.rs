//! `polkashots-engine`: the engine as a process of its own, on Pub/Sub, a bucket and Kubernetes.

use std::process::ExitCode;

use polkashots_engine::binary::{EngineSettings, service};

fn main() -> ExitCode {
    polkashots_shared::service::main(
        |settings: EngineSettings, metrics| async move { service(&settings, metrics).await },
    )
}
