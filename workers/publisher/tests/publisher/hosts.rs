//! Where the site is served from: what a visitor sees while a deploy is cut short.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use polkashots_publisher::SiteHost;
use polkashots_publisher::adapters::bucket_host::BucketHost;
use polkashots_publisher::adapters::directory_host::DirectoryHost;
use polkashots_publisher::site::{Redirect, RenderedSite};
use polkashots_publisher::testkit::{MemoryHost, site_host_contract};
use polkashots_shared::ports::object_store::{Headers, ObjectStore, Precondition};
use polkashots_shared::testkit::skip::{program_or_skip, skipped};
use polkashots_shared::testkit::{Fault, FaultPlan, Faulty, MemoryStore};

use crate::common::{DOT, KSM, World, time};

/// A site whose page names a file that only it has.
fn site(name: &str) -> RenderedSite {
    let file = |path: String, text: String| (path, Bytes::from(text));
    RenderedSite {
        files: [
            file("index.html".into(), format!("data/{name}")),
            file(format!("data/{name}"), format!("the data of {name}")),
            file("assets/style.css".into(), "the same in every site".into()),
        ]
        .into(),
        redirects: vec![Redirect { from: "/dot".into(), to: format!("https://a.example/?a=1&b={name}"), status: 302 }],
        headers: Vec::new(),
    }
}

fn bucket() -> Arc<MemoryStore> {
    let clock = polkashots_shared::clock::ManualClock::at(time("20261122-050000"));
    Arc::new(MemoryStore::new(Arc::new(clock)))
}

#[tokio::test]
async fn every_host_keeps_the_contract() -> Result<()> {
    site_host_contract(&MemoryHost::default()).await;
    site_host_contract(&BucketHost::new(bucket())).await;
    let folder = tempfile::tempdir()?;
    let host = DirectoryHost::open(&folder.path().join("site"))?;
    site_host_contract(&host).await;
    assert_eq!(std::fs::read_to_string(folder.path().join("site/index.html"))?, "first");
    let sites = std::fs::read_dir(folder.path().join(".site.sites"))?.count();
    assert_eq!(sites, 2, "the current site and one older");
    Ok(())
}

#[tokio::test]
async fn events_that_arrive_together_cause_one_deploy() -> Result<()> {
    let world = World::new();
    let uploads = [(DOT, "20261122-040000"), (DOT, "20261122-041000"), (KSM, "20261122-040000")];
    for (target, version) in uploads {
        world.upload(target, version, 396).await?;
    }
    for (target, version) in uploads {
        ensure!(world.handle(target, version).await?.emit.len() == 1, "{target} {version} is not announced");
    }
    assert_eq!(world.host.deployed().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_bucket_never_shows_a_page_that_names_what_is_not_there() -> Result<()> {
    let plan = FaultPlan::none();
    deploy_twice(&bucket(), &plan).await?;
    let calls = plan.calls().len();
    ensure!(calls > 12, "only {calls} calls");
    for position in 0..calls {
        for fault in Fault::ALL {
            let (store, plan) = (bucket(), FaultPlan::at(position, fault));
            tokio::select! {
                _ = deploy_twice(&store, &plan) => {}
                () = plan.crashed() => {}
            }
            check_page(&store).with_context(|| format!("{fault} at call {position}"))?;
            let host = BucketHost::new(store.clone());
            host.deploy(&site("two")).await?;
            let expected =
                ["_deployed.json", "_site.json", "assets/style.css", "data/two", "dot/index.html", "index.html"];
            assert_eq!(store.keys(), expected, "{fault} at call {position}");
            assert_eq!(host.current().await?, Some(site("two").digest()));
        }
    }
    Ok(())
}

async fn deploy_twice(store: &Arc<MemoryStore>, plan: &FaultPlan) -> Result<()> {
    let host = BucketHost::new(Arc::new(Faulty::new(store.clone(), plan)));
    host.deploy(&site("one")).await?;
    host.deploy(&site("two")).await?;
    Ok(())
}

fn check_page(store: &MemoryStore) -> Result<()> {
    let objects = store.objects();
    let Some(page) = objects.get("index.html") else { return Ok(()) };
    let named = String::from_utf8_lossy(&page.bytes).into_owned();
    ensure!(objects.contains_key(&named), "the page names {named}, which is not there");
    Ok(())
}

#[tokio::test]
async fn a_bucket_keeps_what_is_not_the_sites_and_leads_people_on() -> Result<()> {
    let store = bucket();
    store.put("mine.txt", "mine".into(), Precondition::None, &Headers::no_cache("text/plain")).await?;
    let host = BucketHost::new(store.clone());
    host.deploy(&site("one")).await?;
    host.deploy(&site("two")).await?;
    assert!(store.keys().contains(&"mine.txt".to_owned()));
    assert_eq!(store.objects()["assets/style.css"].headers, Headers::immutable("text/css; charset=utf-8"));
    assert_eq!(store.objects()["index.html"].headers, Headers::no_cache("text/html; charset=utf-8"));
    let page = String::from_utf8(store.objects()["dot/index.html"].bytes.to_vec())?;
    assert!(page.contains("0; url=https://a.example/?a=1&amp;b=two\""), "{page}");
    Ok(())
}

/// Not a test of its own: the process that `a_deploy_killed_between_any_two_steps` kills.
#[tokio::test]
async fn killed_process() -> Result<()> {
    let Some(path) = std::env::var_os("POLKASHOTS_TEST_DEPLOY") else { return Ok(()) };
    DirectoryHost::open(Path::new(&path))?.deploy(&site("two")).await?;
    Ok(())
}

#[tokio::test]
async fn a_deploy_killed_between_any_two_steps_leaves_the_old_site_or_the_new_one() -> Result<()> {
    const TEST: &str = "a_deploy_killed_between_any_two_steps";
    let Some(strace) = program_or_skip(TEST, "strace") else { return Ok(()) };
    let mut seen = BTreeSet::new();
    for call in ["mkdir", "fsync", "symlink", "rename"] {
        for number in 1.. {
            let folder = tempfile::tempdir()?;
            let path = folder.path().join("site");
            let host = DirectoryHost::open(&path)?;
            host.deploy(&site("one")).await?;
            let mut command = Command::new(&strace);
            command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
            command.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]);
            command.arg(std::env::current_exe()?).args(["--exact", "hosts::killed_process"]);
            let ran = command.env("POLKASHOTS_TEST_DEPLOY", &path).output()?;
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            if said.contains("strace:") {
                skipped(TEST, &said);
                return Ok(());
            }
            let page = std::fs::read_to_string(path.join("index.html")).context("no site is served")?;
            ensure!(path.join(&page).is_file(), "killed at {call} {number}: {page} is not there");
            seen.insert(page);
            host.deploy(&site("two")).await?;
            assert_eq!(host.current().await?, Some(site("two").digest()), "killed at {call} {number}");
            if ran.status.success() {
                ensure!(number > 1, "no {call} was made");
                break;
            }
        }
    }
    assert_eq!(seen.len(), 2, "some kills came before the swap and some after it");
    Ok(())
}
