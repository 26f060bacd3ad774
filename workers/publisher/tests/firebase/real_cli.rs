//! Google's own `firebase-tools` deploying to the stand-in: what it is known to speak is what the host is tested against.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use polkashots_publisher::SiteHost;
use polkashots_shared::testkit::skip::program_or_skip;
use serde_json::json;

use crate::stand_in::StandIn;
use crate::{SITE, ensure_serves, host, live, npm, site};

/// Everywhere that `firebase deploy --only hosting` asks.
const ORIGINS: [&str; 6] = [
    "FIREBASE_API_URL",
    "FIREBASE_HOSTING_API_URL",
    "FIREBASE_HOSTING_URL",
    "FIREBASE_REALTIME_URL",
    "FIREBASE_RESOURCEMANAGER_URL",
    "FIREBASE_TOKEN_URL",
];

/// A folder as `firebase init hosting` makes it, with a site of two files.
fn project(folder: &Path) -> Result<()> {
    let config = json!({ "hosting": {
        "site": SITE,
        "public": "public",
        "redirects": [{ "source": "/dot", "destination": "https://a.example/cli", "type": 302 }],
        "headers": [{ "source": "/assets/**", "headers": [{ "key": "Cache-Control", "value": "no-cache" }] }],
    }});
    // A person who is signed in: no token is asked for anywhere.
    let account = json!({
        "user": { "email": "person@example.org" },
        "tokens": {
            "access_token": "unused", "refresh_token": "unused", "expires_at": 4_102_444_800_000_u64,
            "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
        },
    });
    for (path, text) in [
        ("firebase.json", config.to_string()),
        ("config/configstore/firebase-tools.json", account.to_string()),
        ("public/index.html", "of the command line".to_owned()),
        ("public/assets/style.css", "the same in every site".to_owned()),
    ] {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, text)?;
    }
    Ok(())
}

async fn firebase_deploy(node: PathBuf, package: &Path, folder: &Path, stand_in: &StandIn) -> Result<()> {
    let mut command = Command::new(node);
    command.arg(package.join("lib/bin/firebase.js")).args(["deploy", "--only", "hosting", "--non-interactive"]);
    command.args(["--project", "a-project"]).current_dir(folder).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", folder).env("XDG_CONFIG_HOME", folder.join("config")).env("NO_UPDATE_NOTIFIER", "1");
    for origin in ORIGINS {
        command.env(origin, stand_in.origin().as_str().trim_end_matches('/'));
    }
    let ran = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(ran.status.success(), "{}\n{}\n{:?}", said(&ran.stdout), said(&ran.stderr), stand_in.calls());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn googles_own_command_line_deploys_to_the_stand_in_and_shares_it_with_the_host() -> Result<()> {
    const TEST: &str = "googles_own_command_line_deploys_to_the_stand_in";
    let Some(node) = program_or_skip(TEST, "node") else { return Ok(()) };
    let Some(package) = npm::package(TEST, "firebase-tools", "14") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    project(folder.path())?;
    let stand_in = StandIn::start().await?;
    firebase_deploy(node, &package, folder.path(), &stand_in).await?;
    let (files, to) = live(&stand_in)?.context("nothing is live")?;
    let expected = [("/assets/style.css", "the same in every site"), ("/index.html", "of the command line")];
    assert_eq!(files, expected.map(|(path, text)| (path.to_owned(), text.to_owned())).into());
    assert_eq!(to, "https://a.example/cli");

    let host = host(&stand_in)?;
    assert_eq!(host.current().await?, None, "a version of somebody else's has no digest of ours");
    for text in ["one", "two", "three", "four", "five", "six"] {
        host.deploy(&site(text)).await?;
    }
    ensure_serves(&stand_in, &["six"])?;
    assert_eq!(stand_in.idle_versions(), 4, "three of ours, and the one that is not ours to delete");
    Ok(())
}
