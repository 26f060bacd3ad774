//! Announcements of new keys: on the site where they are right, never on it where they are not.

use std::process::Command;
use std::sync::Arc;

use polkashots_publisher::refresh;
use polkashots_publisher::site::{render, render_now};
use polkashots_shared::minisign::{PublicKey, SecretKey, verify};
use polkashots_shared::names::KEYS_KEY;
use polkashots_shared::ports::object_store::{Headers, ObjectStore, Precondition};
use polkashots_shared::rotation::{Announcement, KeyAnnouncements};
use polkashots_shared::testkit::skip::program_or_skip;

use crate::common::{DOT, World, key, site_settings, time};
use crate::site::{assert_same, input, with_jekyll};

const V1: &str = "20261122-040000";

fn announce(steps: &[(&SecretKey, &PublicKey)]) -> anyhow::Result<Vec<u8>> {
    let at = time("20261101-120000");
    let sign = |(old, new): &(&SecretKey, &PublicKey)| Announcement::sign(old, new, at);
    let announcements = steps.iter().map(sign).collect::<Result<_, _>>()?;
    Ok(KeyAnnouncements { announcements, ..KeyAnnouncements::none() }.to_bytes())
}

async fn place(world: &World, bytes: impl Into<bytes::Bytes>) -> anyhow::Result<()> {
    let headers = Headers::no_cache("application/json");
    world.store.put(KEYS_KEY, bytes.into(), Precondition::None, &headers).await?;
    Ok(())
}

/// A site whose key was announced by the one of before, and which has announced the next.
async fn rotating() -> anyhow::Result<(World, SecretKey)> {
    let mut world = World::new();
    let next = SecretKey::generate()?;
    let old = key("test.key");
    world.deps.signing_key = Arc::new(key("other.key"));
    world.deps.old_keys = vec![old.public_key()];
    let now = &world.deps.signing_key;
    place(&world, announce(&[(&old, &now.public_key()), (now, &next.public_key())])?).await?;
    world.publish(DOT, V1, 396).await?;
    Ok((world, next))
}

#[tokio::test]
async fn announcements_are_on_the_site_for_restorers_and_for_people() -> anyhow::Result<()> {
    let (world, next) = rotating().await?;
    let site = world.host.deployed().pop().expect("a site");
    assert_eq!(site.files["keys.json"], world.bytes(KEYS_KEY).expect("it is in the store"));
    let signature = std::str::from_utf8(&site.files["keys.json.minisig"])?;
    verify(&world.deps.signing_key.public_key(), &site.files["keys.json"], signature)?;
    let about = std::str::from_utf8(&site.files["about/index.html"])?;
    let old = key("test.key").public_key();
    for expected in [
        format!("It was announced by key <code>{}</code>", old.id()),
        "<time datetime=\"2026-11-01T12:00:00Z\">1 Nov 2026, 12:00 UTC</time>".to_owned(),
        world.deps.signing_key.public_key().to_base64(),
        next.public_key().to_base64(),
        "href=\"/keys.json\"".to_owned(),
    ] {
        assert!(about.contains(&expected), "no {expected} in {about}");
    }
    refresh(&world.deps).await?;
    assert_eq!(world.host.deployed().len(), 1, "nothing changed");
    Ok(())
}

#[tokio::test]
async fn a_site_without_announcements_shows_none() -> anyhow::Result<()> {
    let world = World::new();
    world.publish(DOT, V1, 396).await?;
    let site = world.host.deployed().pop().expect("a site");
    assert!(!site.files.keys().any(|path| path.starts_with("keys")), "{:?}", site.files.keys());
    let about = std::str::from_utf8(&site.files["about/index.html"])?;
    assert!(!about.contains("keys.json") && !about.contains("announced"), "{about}");
    Ok(())
}

#[tokio::test]
async fn stock_minisign_checks_an_announcement() -> anyhow::Result<()> {
    let Some(minisign) = program_or_skip("stock_minisign_checks_an_announcement", "minisign") else { return Ok(()) };
    let (world, _) = rotating().await?;
    let site = world.host.deployed().pop().expect("a site");
    let folder = tempfile::tempdir()?;
    let old = key("test.key").public_key();
    let announced = format!("{}-by-{}.pub", world.deps.signing_key.public_key().id(), old.id());
    for file in [announced.clone(), format!("{announced}.minisig")] {
        std::fs::write(folder.path().join(&file), &site.files[&format!("keys/{file}")])?;
    }
    let check =
        Command::new(minisign).args(["-Vm", &announced, "-P", &old.to_base64()]).current_dir(&folder).output()?;
    assert!(check.status.success(), "{check:?}");
    Ok(())
}

#[tokio::test]
async fn jekyll_shows_the_same_announcements() -> anyhow::Result<()> {
    let Some(settings) = with_jekyll("jekyll_shows_the_same_announcements") else { return Ok(()) };
    let (world, _) = rotating().await?;
    let input = input(&world).await?;
    assert_same(&render_now(&site_settings(), &input)?, &render(&settings, &input).await?);
    Ok(())
}

#[tokio::test]
async fn announcements_that_are_not_right_are_told_and_never_deployed() -> anyhow::Result<()> {
    let (world, next) = rotating().await?;
    let (now, stranger) = (&world.deps.signing_key, SecretKey::generate()?);
    let mut forged = KeyAnnouncements::from_bytes(&announce(&[(now, &next.public_key())])?)?;
    forged.announcements[0].key = stranger.public_key().to_base64();
    let mut unsigned = forged.clone();
    unsigned.announcements[0].signature = String::new();
    let cases = [
        (b"{\"schema\": 1".to_vec(), "keys.json is not valid"),
        (b"{\"schema\": 2, \"announcements\": []}".to_vec(), "keys.json has schema 2"),
        (forged.to_bytes(), "the content is not what was signed"),
        (unsigned.to_bytes(), "not a minisign signature"),
        (announce(&[(&stranger, &next.public_key())])?, "add it to the old public keys, or take the announcement out"),
        (announce(&[(&key("test.key"), &next.public_key())])?, "is it of another site?"),
        (vec![b' '; 1 << 20], KEYS_KEY),
    ];
    let right = world.bytes(KEYS_KEY).expect("it is in the store");
    for (wrong, expected) in cases {
        place(&world, wrong).await?;
        let error = refresh(&world.deps).await.expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}: expected {expected}");
        assert_eq!(world.host.deployed().len(), 1, "deployed: {expected}");
    }
    place(&world, right).await?;
    refresh(&world.deps).await?;
    Ok(())
}
