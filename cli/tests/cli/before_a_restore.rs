//! What decides whether and from where a restore fetches: a dry run, and mirrors.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use polkashots::serve::{Server, listen};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::published::{BASE_PATH, Published};

#[test]
fn a_dry_run_says_what_is_needed_and_writes_nothing() -> Result<()> {
    let published = Published::of("relay400-rocksdb")?;
    let preview = published.restored(&["--dry-run"])?;
    let manifest = &preview["manifest"];
    ensure!(preview["outcome"] == "dry_run" && manifest["version"] == published.version, "{preview:#}");
    ensure!(preview["already_there"] == false && preview["resumed_bytes"] == 0, "{preview:#}");
    let number = |value: &Value| value.as_u64().context("a number");
    let (fetch, archive) = (number(&preview["fetch_bytes"])?, number(&manifest["artifacts"][0]["size"])?);
    ensure!(fetch > 0 && fetch <= archive, "{fetch} of {archive} bytes");
    ensure!(preview["disk_needed_bytes"] == manifest["disk_required"] && number(&preview["disk_free_bytes"])? > 0);
    ensure!(!published.host.path(BASE_PATH).exists(), "something was written");

    let said = published.restore(&["--dry-run"])?.succeeded()?.out;
    for word in ["would restore  relay ", "to fetch ", "disk needed ", "disk free ", "at 100 Mbit/s"] {
        ensure!(said.contains(word), "{word:?} is not said: {said}");
    }
    ensure!(!said.contains("there already"), "{said}");

    published.restored(&[])?;
    let said = published.restore(&["--dry-run"])?.succeeded()?.out;
    ensure!(said.contains("a database is there already"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_serves_the_archive_that_the_bucket_has_lost() -> Result<()> {
    let published = Published::of("relay400-rocksdb")?;
    let archive = format!("relay/{}.tar.zst", published.version);
    let mirror = published.host.path("mirror");
    std::fs::create_dir_all(mirror.join("relay"))?;
    std::fs::rename(published.host.path("bucket").join(&archive), mirror.join(&archive))?;
    published.restore(&["--attempts", "1"])?.failed(1, &[&archive, "not found"])?;
    let served = Mirror::of(&mirror).await?;
    let restored = published.restored(&["--mirror", &format!("http://{}", served.address)])?;
    ensure!(restored["outcome"] == "restored", "{restored:#}");
    published.verify()?.succeeded()?;
    Ok(())
}

/// A folder, served by this process.
struct Mirror {
    address: String,
    stop: CancellationToken,
}

impl Mirror {
    async fn of(bucket: &Path) -> Result<Self> {
        let listener = listen("127.0.0.1:0".parse()?).await?;
        let address = listener.local_addr()?.to_string();
        let (stop, server) = (CancellationToken::new(), Server::new(bucket.join("site"), Some(bucket.to_owned())));
        let stopping = stop.clone();
        tokio::spawn(async move { server.run(listener, stopping).await });
        Ok(Self { address, stop })
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
