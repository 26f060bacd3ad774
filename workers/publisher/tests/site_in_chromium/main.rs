//! The site as people see it: served by `polkashots serve`, in a headless Chromium.
//!
//! The program must have been built beside this test, as it is by `cargo test --workspace`. Screenshots are written to
//! `target/screenshots/`. Checkers from npm are installed into `target/npm` at the first run; without them, or without
//! Chromium, the tests say that they were skipped.

mod after_demo;
mod checkers;
mod chromium;
#[path = "../support/npm.rs"]
mod npm;
mod served;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use chromium::{Chromium, Look};
use npm::target_folder;
use polkashots_shared::ids::Sha256;
use polkashots_shared::testkit::skip::program_or_skip;
use served::{Served, polkashots};

const DESKTOP: Look = Look { width: 1200, height: 900, dark: false, scripts: true };
const DARK: Look = Look { dark: true, ..DESKTOP };
const PHONE: Look = Look { width: 360, height: 740, ..DESKTOP };
const MAX_HOME_BYTES: u64 = 100 * 1024;

/// The browser and a made-up site with some history; `None` where there is no browser.
async fn browse(test: &str) -> Result<Option<(Chromium, Served)>> {
    let Some(polkashots) = polkashots(test) else { return Ok(None) };
    let served = Served::start(&polkashots).await?;
    let Some(chromium) = chromium_for(test, &served)? else { return Ok(None) };
    Ok(Some((chromium, served)))
}

/// A browser with nothing in its profile, which lies beside the site.
fn chromium_for(test: &str, served: &Served) -> Result<Option<Chromium>> {
    let Some(program) = program_or_skip(test, "chromium") else { return Ok(None) };
    Ok(Some(Chromium::start(&program, &served.folder.path().join("profile"))?))
}

/// The pages that a visitor can reach from the home page, which is the first.
fn pages(chromium: &mut Chromium, served: &Served) -> Result<Vec<String>> {
    let home = format!("{}/", served.origin);
    chromium.open(&home, DESKTOP)?;
    let links = chromium.evaluate("[...document.links].map(a => a.pathname).filter(p => p.endsWith('/'))")?;
    let links = links.as_array().context("links")?.iter().filter_map(|link| link.as_str());
    let mut pages: Vec<String> =
        links.map(|link| format!("{}{link}", served.origin)).filter(|link| *link != home).collect();
    pages.sort();
    pages.dedup();
    pages.insert(0, home);
    ensure!(pages.len() > 7, "only {pages:?}");
    Ok(pages)
}

fn target_page(pages: &[String]) -> Result<&String> {
    let mut targets = pages.iter().filter(|page| page.contains("/targets/"));
    targets.next().context("a target's page")
}

#[tokio::test]
async fn every_page_loads_without_complaint_and_asks_no_other_host() -> Result<()> {
    let Some((mut chromium, served)) = browse("every_page_loads_without_complaint").await? else { return Ok(()) };
    for page in pages(&mut chromium, &served)? {
        chromium.open(&page, DESKTOP)?;
        assert_eq!(chromium.complaints(), [""; 0], "{page}");
        for url in chromium.requested() {
            assert!(url.starts_with(&served.origin), "{page} asks for {url}");
        }
        assert_eq!(chromium.evaluate("document.cookie")?, "", "{page}");
    }
    Ok(())
}

#[tokio::test]
async fn no_page_scrolls_sideways_on_a_phone() -> Result<()> {
    let Some((mut chromium, served)) = browse("no_page_scrolls_sideways_on_a_phone").await? else { return Ok(()) };
    for page in pages(&mut chromium, &served)? {
        for scripts in [true, false] {
            chromium.open(&page, Look { scripts, ..PHONE })?;
            let width = chromium.evaluate("document.documentElement.scrollWidth")?;
            assert!(width.as_u64().is_some_and(|width| width <= 360), "{page} is {width} wide, scripts: {scripts}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_hash_is_shown_whole_and_copied_by_its_button_and_is_there_without_scripts() -> Result<()> {
    let Some((mut chromium, served)) = browse("a_hash_is_copied_by_its_button").await? else { return Ok(()) };
    let pages = pages(&mut chromium, &served)?;
    let page = target_page(&pages)?;
    chromium.allow_clipboard(&served.origin)?;
    chromium.open(page, DESKTOP)?;
    let hash = chromium.evaluate("document.querySelector('dd code').textContent")?;
    let hash = hash.as_str().context("a hash")?.to_owned();
    assert!(hash.len() == 66 && hash.starts_with("0x"), "{hash}");
    chromium.evaluate("document.querySelector('dd .copy').click()")?;
    assert_eq!(chromium.evaluate("navigator.clipboard.readText()")?, hash.as_str());
    chromium.open(page, Look { scripts: false, ..DESKTOP })?;
    let text = chromium.evaluate("document.body.textContent")?;
    let text = text.as_str().context("text")?;
    assert!(text.contains(&hash) && text.contains("polkashots restore"), "{text:.400}");
    assert_eq!(chromium.evaluate("document.querySelectorAll('button').length")?, 0);
    Ok(())
}

#[tokio::test]
async fn the_permalink_on_the_page_leads_to_the_archive_that_the_page_describes() -> Result<()> {
    let Some((mut chromium, served)) = browse("the_permalink_leads_to_the_archive").await? else { return Ok(()) };
    let Some(curl) = program_or_skip("the_permalink_leads_to_the_archive", "curl") else { return Ok(()) };
    let pages = pages(&mut chromium, &served)?;
    chromium.open(target_page(&pages)?, DESKTOP)?;
    let latest = chromium.evaluate("fetch('latest.json').then(answer => answer.json()).catch(error => `${error}`)")?;
    assert!(latest.is_string(), "the page's own scripts fetch nothing: {latest}");
    let link = chromium.evaluate("[...document.links].find(a => a.textContent.startsWith('http')).pathname")?;
    let stated = chromium.evaluate(
        "[...document.querySelectorAll('dt')].find(dt => dt.textContent == 'Archive SHA-256').nextElementSibling.firstElementChild.textContent",
    )?;
    let archive = served.folder.path().join("archive");
    let link = format!("{}{}", served.origin, link.as_str().context("a link")?);
    let ran = Command::new(curl).args(["-fsSL", "-o"]).arg(&archive).arg(&link).status()?;
    ensure!(ran.success(), "{link}: {ran}");
    assert_eq!(Sha256::of(&std::fs::read(&archive)?).to_string(), stated.as_str().unwrap_or_default());
    Ok(())
}

#[tokio::test]
async fn dark_mode_is_dark_and_pictures_are_taken() -> Result<()> {
    let Some((mut chromium, served)) = browse("dark_mode_is_dark_and_pictures_are_taken").await? else {
        return Ok(());
    };
    let folder = target_folder().join("screenshots");
    std::fs::create_dir_all(&folder)?;
    let pages = pages(&mut chromium, &served)?;
    let mut papers = Vec::new();
    for (name, page) in [("home", &pages[0]), ("target", target_page(&pages)?)] {
        for (look_name, look) in [("light", DESKTOP), ("dark", DARK), ("phone", PHONE)] {
            chromium.open(page, look)?;
            let paper = chromium.evaluate("getComputedStyle(document.body).backgroundColor")?;
            papers.push((look.dark, paper.as_str().context("a colour")?.to_owned()));
            std::fs::write(folder.join(format!("{name}-{look_name}.png")), chromium.screenshot(true)?)?;
            std::fs::write(folder.join(format!("{name}-{look_name}-top.png")), chromium.screenshot(false)?)?;
        }
    }
    for (dark, paper) in papers {
        assert_eq!(paper == "rgb(253, 253, 253)", !dark, "{paper}");
    }
    Ok(())
}

#[tokio::test]
async fn the_home_page_weighs_less_than_100_kib() -> Result<()> {
    let Some((mut chromium, served)) = browse("the_home_page_weighs_less_than_100_kib").await? else {
        return Ok(());
    };
    chromium.open(&format!("{}/", served.origin), DESKTOP)?;
    let weight = chromium.evaluate(
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
            .reduce((sum, entry) => sum + entry.decodedBodySize, 0)",
    )?;
    let weight = weight.as_u64().context("a number")?;
    assert!((1024..MAX_HOME_BYTES).contains(&weight), "{weight} bytes");
    Ok(())
}
