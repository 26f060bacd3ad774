//! The site as people see it: served by `polkashots serve`, in a headless Chromium.
//!
//! The program must have been built beside this test, as it is by `cargo test --workspace`. Screenshots are written to `target/screenshots/`. Checkers from npm (axe-core, vnu-jar) are installed into `target/npm`
//! at the first run; without them, or without Chromium, the tests say that they were skipped.

mod chromium;
mod served;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use chromium::{Chromium, Look};
use polkashots_shared::ids::Sha256;
use polkashots_shared::testkit::skip::{program_or_skip, skipped};
use serde_json::Value;
use served::{Served, polkashots};

const DESKTOP: Look = Look { width: 1200, height: 900, dark: false, scripts: true };
const DARK: Look = Look { dark: true, ..DESKTOP };
const PHONE: Look = Look { width: 360, height: 740, ..DESKTOP };
const MAX_HOME_BYTES: u64 = 100 * 1024;

/// The browser and the site; `None` where there is no browser.
async fn browse(test: &str) -> Result<Option<(Chromium, Served)>> {
    let Some(program) = program_or_skip(test, "chromium") else { return Ok(None) };
    let Some(polkashots) = polkashots() else {
        skipped(test, "polkashots is not built beside the test: run cargo build first");
        return Ok(None);
    };
    let served = Served::start(&polkashots).await?;
    let chromium = Chromium::start(&program, &served.folder.path().join("profile"))?;
    Ok(Some((chromium, served)))
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

fn target_folder() -> PathBuf {
    let of_test = std::env::current_exe().ok().and_then(|exe| exe.ancestors().nth(3).map(Path::to_owned));
    of_test.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")))
}

/// The folder of an npm package in `target/npm`, installed there if need be.
fn npm_package(test: &str, name: &str) -> Option<PathBuf> {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    let folder = target_folder().join("npm");
    let package = folder.join("node_modules").join(name);
    INSTALLED.get_or_init(|| {
        if folder.join("node_modules/axe-core").is_dir() && folder.join("node_modules/vnu-jar").is_dir() {
            return true;
        }
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-fund", "--no-audit", "--silent", "axe-core@4", "vnu-jar@26", "--prefix"])
            .arg(&folder);
        std::fs::create_dir_all(&folder).is_ok() && npm.status().is_ok_and(|status| status.success())
    });
    if !package.is_dir() {
        skipped(test, &format!("npm cannot install {name}"));
    }
    package.is_dir().then_some(package)
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

#[tokio::test]
async fn axe_finds_no_serious_issue() -> Result<()> {
    let Some(axe) = npm_package("axe_finds_no_serious_issue", "axe-core") else { return Ok(()) };
    let Some((mut chromium, served)) = browse("axe_finds_no_serious_issue").await? else { return Ok(()) };
    let script = std::fs::read_to_string(axe.join("axe.min.js"))?;
    for page in pages(&mut chromium, &served)? {
        for look in [DESKTOP, DARK, PHONE] {
            chromium.open(&page, look)?;
            chromium.evaluate(&format!("{script}; true"))?;
            let found = chromium.evaluate(
                "axe.run().then(result => result.violations.filter(v => ['serious', 'critical'].includes(v.impact))
                    .map(v => `${v.id}: ${v.nodes.map(node => node.html).join(' ')}`))",
            )?;
            assert_eq!(found, Value::Array(Vec::new()), "{page} {look:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_nu_checker_finds_no_error() -> Result<()> {
    let Some(vnu) = npm_package("the_nu_checker_finds_no_error", "vnu-jar") else { return Ok(()) };
    let Some(java) = program_or_skip("the_nu_checker_finds_no_error", "java") else { return Ok(()) };
    let Some(polkashots) = polkashots() else {
        skipped("the_nu_checker_finds_no_error", "polkashots is not built beside the test");
        return Ok(());
    };
    let served = Served::start(&polkashots).await?;
    let mut files = Vec::new();
    collect(&served.folder.path().join("site").canonicalize()?, &mut files)?;
    ensure!(files.len() > 8, "only {files:?}");
    let ran = Command::new(java)
        .arg("-jar")
        .arg(vnu.join("build/dist/vnu.jar"))
        .args(["--also-check-css", "--also-check-svg"])
        .args(&files)
        .output()?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => collect(&path, files)?,
            false
                if path
                    .extension()
                    .is_some_and(|ending| ["html", "svg", "css"].iter().any(|known| ending == *known)) =>
            {
                files.push(path)
            }
            false => {}
        }
    }
    Ok(())
}
