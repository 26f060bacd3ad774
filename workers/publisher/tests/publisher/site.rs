//! The rendered site.

use std::fs;
use std::path::Path;

use crate::common::{DOT, KSM, World, site_settings};
use polkashots_publisher::keys::SiteKeys;
use polkashots_publisher::site::{
    RenderedSite, SiteError, SiteInput, SiteSettings, SiteSnapshot, Source, render, render_now,
};
use polkashots_publisher::{catalog, index, retention};
use polkashots_shared::failure::Failure;
use polkashots_shared::target::{Explorer, Node};
use polkashots_shared::testkit::skip::program_or_skip;

const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Rewritten by `POLKASHOTS_BLESS=1 cargo test -p polkashots-publisher --test publisher`.
fn assert_golden(name: &str, found: &[u8]) -> anyhow::Result<()> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).join(name);
    if std::env::var_os("POLKASHOTS_BLESS").is_some() {
        fs::write(&path, found)?;
    }
    let expected = fs::read_to_string(&path)?;
    assert_eq!(String::from_utf8_lossy(found), expected, "{name}: POLKASHOTS_BLESS=1 rewrites it");
    Ok(())
}

pub async fn input(world: &World) -> anyhow::Result<SiteInput> {
    let deps = &world.deps;
    let catalog = catalog::read(deps.store.as_ref(), &deps.targets, &[deps.signing_key.public_key()]).await?;
    let index = index::build(&catalog, &deps.targets, &deps.site.archive_url);
    let signed = index::SignedIndex::new(&index, &deps.signing_key)?;
    let keys = SiteKeys::read(deps.store.as_ref(), &deps.signing_key, &deps.old_keys).await?;
    Ok(SiteInput::new(deps, &catalog, &retention::Plan::default(), &signed, keys))
}

async fn world() -> anyhow::Result<World> {
    let world = World::new();
    world.publish(DOT, "20261121-040000", 395).await?;
    world.publish(DOT, "20261122-040000", 1_234_567).await?;
    Ok(world)
}

#[tokio::test]
async fn index_and_pages_are_as_promised() -> anyhow::Result<()> {
    let world = world().await?;
    let site = world.host.deployed().pop().expect("a site");
    assert_golden("index.json", &site.files["index.json"])?;
    assert_golden("target.html", &site.files[&format!("targets/{DOT}/index.html")])?;
    assert_golden("feed.xml", &site.files["feed.xml"])?;
    for page in [
        "index.html",
        "chains/polkadot/index.html",
        "verify/index.html",
        "restore/index.html",
        "about/index.html",
        "404.html",
    ] {
        assert!(site.files[page].starts_with(b"<!doctype html>"), "{page}");
    }
    assert!(site.files["index.html"].len() < 100 * 1024);
    let badge: serde_json::Value = serde_json::from_slice(&site.files[&format!("targets/{DOT}/badge.json")])?;
    assert_eq!(badge["message"], "1\u{a0}234\u{a0}567");
    assert_eq!((&badge["schemaVersion"], &badge["label"]), (&1.into(), &"polkadot paritydb".into()));
    let robots = String::from_utf8_lossy(&site.files["robots.txt"]);
    assert!(robots.contains("Sitemap: https://snapshots.example/sitemap.xml"), "{robots}");
    Ok(())
}

#[tokio::test]
async fn hostile_words_are_escaped_everywhere() -> anyhow::Result<()> {
    const HOSTILE: &str = "\"><script>alert('x')</script>{{ 7919 | times: 7919 }}&\u{1b}[31m\u{0}\u{202e}]]>";
    let mut input = input(&world().await?).await?;
    for target in &mut input.targets {
        target.target.pruning = HOSTILE.into();
        target.target.chain.name = format!("{HOSTILE}{}", "long".repeat(200));
        target.target.schedule = Some(HOSTILE.into());
        target.target.time_zone = HOSTILE.into();
        target.target.explorers = vec![
            Explorer { name: HOSTILE.into(), url: format!("https://explorer.example/{HOSTILE}/{{hash}}") },
            Explorer { name: "x".into(), url: "javascript:alert({height})".into() },
        ];
        target.failures = vec![Failure {
            target: target.target.id.clone(),
            version: crate::common::version("20261122-050000"),
            worker: HOSTILE.into(),
            reason: HOSTILE.repeat(50),
            failed_at: crate::common::time("20261122-050000"),
        }];
        for SiteSnapshot { manifest, signature, .. } in &mut target.snapshots {
            *signature = HOSTILE.into();
            manifest.database.pruning = HOSTILE.into();
            manifest.tool = HOSTILE.into();
            manifest.node = Some(Node { name: HOSTILE.into(), version: HOSTILE.into() });
            for artifact in &mut manifest.artifacts {
                artifact.url = "javascript:alert(1)".into();
                artifact.file = format!("{}{HOSTILE}", manifest.version);
            }
        }
    }
    let site = render_now(&site_settings(), &input)?;
    let markup = |path: &str| ["html", "xml", "svg"].iter().any(|ending| path.ends_with(ending));
    assert!(site.files.keys().any(|path| path.starts_with("chains/script-alert")), "{:?}", site.files.keys());
    for (path, bytes) in site.files.iter().filter(|(path, _)| markup(path)) {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("<script>"), "{path} has the markup");
        assert!(!text.contains("javascript:"), "{path} has the address");
        assert!(!text.contains("62710561"), "{path} was evaluated twice");
        assert!(!text.contains(['\0', '\u{1b}', '\u{202e}']), "{path} has characters that XML or a reader trips over");
    }
    Ok(())
}

#[tokio::test]
async fn a_template_error_names_file_and_line() -> anyhow::Result<()> {
    let input = input(&world().await?).await?;
    let cases = [
        ("index.html", "---\nlayout: default\ntitle: x\n---\nfine\n{% if %}\n", 6),
        ("index.html", "---\ntitle: x\n---\nfine\n{{ site.data.nothing }}\n", 5),
        ("index.html", "---\ntitle: x\n", 1),
        ("index.html", "---\nlayout: missing\n---\n", 2),
        ("index.html", "---\ntitle: [a]\n---\n", 2),
        ("_includes/fact.html", "fine\n{{ include.value | frobnicate }}\n", 2),
        ("_includes/fact.html", "fine\n\n{{ include.nothing }}\n", 3),
    ];
    for (path, text, expected) in cases {
        let folder = tempfile::tempdir()?;
        Source::built_in().write_to(folder.path())?;
        fs::write(folder.path().join(path), text)?;
        let mut settings = site_settings();
        settings.source = Some(folder.path().to_owned());
        let error = render_now(&settings, &input).expect_err(text);
        let SiteError::Template { file, line, .. } = &error else { panic!("{error}") };
        assert_eq!((file.as_str(), *line), (path, expected), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_template_error_never_deploys_and_the_old_site_stays() -> anyhow::Result<()> {
    let mut world = world().await?;
    let before = world.host.deployed().len();
    let folder = tempfile::tempdir()?;
    Source::built_in().write_to(folder.path())?;
    let page = folder.path().join("index.html");
    fs::write(&page, "---\nlayout: default\ntitle: x\n---\n{{ site.data.nothing }}\n")?;
    world.deps.site.source = Some(folder.path().to_owned());
    world.upload(KSM, "20261122-040000", 12).await?;
    let error = world.handle(KSM, "20261122-040000").await.expect_err("the template is broken");
    assert!(error.to_string().contains("index.html, line 5"), "{error}");
    assert_eq!(world.host.deployed().len(), before);
    fs::write(&page, "---\ntitle: x\npermalink: /\n---\n<p>{{ site.data.targets.size }} targets of our own\n")?;
    world.handle(KSM, "20261122-040000").await?;
    let site = world.host.deployed().pop().expect("a site");
    assert_eq!(site.files["index.html"], "<p>2 targets of our own\n");
    Ok(())
}

#[tokio::test]
async fn a_permalink_that_a_page_has_already_is_refused() -> anyhow::Result<()> {
    let mut input = input(&world().await?).await?;
    input.targets.iter_mut().for_each(|t| t.target.permalink = format!("targets/{DOT}").parse().expect("legal"));
    let error = render_now(&site_settings(), &input).expect_err("taken");
    assert!(matches!(error, SiteError::Taken { .. }), "{error}");
    Ok(())
}

/// The settings with the real Jekyll; `None` where there is none, which is said aloud.
pub fn with_jekyll(test: &str) -> Option<SiteSettings> {
    let jekyll = Some(program_or_skip(test, "jekyll")?);
    Some(SiteSettings { jekyll, ..site_settings() })
}

#[tokio::test]
async fn jekyll_builds_the_same_site() -> anyhow::Result<()> {
    let Some(settings) = with_jekyll("jekyll_builds_the_same_site") else { return Ok(()) };
    let world = world().await?;
    world.upload(KSM, "20261122-040000", 12).await?;
    polkashots_publisher::refresh(&world.deps).await?;
    let input = input(&world).await?;
    let ours = render_now(&site_settings(), &input)?;
    assert_same(&ours, &render(&settings, &input).await?);
    Ok(())
}

/// The same files, redirects and headers, but for white space.
pub fn assert_same(ours: &RenderedSite, theirs: &RenderedSite) {
    assert!(theirs.files.keys().eq(ours.files.keys()), "{:?}", theirs.files.keys());
    assert_eq!((&theirs.redirects, &theirs.headers), (&ours.redirects, &ours.headers));
    for (path, content) in &theirs.files {
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&ours.files[path]), words(content), "{path}");
    }
}

#[tokio::test]
async fn a_jekyll_that_fails_or_is_missing_is_told_and_deploys_nothing() -> anyhow::Result<()> {
    let Some(mut settings) = with_jekyll("a_jekyll_that_fails_or_is_missing_is_told_and_deploys_nothing") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("index.html"), "---\n---\n{% frobnicate %}")?;
    settings.source = Some(folder.path().to_owned());
    let input = input(&world().await?).await?;
    let error = render(&settings, &input).await.expect_err("an unknown tag").to_string();
    assert!(error.contains("jekyll build: exit status") && error.contains("frobnicate"), "{error}");
    settings.jekyll = Some("/nowhere/jekyll".into());
    let error = render(&settings, &input).await.expect_err("no program").to_string();
    assert!(error.contains("/nowhere/jekyll build: no such program: install Jekyll"), "{error}");
    Ok(())
}

#[tokio::test]
async fn headers_are_strict_and_only_versioned_addresses_are_kept() -> anyhow::Result<()> {
    let site = render_now(&site_settings(), &input(&world().await?).await?)?;
    let everywhere = &site.headers[0];
    assert_eq!(everywhere.source, "**");
    let policy = &everywhere.headers["Content-Security-Policy"];
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("Cache-Control", "no-cache"),
        ("Referrer-Policy", "no-referrer"),
        ("Strict-Transport-Security", "max-age=31536000"),
        ("X-Content-Type-Options", "nosniff"),
    ] {
        assert_eq!(everywhere.headers[name], value);
    }
    let kept: Vec<_> = site.headers.iter().filter(|rule| rule.headers.contains_key("Cache-Control")).skip(1).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!((kept[0].source.as_str(), &*kept[0].headers["Cache-Control"]), ("/assets/**", IMMUTABLE));
    for (path, bytes) in site.files.iter().filter(|(path, _)| path.ends_with(".html")) {
        let page = String::from_utf8_lossy(bytes);
        assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains(" onclick"), "{path}: inline");
        assert_eq!(page.matches("<script").count(), 1, "{path}");
        assert!(page.contains("/assets/site.js?v=") && page.contains("/assets/style.css?v="), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn metalinks_name_size_digest_and_every_mirror() -> anyhow::Result<()> {
    let mut world = World::new();
    world.deps.site.mirrors = vec!["https://one.example/".parse()?, "https://two.example/a&b/".parse()?];
    world.publish(DOT, "20261122-040000", 396).await?;
    let site = world.host.deployed().pop().expect("a site");
    let path = format!("targets/{DOT}/20261122-040000.tar.zst.meta4");
    let text = String::from_utf8(site.files[&path].to_vec())?;
    let archive = world.bytes(&format!("{DOT}/20261122-040000.tar.zst")).expect("the archive");
    let file = format!("{DOT}/20261122-040000.tar.zst");
    for expected in [
        "<metalink xmlns=\"urn:ietf:params:xml:ns:metalink\">".to_owned(),
        "<file name=\"20261122-040000.tar.zst\">".to_owned(),
        format!("<size>{}</size>", archive.len()),
        format!("<hash type=\"sha-256\">{}</hash>", polkashots_shared::ids::Sha256::of(&archive)),
        format!("<url priority=\"1\">https://archive.example/{file}</url>"),
        format!("<url priority=\"1\">https://one.example/{file}</url>"),
        format!("<url priority=\"1\">https://two.example/a&amp;b/{file}</url>"),
    ] {
        assert!(text.contains(&expected), "no {expected} in {text}");
    }
    for from in ["/dot/paritydb.meta4", "/dot/paritydb.tar.zst.meta4"] {
        let redirect = site.redirects.iter().find(|redirect| redirect.from == from).expect(from);
        assert_eq!(redirect.to, format!("https://snapshots.example/{path}"));
    }
    Ok(())
}
