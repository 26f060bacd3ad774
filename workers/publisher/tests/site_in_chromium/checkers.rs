//! The site before other people's checkers: axe-core, the Nu checker, jing, ajv.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use polkashots_shared::testkit::skip::program_or_skip;
use serde_json::Value;

use crate::served::{Served, polkashots};
use crate::{DARK, DESKTOP, PHONE, browse, npm, pages};

/// The Nu checker's archive; jing is in it.
fn vnu(test: &str) -> Option<PathBuf> {
    Some(npm::package(test, "vnu-jar", "26")?.join("build/dist/vnu.jar"))
}

#[tokio::test]
async fn axe_finds_no_serious_issue() -> Result<()> {
    let Some(axe) = npm::package("axe_finds_no_serious_issue", "axe-core", "4") else { return Ok(()) };
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
    const TEST: &str = "the_nu_checker_finds_no_error";
    let Some(java) = program_or_skip(TEST, "java") else { return Ok(()) };
    let (Some(vnu), Some(polkashots)) = (vnu(TEST), polkashots(TEST)) else { return Ok(()) };
    let served = Served::start(&polkashots).await?;
    let files = files(&served, &["html", "svg", "css"])?;
    ensure!(files.len() > 8, "only {files:?}");
    let ran =
        Command::new(java).arg("-jar").arg(vnu).args(["--also-check-css", "--also-check-svg"]).args(&files).output()?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Ok(())
}

#[tokio::test]
async fn the_feed_is_valid_atom_and_a_broken_one_is_not() -> Result<()> {
    const TEST: &str = "the_feed_is_valid_atom";
    let Some(java) = program_or_skip(TEST, "java") else { return Ok(()) };
    let (Some(vnu), Some(polkashots)) = (vnu(TEST), polkashots(TEST)) else { return Ok(()) };
    let served = Served::start(&polkashots).await?;
    let validate = |feed: &Path| {
        let mut jing = Command::new(&java);
        jing.arg("-cp").arg(&vnu).arg("nu.validator.vendor.thaiopensource.relaxng.util.Driver");
        jing.arg("-c").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/atom.rnc")).arg(feed).output()
    };
    let feed = served.folder.path().join("site/feed.xml");
    let ran = validate(&feed)?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    let text = std::fs::read_to_string(&feed)?;
    assert_eq!(text.matches("<entry>").count(), 27, "an entry for each snapshot");
    let mut ids: Vec<&str> = text.lines().filter(|line| line.starts_with("<id>")).collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "each id is that of one entry only");
    let broken = served.folder.path().join("broken.xml");
    std::fs::write(&broken, text.replacen("<updated>", "<updated>yesterday, ", 1))?;
    let ran = validate(&broken)?;
    ensure!(!ran.status.success() && String::from_utf8_lossy(&ran.stdout).contains("yesterday"), "{ran:?}");
    Ok(())
}

/// Checks files against a schema: `node -e THIS schema.json file.json ..`.
const AJV: &str = r#"
const Ajv = require("ajv/dist/2020").default;
const read = (path) => JSON.parse(require("fs").readFileSync(path, "utf8"));
const [schema, ...files] = process.argv.slice(1);
const whole = (bits) => ({ type: "number", validate: (n) => Number.isInteger(n) && n >= 0 && n < 2 ** bits });
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
const formats = { uint8: whole(8), uint16: whole(16), uint32: whole(32), uint64: whole(64), "date-time": time };
const check = new Ajv({ strict: true, allErrors: true, formats }).compile(read(schema));
for (const file of files) {
    if (!check(read(file))) {
        console.error(file, JSON.stringify(check.errors));
        process.exitCode = 1;
    }
}
"#;

/// Where every JSON file of a served site and of its bucket is valid by the schema that the site serves; their number.
pub fn check_json(test: &str, served: &Served) -> Result<Option<usize>> {
    let Some(node) = program_or_skip(test, "node") else { return Ok(None) };
    let Some(ajv) = npm::package(test, "ajv", "8") else { return Ok(None) };
    let mut checked = 0;
    for (ending, schema) in [
        ("/index.json", "index.v1.json"),
        ("/latest.json", "latest.v1.json"),
        (".manifest.json", "manifest.v1.json"),
        (".failed.json", "failure.v1.json"),
    ] {
        let files: Vec<_> =
            files(served, &["json"])?.into_iter().filter(|path| path.to_string_lossy().ends_with(ending)).collect();
        let mut command = Command::new(&node);
        command.env("NODE_PATH", ajv.parent().context("a folder")?).args(["-e", AJV]);
        let ran = command.arg(served.folder.path().join("site/schemas").join(schema)).args(&files).output()?;
        ensure!(ran.status.success(), "{schema}: {}", String::from_utf8_lossy(&ran.stderr));
        checked += files.len();
    }
    for badge in files(served, &["json"])?.iter().filter(|path| path.ends_with("badge.json")) {
        check_badge(&serde_json::from_slice(&std::fs::read(badge)?)?)?;
        checked += 1;
    }
    Ok(Some(checked))
}

/// As shields.io documents its endpoint: these fields, and no other value of the first.
fn check_badge(badge: &Value) -> Result<()> {
    let fields: Vec<&str> = badge.as_object().context("an object")?.keys().map(String::as_str).collect();
    let text = |name: &str| badge[name].as_str().is_some_and(|text| !text.is_empty());
    ensure!(fields.iter().all(|name| ["schemaVersion", "label", "message", "color"].contains(name)), "{fields:?}");
    ensure!(badge["schemaVersion"] == 1 && text("label") && text("message") && text("color"), "{badge}");
    Ok(())
}

#[tokio::test]
async fn what_machines_read_is_valid_by_the_schemas_beside_it() -> Result<()> {
    const TEST: &str = "what_machines_read_is_valid_by_the_schemas_beside_it";
    let Some(polkashots) = polkashots(TEST) else { return Ok(()) };
    let served = Served::start(&polkashots).await?;
    let Some(checked) = check_json(TEST, &served)? else { return Ok(()) };
    assert_eq!(checked, 7, "the index, and of three targets the newest and the badge");
    let index = served.folder.path().join("site/index.json");
    std::fs::write(&index, std::fs::read_to_string(&index)?.replacen("\"targets\"", "\"target\"", 1))?;
    let error = check_json(TEST, &served).expect_err("an index without targets");
    assert!(error.to_string().contains("required property 'targets'"), "{error}");
    Ok(())
}

/// The files of the site and of the bucket with one of these endings.
fn files(served: &Served, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(&served.folder.path().join("site").canonicalize()?, endings, &mut found)?;
    collect(&served.folder.path().join("bucket").canonicalize()?, endings, &mut found)?;
    Ok(found)
}

fn collect(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, endings, found)?;
        } else if path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)) {
            found.push(path);
        }
    }
    Ok(())
}
