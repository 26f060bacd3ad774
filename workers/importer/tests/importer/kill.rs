//! Restores stopped at random points: always resumable, and a database is visible only when it is whole.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::process::Stdio;
use std::task::Poll;
use std::time::Duration;

use crate::common::server::{Faults, Server};
use crate::common::{Bucket, Snapshot, Tree, read_tree};
use anyhow::{Context as _, Result, ensure};
use polkashots_importer::{Existing, Key, NoProgress, Outcome, restore};
use polkashots_shared::frames::FramesIndex;
use polkashots_shared::testkit::skip::report;

/// How often a restore is stopped in each of the two ways.
const STOPS: usize = 120;
/// How often an update is killed.
const UPDATE_KILLS: usize = 60;

/// A tree of some megabytes in many small files and a few larger ones.
fn tree(seed: u64) -> Tree {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tree = Tree::new();
    for number in 0..40 {
        let mut bytes = vec![0; random.usize(..120_000)];
        random.fill(&mut bytes);
        tree.insert(format!("db/full/{number:06}.sst"), bytes);
    }
    tree.insert("db/full/CURRENT".into(), b"MANIFEST\n".to_vec());
    tree.insert("db/full/parachains/db/x".into(), vec![0; 50_000]);
    tree
}

/// Polls `work` at most `polls` times; `None` where it was dropped before its end.
pub async fn stop_after<F: Future>(work: F, polls: usize) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut left = polls;
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// What must hold after every life: no database, or a whole one.
fn check(chain: &Path, tree: &Tree) -> Result<bool> {
    if !chain.join("db").exists() {
        return Ok(false);
    }
    ensure!(read_tree(chain)? == *tree, "a database is visible that is not whole");
    Ok(true)
}

/// Plays the power cut: what was not recorded as durable never reached the disk, so it reads as zeros.
fn lose_what_was_not_recorded(chain: &Path, index: &FramesIndex) -> Result<()> {
    let partial = chain.join(".polkashots/db.partial");
    let Ok(journal) = std::fs::read(partial.join("journal")) else { return Ok(()) };
    let recorded: Vec<u32> =
        journal[48..].chunks_exact(8).map(|r| u32::from_le_bytes([r[0], r[1], r[2], r[3]])).collect();
    let mut start = 0;
    for (number, frame) in index.frames.iter().enumerate() {
        let end = start + u64::from(frame.uncompressed_size);
        if !recorded.contains(&(number as u32)) {
            for file in index.files.iter().filter(|file| file.offset < end && file.offset + file.size > start) {
                let (from, to) =
                    (file.offset.max(start) - file.offset, (file.offset + file.size).min(end) - file.offset);
                let opened = std::fs::OpenOptions::new().write(true).open(partial.join(&file.path))?;
                std::os::unix::fs::FileExt::write_all_at(&opened, &vec![0; (to - from) as usize], from)?;
            }
        }
        start = end;
    }
    Ok(())
}

/// Waits until the threads of a dropped restore have let go of the lock.
pub fn wait_for_lock(chain: &Path) -> Result<()> {
    if let Ok(lock) = std::fs::File::open(chain.join(".polkashots/db.lock")) {
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_dropped_at_any_point_is_continued() -> Result<()> {
    let seed = fastrand::u64(..);
    report(&format!("seed {seed}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let tree = tree(seed);
    let snapshot = Snapshot::new(tree.clone());
    let (_, index) = snapshot.pack()?;
    let mut bucket = Bucket::new()?;
    bucket.publish(&snapshot)?;
    let server = Server::start(bucket.folder.path(), Faults::default()).await?;
    let (mut stops, mut completed, mut resumed) = (0, 0, 0);
    while stops < STOPS {
        let chain = tempfile::tempdir()?;
        let request = bucket.request(&server.url(), chain.path());
        loop {
            let polls = random.usize(1..60);
            let outcome = stop_after(restore(&request, &NoProgress), polls).await;
            wait_for_lock(chain.path())?;
            let is_whole = check(chain.path(), &tree).with_context(|| format!("seed {seed}, stop {stops}"))?;
            match outcome.transpose()? {
                None => {
                    stops += 1;
                    lose_what_was_not_recorded(chain.path(), &index)?;
                }
                Some(Outcome::Unsigned(unsigned)) => anyhow::bail!("not signed: {unsigned:?}"),
                Some(Outcome::Restored(restored)) => {
                    ensure!(is_whole, "restored but not there; seed {seed}");
                    completed += 1;
                    resumed += usize::from(restored.resumed_bytes > 0);
                    break;
                }
                // The rename was done, what follows it was not: the next call finds the database.
                Some(Outcome::AlreadyThere(there)) => {
                    ensure!(is_whole, "there but not whole; seed {seed}");
                    ensure!(there.manifest.is_some(), "there without a marker; seed {seed}");
                    ensure!(!chain.path().join(".polkashots/db.partial").exists(), "staging is left; seed {seed}");
                    completed += 1;
                    break;
                }
            }
        }
    }
    report(&format!("{stops} stops, {completed} restores completed, {resumed} of them resumed"));
    ensure!(completed > 0, "no restore was completed; seed {seed}");
    Ok(())
}

const CHILD: &str = "POLKASHOTS_TEST_CHILD";
const NAME: &str = "kill::a_restore_killed_at_any_moment_is_continued";

/// The child's part: one restore, as the parent's environment variable has it.
async fn child(settings: &str) -> Result<()> {
    let [source, chain, key, update] = settings.split('|').collect::<Vec<_>>()[..] else {
        anyhow::bail!("four settings")
    };
    let mut request = crate::common::request(source, Path::new(chain), Key::Text(key.to_owned()));
    if update == "update" {
        request.existing = Existing::Update;
    }
    restore(&request, &NoProgress).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_killed_at_any_moment_is_continued() -> Result<()> {
    if let Ok(settings) = std::env::var(CHILD) {
        return child(&settings).await;
    }
    let seed = fastrand::u64(..);
    report(&format!("seed {seed}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let tree = tree(seed);
    let snapshot = Snapshot::new(tree.clone());
    let (_, index) = snapshot.pack()?;
    let mut bucket = Bucket::new()?;
    bucket.publish(&snapshot)?;
    let server = Server::start(bucket.folder.path(), Faults::default()).await?;
    let Key::Text(key) = bucket.public_key() else { anyhow::bail!("the key is text") };
    let probe = tempfile::tempdir()?;
    let started = std::time::Instant::now();
    let settings = format!("{}|{}|{key}|", server.url(), probe.path().display());
    ensure!(live(&settings, probe.path(), Life::Whole).await?, "the first restore did not end");
    let (mut kills, mut completed, mut longest) = (0, 0, started.elapsed());
    while kills < STOPS {
        let chain = tempfile::tempdir()?;
        let settings = format!("{}|{}|{key}|", server.url(), chain.path().display());
        loop {
            let started = std::time::Instant::now();
            let mut child = tokio::process::Command::new(std::env::current_exe()?)
                .args(["--exact", NAME, "--nocapture"])
                .env(CHILD, &settings)
                .stdout(Stdio::null())
                .spawn()?;
            let life = longest.mul_f64(random.f64());
            let ended = tokio::time::timeout(life, child.wait()).await;
            let killed = ended.is_err();
            child.kill().await.ok();
            wait_for_lock(chain.path())?;
            let is_whole = check(chain.path(), &tree).with_context(|| format!("seed {seed}, kill {kills}"))?;
            if let Ok(status) = ended {
                ensure!(status?.success() && is_whole, "the child failed; seed {seed}");
                longest = started.elapsed().mul_f64(1.2);
                completed += 1;
                break;
            }
            kills += usize::from(killed);
            if is_whole {
                completed += 1;
                break;
            }
            lose_what_was_not_recorded(chain.path(), &index)?;
        }
    }
    report(&format!("{kills} kills, {completed} restores completed"));
    ensure!(completed > 0, "no restore was completed; seed {seed}");
    Ok(())
}

/// The tree a day later: something of everything a node does to its files.
fn tree_after(old: &Tree, seed: u64) -> Tree {
    let mut random = fastrand::Rng::with_seed(seed ^ 1);
    let mut tree = old.clone();
    for number in 0..6 {
        tree.remove(&format!("db/full/{number:06}.sst"));
        let mut bytes = vec![0; random.usize(..120_000)];
        random.fill(&mut bytes);
        tree.insert(format!("db/full/1{number:05}.sst"), bytes);
    }
    for bytes in tree.values_mut().filter(|bytes| bytes.len() > 40_000).step_by(3) {
        let at = random.usize(..bytes.len() - 100);
        bytes[at..at + 100].fill(random.u8(..));
        bytes.resize(bytes.len() - 10 + random.usize(..20), 7);
    }
    tree.insert("db/full/CURRENT".into(), b"MANIFEST-2\n".to_vec());
    tree
}

/// What must hold after every life of an update: no database, the old one or the new one; true for the new one.
fn check_update(chain: &Path, old: &Tree, new: &Tree) -> Result<bool> {
    if !chain.join("db").exists() {
        return Ok(false);
    }
    let mut found = read_tree(chain)?;
    found.remove("db/full/LOCK");
    ensure!(found == *old || found == *new, "a database is visible that is neither the old nor the new one");
    Ok(found == *new)
}

/// How long a child lives.
enum Life {
    Whole,
    For(Duration),
    /// Until so long after it began to switch the databases.
    IntoSwitch(Duration),
}

/// Runs the child with these settings; true where it ended by itself.
async fn live(settings: &str, chain: &Path, life: Life) -> Result<bool> {
    let mut child = tokio::process::Command::new(std::env::current_exe()?)
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, settings)
        .stdout(Stdio::null())
        .spawn()?;
    let old = chain.join(".polkashots/db.partial/old");
    let over = async {
        match life {
            Life::Whole => std::future::pending().await,
            Life::For(time) => tokio::time::sleep(time).await,
            Life::IntoSwitch(time) => {
                while !old.exists() {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
                tokio::time::sleep(time).await;
            }
        }
    };
    tokio::select! {
        status = child.wait() => {
            ensure!(status?.success(), "the child failed");
            return Ok(true);
        }
        () = over => {}
    }
    child.kill().await.ok();
    Ok(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_killed_at_any_moment_ends_in_the_new_database() -> Result<()> {
    let seed = fastrand::u64(..);
    report(&format!("seed {seed}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let old = tree(seed);
    let new = tree_after(&old, seed);
    let mut bucket = Bucket::with(&old)?;
    let first = tempfile::tempdir()?;
    restore(&bucket.request(&bucket.source(), first.path()), &NoProgress).await?;
    bucket.publish(&Snapshot { version: "20261123-040000".parse()?, height: 500, ..Snapshot::new(new.clone()) })?;
    let server = Server::start(bucket.folder.path(), Faults::default()).await?;
    let Key::Text(key) = bucket.public_key() else { anyhow::bail!("the key is text") };
    let probe = tempfile::tempdir()?;
    copy_tree(first.path(), probe.path())?;
    let started = std::time::Instant::now();
    let settings = format!("{}|{}|{key}|update", server.url(), probe.path().display());
    ensure!(live(&settings, probe.path(), Life::Whole).await?, "the first update did not end");
    let (mut kills, mut switching, longest) = (0, 0, started.elapsed());
    while kills < UPDATE_KILLS {
        let chain = tempfile::tempdir()?;
        copy_tree(first.path(), chain.path())?;
        let settings = format!("{}|{}|{key}|update", server.url(), chain.path().display());
        loop {
            let context = || format!("seed {seed}, kill {kills}");
            let life = match random.bool() {
                true => Life::For(longest.mul_f64(random.f64())),
                false => Life::IntoSwitch(Duration::from_micros(random.u64(..20_000))),
            };
            let ended = live(&settings, chain.path(), life).await.with_context(context)?;
            wait_for_lock(chain.path())?;
            let is_new = check_update(chain.path(), &old, &new).with_context(context)?;
            if ended {
                ensure!(is_new, "the update ended with another database; seed {seed}");
                ensure!(read_tree(chain.path())? == new, "something of the old one is left; seed {seed}");
                ensure!(!chain.path().join(".polkashots/db.partial").exists(), "staging is left; seed {seed}");
                break;
            }
            kills += 1;
            switching += usize::from(chain.path().join(".polkashots/db.partial/old").exists());
        }
    }
    report(&format!("{kills} kills of an update, {switching} of them while the databases were switched"));
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for (path, bytes) in read_tree(from)? {
        let path = to.join(path);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, bytes)?;
    }
    Ok(())
}
