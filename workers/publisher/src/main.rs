//! `polkashots-publisher`: the publisher as a process of its own, on Pub/Sub, a bucket and a host for the site.

use std::process::ExitCode;

use polkashots_publisher::binary::{PublisherSettings, service};

fn main() -> ExitCode {
    polkashots_shared::service::main(
        |settings: PublisherSettings, metrics| async move { service(&settings, metrics).await },
    )
}
