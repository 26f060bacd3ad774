//! Random trees survive; the seed of each is printed.

mod common;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use common::{Host, noise, tree};
use polkashots_shared::ids::DatabaseKind;

#[tokio::test]
async fn random_trees_come_back_as_they_were() -> Result<()> {
    let seed = std::env::var("POLKASHOTS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let first = seed.unwrap_or_else(|| fastrand::u64(..));
    let rounds = if seed.is_some() { 1 } else { 12 };
    for seed in (0..rounds).map(|round| first.wrapping_add(round)) {
        say(&format!("POLKASHOTS_TEST_SEED={seed}"));
        one_tree(seed).await.with_context(|| format!("POLKASHOTS_TEST_SEED={seed}"))?;
    }
    Ok(())
}

async fn one_tree(seed: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let kind = *random.choice(DatabaseKind::ALL.iter()).context("two kinds")?;
    let mut host = Host::new(kind)?;
    host.target.compression.threads = random.usize(1..5);
    let mut folders = vec![kind.folder().to_owned()];
    for number in 0..random.usize(0..60) {
        let parent = random.choice(folders.iter()).context("never empty")?.clone();
        let path = format!("{parent}/{}{number}", name(&mut random));
        if random.u8(0..4) == 0 && path.split('/').count() < 12 {
            std::fs::create_dir_all(host.chain_dir().join(&path))?;
            folders.push(path);
        } else {
            random_file(&mut random, &File::create(host.chain_dir().join(&path))?)?;
        }
    }
    host.run().await?;
    assert!(tree(&host.unpack()?)? == tree(&host.chain_dir())?, "the tree changed on its way");
    assert_small_window(&host)
}

/// Names of all lengths with characters that sort before and after the slash.
fn name(random: &mut fastrand::Rng) -> String {
    let length = if random.u8(0..10) == 0 { random.usize(90..200) } else { random.usize(1..12) };
    (0..length).map(|_| *random.choice(['a', 'Z', '-', '.', ' ', '~', 'é', '0'].iter()).unwrap_or(&'x')).collect()
}

fn random_file(random: &mut fastrand::Rng, file: &File) -> Result<()> {
    let sizes = [0, 1, 511, 512, 513, 65_535, 65_536, 262_143, 262_144, 262_145, 1_000_000];
    let size = *random.choice(sizes.iter()).context("not empty")?;
    file.set_len(size as u64)?;
    for _ in 0..random.usize(0..3) {
        let start = random.usize(0..=size);
        let length = random.usize(0..=size - start);
        file.write_all_at(&noise(random.u64(..), length), start as u64)?;
    }
    Ok(())
}

fn assert_small_window(host: &Host) -> Result<()> {
    let archive = host.dir.path().join("archive");
    std::fs::write(&archive, host.object(".tar.zst")?)?;
    OpenOptions::new().read(true).open(&archive)?;
    common::shell(host.dir.path(), "zstd -q -d --memory=8MB -c archive > /dev/null", b"")?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a random test prints its seed")]
fn say(text: &str) {
    println!("{text}");
}
