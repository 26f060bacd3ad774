//! Firebase Hosting: the host against a strict stand-in of the REST API.

#[path = "../support/npm.rs"]
mod npm;
mod real_cli;
mod rollback_command;
mod stand_in;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::http::StatusCode;
use polkashots_publisher::SiteHost;
use polkashots_publisher::adapters::firebase::{FirebaseHost, FixedToken};
use polkashots_publisher::host::HostError;
use polkashots_publisher::site::{HeaderRule, Redirect, RenderedSite};
use polkashots_publisher::testkit::site_host_contract;
use polkashots_shared::retry::Policy;
use serde_json::json;
use stand_in::{SITE, StandIn, TOKEN, Trouble};

fn host(stand_in: &StandIn) -> Result<FirebaseHost> {
    host_with(stand_in, TOKEN, 4)
}

fn host_with(stand_in: &StandIn, token: &str, keep: usize) -> Result<FirebaseHost> {
    let patience = Policy {
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        give_up_after: Duration::from_secs(20),
        ..Policy::default()
    };
    let token = Box::new(FixedToken(token.to_owned()));
    Ok(FirebaseHost::new(&stand_in.origin(), SITE, token, keep)?.with_patience(patience))
}

fn site(text: &str) -> RenderedSite {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned().into());
    RenderedSite {
        files: [
            file("index.html", text),
            file("targets/dot/index.html", &format!("target {text}")),
            file("assets/style.css", "the same in every site"),
        ]
        .into(),
        redirects: vec![Redirect { from: "/dot".into(), to: format!("https://a.example/{text}"), status: 302 }],
        headers: vec![HeaderRule {
            source: "**".into(),
            headers: [("Cache-Control".to_owned(), "no-cache".to_owned())].into(),
        }],
    }
}

/// The site that is live, whole: its files and where its permalink leads.
fn live(stand_in: &StandIn) -> Result<Option<(BTreeMap<String, String>, String)>> {
    let Some((files, config)) = stand_in.live()? else { return Ok(None) };
    let files = files.into_iter().map(|(path, bytes)| Ok((path, String::from_utf8(bytes)?)));
    let to = config["redirects"][0]["location"].as_str().context("a redirect")?.to_owned();
    Ok(Some((files.collect::<Result<_>>()?, to)))
}

fn ensure_serves(stand_in: &StandIn, allowed: &[&str]) -> Result<()> {
    let found = live(stand_in)?.context("nothing is live")?;
    let whole = |text: &&str| {
        let site = site(text);
        let files = site.files.iter().map(|(path, bytes)| (format!("/{path}"), String::from_utf8_lossy(bytes).into()));
        (files.collect::<BTreeMap<_, _>>(), site.redirects[0].to.clone())
    };
    ensure!(allowed.iter().any(|text| whole(text) == found), "{found:?} is none of {allowed:?}");
    Ok(())
}

#[tokio::test]
async fn the_host_keeps_the_contract() -> Result<()> {
    site_host_contract(&host(&StandIn::start().await?)?).await;
    Ok(())
}

#[tokio::test]
async fn redirects_and_headers_are_the_versions_configuration() -> Result<()> {
    let stand_in = StandIn::start().await?;
    host(&stand_in)?.deploy(&site("one")).await?;
    let (_, config) = stand_in.live()?.context("live")?;
    assert_eq!(
        config["redirects"],
        json!([{ "glob": "/dot", "statusCode": 302, "location": "https://a.example/one" }])
    );
    assert_eq!(config["headers"], json!([{ "glob": "**", "headers": { "Cache-Control": "no-cache" } }]));
    Ok(())
}

#[tokio::test]
async fn only_what_is_missing_is_uploaded_and_a_known_site_is_only_released() -> Result<()> {
    let stand_in = StandIn::start().await?;
    let host = host(&stand_in)?;
    let mut uploads = Vec::new();
    for text in ["one", "two", "one"] {
        stand_in.trouble(|_| None);
        host.deploy(&site(text)).await?;
        ensure_serves(&stand_in, &[text])?;
        uploads.push(stand_in.calls().iter().filter(|call| call.starts_with("POST /upload/")).count());
    }
    assert_eq!(uploads, [3, 2, 0]);
    Ok(())
}

#[tokio::test]
async fn as_many_releases_are_kept_as_asked_and_the_last_one_can_come_back() -> Result<()> {
    let stand_in = StandIn::start().await?;
    let host = host_with(&stand_in, TOKEN, 3)?;
    let error = host.rollback().await.expect_err("there is nothing to go back to");
    assert!(error.to_string().contains("no earlier release"), "{error}");
    for text in ["one", "two", "three", "four", "five"] {
        host.deploy(&site(text)).await?;
    }
    assert_eq!(stand_in.idle_versions(), 2, "two beside the live one");
    host.rollback().await?;
    ensure_serves(&stand_in, &["four"])?;
    assert_eq!(stand_in.releases()[0].1, "ROLLBACK");
    assert_eq!(host.current().await?, Some(site("four").digest()), "the next publication deploys again");
    host.rollback().await?;
    ensure_serves(&stand_in, &["three"]).context("a second rollback goes one further back")?;
    host.rollback().await.expect_err("two and one are no longer kept");
    host.deploy(&site("five")).await?;
    ensure_serves(&stand_in, &["five"])?;
    host.rollback().await?;
    ensure_serves(&stand_in, &["three"]).context("back to what was live before")
}

#[tokio::test]
async fn every_kth_call_may_fail_and_the_deploy_succeeds() -> Result<()> {
    let statuses = [StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY];
    for every in 2..=5 {
        for status in statuses {
            for trouble in [Trouble::Instead(status), Trouble::After(status)] {
                let stand_in = StandIn::start().await?;
                let host = host(&stand_in)?;
                host.deploy(&site("one")).await?;
                stand_in.trouble(move |call| (call % every == every - 1).then_some(trouble));
                let case = format!("{trouble:?} at every call {every}");
                host.deploy(&site("two")).await.with_context(|| case.clone())?;
                ensure_serves(&stand_in, &["two"]).context(case)?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_deploy_killed_between_any_two_calls_leaves_the_old_site_or_the_new_one_and_is_continued() -> Result<()> {
    let calls = {
        let stand_in = StandIn::start().await?;
        host(&stand_in)?.deploy(&site("one")).await?;
        stand_in.trouble(|_| None);
        host(&stand_in)?.deploy(&site("two")).await?;
        stand_in.calls().len()
    };
    ensure!(calls >= 8, "only {calls} calls");
    for position in 0..calls {
        for trouble in [Trouble::NeverBefore, Trouble::NeverAfter] {
            killed(position, trouble).await.with_context(|| format!("{trouble:?} at call {position}"))?;
        }
    }
    Ok(())
}

async fn killed(position: usize, trouble: Trouble) -> Result<()> {
    let stand_in = StandIn::start().await?;
    host(&stand_in)?.deploy(&site("one")).await?;
    stand_in.trouble(move |call| (call == position).then_some(trouble));
    let first_life = host(&stand_in)?;
    tokio::select! {
        () = stand_in.left_hanging() => {}
        ended = async { first_life.deploy(&site("two")).await } => ended?,
    }
    ensure_serves(&stand_in, &["one", "two"])?;
    stand_in.trouble(|_| None);
    let second_life = host_with(&stand_in, TOKEN, 2)?;
    second_life.deploy(&site("two")).await?;
    ensure_serves(&stand_in, &["two"])?;
    ensure!(stand_in.idle_versions() == 1, "{} versions lie about", stand_in.idle_versions());
    Ok(())
}

#[tokio::test]
async fn a_refused_token_and_a_wrong_site_are_told() -> Result<()> {
    let stand_in = StandIn::start().await?;
    let error = host_with(&stand_in, "stolen", 1)?.deploy(&site("one")).await.expect_err("refused");
    assert!(matches!(error, HostError::Permanent { .. }) && error.to_string().contains("401"), "{error}");
    assert!(!error.to_string().contains("stolen"), "{error}");
    let elsewhere = FirebaseHost::new(&stand_in.origin(), "other", Box::new(FixedToken(TOKEN.into())), 1)?;
    let error = elsewhere.current().await.expect_err("no such site");
    assert!(error.to_string().contains("site other: 404"), "{error}");
    Ok(())
}
