//! `polkashots-publisher`: the publisher as a process of its own, on Pub/Sub, a bucket and a host for the site.

use std::process::ExitCode;

use polkashots_publisher::binary::{PublisherSettings, rollback_if_asked, service};

fn main() -> ExitCode {
    if let Some(ended) = rollback_if_asked() {
        return ended;
    }
    polkashots_shared::service::main(
        |settings: PublisherSettings, metrics| async move { service(&settings, metrics).await },
    )
}
