//! What `polkashots demo` published, as a visitor meets it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use polkashots_shared::testkit::skip::program_or_skip;

use crate::served::{Served, polkashots};
use crate::{DARK, DESKTOP, PHONE, checkers, chromium_for, pages};

/// The permalink of the demo's smallest target.
const PERMALINK: &str = "demo/rocksdb";

#[test]
fn every_page_of_the_demo_is_quiet_narrow_and_whole() -> Result<()> {
    const TEST: &str = "every_page_of_the_demo_is_quiet_narrow_and_whole";
    let Some(polkashots) = polkashots(TEST) else { return Ok(()) };
    let served = Served::after_demo(&polkashots)?;
    let Some(mut chromium) = chromium_for(TEST, &served)? else { return Ok(()) };
    let pages = pages(&mut chromium, &served)?;
    for page in &pages {
        for look in [DESKTOP, DARK, PHONE] {
            chromium.open(page, look)?;
            assert_eq!(chromium.complaints(), [""; 0], "{page} {look:?}");
            let elsewhere = chromium.requested().into_iter().find(|url| !url.starts_with(&served.origin));
            assert_eq!(elsewhere, None, "{page} {look:?} asks another host");
            let width = chromium.evaluate("document.documentElement.scrollWidth")?;
            assert!(width.as_u64().is_some_and(|width| width <= look.width.into()), "{page} is {width} wide");
        }
    }
    let targets: Vec<_> = pages.iter().filter(|page| page.contains("/targets/")).collect();
    assert_eq!(targets.len(), 4, "{pages:?}");
    for page in targets {
        chromium.allow_clipboard(&served.origin)?;
        chromium.open(page, DESKTOP)?;
        let hash = chromium.evaluate("document.querySelector('dd code').textContent")?;
        chromium.evaluate("document.querySelector('dd .copy').click()")?;
        assert_eq!(chromium.evaluate("navigator.clipboard.readText()")?, hash, "{page}");
    }
    if let Some(checked) = checkers::check_json(TEST, &served)? {
        assert_eq!(checked, 2 + 4 * 3, "the index twice; of four targets the newest, the manifest and the badge");
    }
    Ok(())
}

#[test]
fn the_commands_of_the_verify_page_verify_and_notice_another_key() -> Result<()> {
    const TEST: &str = "the_commands_of_the_verify_page_verify";
    for program in ["curl", "minisign", "sha256sum", "sh"] {
        if program_or_skip(TEST, program).is_none() {
            return Ok(());
        }
    }
    let Some(polkashots) = polkashots(TEST) else { return Ok(()) };
    let served = Served::after_demo(&polkashots)?;
    let Some(mut chromium) = chromium_for(TEST, &served)? else { return Ok(()) };
    chromium.open(&format!("{}/verify/", served.origin), DESKTOP)?;
    let text = "[...document.querySelectorAll('figure.command pre')].map(pre => pre.textContent).join('\\n')";
    let commands = chromium.evaluate(text)?.as_str().context("commands")?.replace("PERMALINK", PERMALINK);
    let run = |name: &str, commands: &str| -> Result<(bool, String)> {
        let folder = served.folder.path().join(name);
        std::fs::create_dir(&folder)?;
        let ran = Command::new("sh").args(["-ec", commands]).current_dir(folder).output()?;
        Ok((ran.status.success(), format!("{ran:?}")))
    };
    let (ok, said) = run("verified", &commands)?;
    ensure!(ok && said.contains(".tar.zst: OK") && said.contains("Trusted comment: "), "{commands}\n{said}");
    let key = chromium.evaluate("document.querySelector('ol code').textContent")?;
    let other = include_str!("../fixtures/other.pub").lines().last().context("a key")?;
    let (ok, said) = run("refused", &commands.replace(key.as_str().context("a key")?, other))?;
    ensure!(!ok, "another key's signature was taken: {said}");
    Ok(())
}
