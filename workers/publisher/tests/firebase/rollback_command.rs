//! `polkashots-publisher rollback`.

use std::process::{Command, Output};

use anyhow::{Result, ensure};
use polkashots_publisher::SiteHost;

use crate::stand_in::StandIn;
use crate::{ensure_serves, host, site};

async fn rollback(arguments: Vec<String>) -> Result<Output> {
    let run = move || Command::new(env!("CARGO_BIN_EXE_polkashots-publisher")).arg("rollback").args(arguments).output();
    Ok(tokio::task::spawn_blocking(run).await??)
}

#[tokio::test]
async fn the_rollback_command_serves_the_release_of_before() -> Result<()> {
    let stand_in = StandIn::start().await?;
    let host = host(&stand_in)?;
    host.deploy(&site("one")).await?;
    host.deploy(&site("two")).await?;
    let arguments =
        [format!("--site-host=firebase:{}", crate::SITE), format!("--firebase-endpoint={}", stand_in.origin())];
    let ran = rollback(arguments.to_vec()).await?;
    let said = String::from_utf8_lossy(&ran.stdout);
    ensure!(ran.status.success() && said.contains("live now: "), "{ran:?}");
    ensure_serves(&stand_in, &["one"])?;
    let ran = rollback(arguments.to_vec()).await?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(!ran.status.success() && said.contains("no earlier release"), "{ran:?}");
    Ok(())
}

#[tokio::test]
async fn the_rollback_command_tells_what_it_needs() -> Result<()> {
    for (arguments, code, expected) in [
        (vec![], 2, "--site-host or POLKASHOTS_SITE_HOST"),
        (vec!["--site-host=gs://www".to_owned()], 1, "gs://www keeps no releases: expected firebase:SITE"),
        (vec!["--site-host=firebase:".to_owned()], 2, "expected firebase:SITE"),
    ] {
        let ran = rollback(arguments).await?;
        let said = String::from_utf8_lossy(&ran.stderr);
        ensure!(ran.status.code() == Some(code) && said.contains(expected), "{ran:?}");
    }
    Ok(())
}
