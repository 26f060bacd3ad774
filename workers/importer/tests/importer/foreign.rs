//! Somebody else's archives: taken only where that was allowed, by the path rules of signed ones, and as a whole or not at all.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::common::server::{Faults, Server};
use crate::common::{Bucket, Tree, read_tree, tree};
use crate::foreign_archives::{ATTACKS, ended, file, global, gnu_sparse, lz4, pax, sized, tar_of};
use crate::kill::{stop_after, wait_for_lock};
use anyhow::{Context as _, Result, ensure};
use polkashots_importer::{
    Destination, ErrorKind, Existing, NoProgress, Outcome, RestoreError, RestoreRequest, Unsigned, preview, restore,
};
use polkashots_shared::testkit::skip::report;
use tar::EntryType;

/// How often a restore is stopped.
const STOPS: usize = 60;

/// A change of a request, and what the refusal says.
type Change = (fn(&mut RestoreRequest), &'static str);

/// A folder with an archive of that name, and a chain folder for it.
struct Foreign {
    folder: tempfile::TempDir,
    name: String,
}

impl Foreign {
    fn new(name: &str, archive: &[u8]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("served"))?;
        std::fs::write(folder.path().join("served").join(name), archive)?;
        Ok(Self { folder, name: name.to_owned() })
    }

    fn served(&self) -> PathBuf {
        self.folder.path().join("served")
    }

    fn chain(&self) -> PathBuf {
        self.folder.path().join("node/chains/testnet1")
    }

    /// A request for the archive as a file.
    fn request(&self) -> RestoreRequest {
        self.request_from(&self.served().display().to_string())
    }

    fn request_from(&self, base: &str) -> RestoreRequest {
        let destination = Destination::BasePath(self.folder.path().join("node"));
        let mut request = RestoreRequest::new(format!("{base}/{}", self.name), None, destination);
        request.trust.chain = Some("testnet1".into());
        request.allow_unsigned = true;
        request.transfer.first_delay = std::time::Duration::from_millis(1);
        request.transfer.max_delay = std::time::Duration::from_millis(5);
        request
    }

    fn database(&self) -> Result<Tree> {
        read_tree(&self.chain())
    }

    /// Nothing was written but into the staging folder, and no database is visible.
    fn only_staging_was_touched(&self) -> Result<()> {
        let mut folders = vec![self.folder.path().join("node")];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry?.path();
                if path.symlink_metadata()?.is_dir() {
                    folders.push(path);
                    continue;
                }
                let ours = path.starts_with(self.chain().join(".polkashots"));
                ensure!(ours && path.symlink_metadata()?.is_file(), "{} was written", path.display());
            }
        }
        ensure!(!self.chain().join("db").exists() && !self.chain().join("paritydb").exists(), "a database is visible");
        Ok(())
    }
}

async fn unsigned(request: &RestoreRequest) -> Result<Unsigned> {
    match restore(request, &NoProgress).await? {
        Outcome::Unsigned(unsigned) => Ok(unsigned),
        other => anyhow::bail!("expected an unsigned database: {other:?}"),
    }
}

async fn refused(foreign: &Foreign, request: &RestoreRequest) -> Result<RestoreError> {
    let error = restore(request, &NoProgress).await.err().context("it was restored")?;
    foreign.only_staging_was_touched().with_context(|| error.to_string())?;
    Ok(error)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_compression_and_each_layout_gives_the_same_database() -> Result<()> {
    let tree = tree(70);
    for above in ["", "./", "testnet1/", "chains/testnet1/", "./chains/testnet1/"] {
        let stream = ended(tar_of(&tree, above));
        for (name, archive) in [
            ("x.tar", stream.clone()),
            ("x.tar.lz4", lz4(&stream)?),
            ("x.tar.zst", zstd::bulk::compress(&stream, 1)?),
            // What it is shows in its first bytes, not in its name.
            ("y.tar.lz4", zstd::bulk::compress(&stream, 1)?),
        ] {
            let foreign = Foreign::new(name, &archive)?;
            let done = unsigned(&foreign.request()).await.with_context(|| format!("{name} with {above:?}"))?;
            ensure!(foreign.database()? == tree, "{name} with {above:?} gives another database");
            ensure!(done.files == tree.len() as u64 && done.size_bytes == archive.len() as u64, "{done:?}");
            ensure!(done.written_bytes < 300_000, "the hole was written: {done:?}");
            let marker = std::fs::read_to_string(foreign.chain().join(".polkashots/db.unsigned.json"))?;
            ensure!(marker.contains("\"signed\": false") && marker.contains(&done.sha256.to_string()), "{marker}");
            ensure!(!foreign.chain().join(".polkashots/db.partial").exists(), "the staging folder is left");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_of_gnu_tar_are_put_where_they_belong() -> Result<()> {
    let mut stream = tar_of(&Tree::from([("db/full/CURRENT".into(), b"x".to_vec())]), "");
    stream.extend(gnu_sparse(10_000, &[(0, 3), (5000, 4), (10_000, 0)], b"abcdefg"));
    stream.extend(file("db/full/after"));
    let foreign = Foreign::new("x.tar", &ended(stream))?;
    unsigned(&foreign.request()).await?;
    let database = foreign.database()?;
    let mut expected = vec![0; 10_000];
    expected[..3].copy_from_slice(b"abc");
    expected[5000..5004].copy_from_slice(b"defg");
    ensure!(database.get("db/full/sparse-gnu") == Some(&expected), "the content is another");
    ensure!(database.get("db/full/after").is_some_and(|content| content == b"abc"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_sizes_of_gnu_and_pax_headers_are_read() -> Result<()> {
    let long = format!("db/full/{}/{}", "a".repeat(200), "b".repeat(200));
    let mut stream = tar_of(&Tree::from([("db/full/CURRENT".into(), b"x".to_vec())]), "");
    stream.extend(file(&long));
    stream.extend(global(&[("comment", b"made by somebody")]));
    stream.extend(pax(&[("mtime", b"1.5"), ("path", b"db/full/by-pax"), ("size", b"5")]));
    stream.extend(sized(b"db/full/other", EntryType::Regular, 0));
    stream.extend(b"12345");
    stream.resize(stream.len().next_multiple_of(512), 0);
    let foreign = Foreign::new("x.tar", &ended(stream))?;
    unsigned(&foreign.request()).await?;
    let database = foreign.database()?;
    ensure!(database.get(&long).is_some_and(|content| content == b"abc"), "{:?}", database.keys());
    ensure!(database.get("db/full/by-pax").is_some_and(|content| content == b"12345"), "{:?}", database.keys());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_archive_is_refused_by_the_name_of_its_entry_and_touches_nothing() -> Result<()> {
    let good = tar_of(&tree(71), "");
    for (name, attack, says) in ATTACKS {
        let archive = ended([good.clone(), attack()].concat());
        let foreign = Foreign::new("x.tar.zst", &zstd::bulk::compress(&archive, 1)?)?;
        let error = refused(&foreign, &foreign.request()).await.with_context(|| (*name).to_owned())?;
        ensure!(error.to_string().contains(says), "{name}: {error}");
        let kind = if name.starts_with("foreign sparse bomb") { ErrorKind::Space } else { ErrorKind::Refused };
        ensure!(error.kind() == kind, "{name}: {error:?}");
    }
    report(&format!("{} hostile archives of somebody else", ATTACKS.len()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_database_or_no_archive_is_refused() -> Result<()> {
    let no_current = Tree::from([("db/full/000007.sst".into(), vec![1; 10])]);
    for (name, bytes, says) in [
        ("x.tar", ended(Vec::new()), "has no database"),
        ("x.tar", ended(tar_of(&no_current, "")), "db/full/CURRENT"),
        ("x.tar", b"<html>not here</html>".repeat(100), "not a tar stream"),
        ("x.tar", Vec::new(), "it was cut"),
        ("x.tar.gz", b"\x1f\x8b rest".to_vec(), "gzip"),
        ("x.tar.zst", [&zstd::bulk::compress(&[0; 10], 1)?[..], b"more"].concat(), "x.tar.zst"),
    ] {
        let foreign = Foreign::new(name, &bytes)?;
        let error = refused(&foreign, &foreign.request()).await?;
        ensure!(error.to_string().contains(says), "{says}: {error}");
        ensure!(error.kind() == ErrorKind::Refused, "{error:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_million_entries_are_too_many() -> Result<()> {
    // Headers that belong to no entry count, too, and make no files.
    let thousand = zstd::bulk::compress(&global(&[("comment", b"x")]).repeat(1000), 1)?;
    let foreign = Foreign::new("x.tar.zst", &thousand.repeat(501))?;
    let error = refused(&foreign, &foreign.request()).await?;
    ensure!(error.to_string().contains("more than 500000 entries"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_cut_anywhere_is_refused() -> Result<()> {
    let seed = fastrand::u64(..);
    report(&format!("seed {seed}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let stream = ended(tar_of(&tree(72), ""));
    for (name, whole, end_mark) in [
        ("x.tar", stream.clone(), 10 * 1024),
        ("x.tar.lz4", lz4(&stream)?, 1),
        ("x.tar.zst", zstd::bulk::compress(&stream, 1)?, 1),
    ] {
        for _ in 0..20 {
            let end = random.usize(..whole.len() - end_mark + 1);
            let foreign = Foreign::new(name, &whole[..end])?;
            let error =
                refused(&foreign, &foreign.request()).await.with_context(|| format!("{name} of {end}, {seed}"))?;
            ensure!(error.kind() == ErrorKind::Refused, "{error:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_flag_an_unsigned_archive_is_refused_with_the_way_out() -> Result<()> {
    let foreign = Foreign::new("x.tar.lz4", &lz4(&ended(tar_of(&tree(73), "")))?)?;
    let server = Server::start(foreign.served(), Faults::default()).await?;
    for base in [foreign.served().display().to_string(), server.url()] {
        let mut request = foreign.request_from(&base);
        request.allow_unsigned = false;
        let error = refused(&foreign, &request).await?;
        ensure!(error.kind() == ErrorKind::Refused, "{error:?}");
        ensure!(error.to_string().contains("--allow-unsigned (POLKASHOTS_ALLOW_UNSIGNED=true)"), "{error}");
        ensure!(!foreign.folder.path().join("node").exists(), "something was made");
        ensure!(preview(&request, &NoProgress).await.is_err_and(|error| error.kind() == ErrorKind::Refused));
    }
    ensure!(server.state.archive_requests.load(Ordering::SeqCst) == 0, "the archive was fetched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flag_weakens_nothing_for_a_snapshot_with_a_manifest() -> Result<()> {
    let tree = tree(74);
    let mut bucket = Bucket::new()?;
    let manifest = bucket.publish(&crate::common::Snapshot::new(tree.clone()))?;
    let chain = tempfile::tempdir()?;
    let archive = bucket.path(&manifest.key_of(&manifest.artifacts[0].file)).display().to_string();
    let mut request = bucket.request(&archive, chain.path());
    (request.name, request.allow_unsigned) = (None, true);
    let mut other = request.clone();
    other.trust.keys = vec![Bucket::new()?.public_key()];
    let error = restore(&other, &NoProgress).await.err().context("a strange key was believed")?;
    ensure!(error.kind() == ErrorKind::Refused, "{error:?}");
    crate::common::restored(&request).await?;
    ensure!(read_tree(chain.path())? == tree && !chain.path().join(".polkashots/db.unsigned.json").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_manifest_could_answer_is_not_ignored() -> Result<()> {
    let foreign = Foreign::new("x.tar", &ended(tar_of(&tree(75), "")))?;
    let changes: [Change; 6] = [
        (|r| r.trust.min_height = Some(1), "--min-height"),
        (|r| r.trust.max_age = Some(std::time::Duration::from_secs(1)), "--max-age"),
        (|r| r.trust.genesis = Some(polkashots_shared::ids::BlockHash([1; 32])), "--genesis"),
        (|r| r.existing = Existing::Update, "--force"),
        (|r| r.existing = Existing::Repair, "--force"),
        (|r| r.trust.chain = None, "--chain (CHAIN)"),
    ];
    for (change, says) in changes {
        let mut request = foreign.request();
        change(&mut request);
        let error = refused(&foreign, &request).await?;
        ensure!(error.kind() == ErrorKind::Usage && error.to_string().contains(says), "{error}");
    }
    let mut request = foreign.request();
    request.trust.chain = Some("../elsewhere".into());
    ensure!(refused(&foreign, &request).await?.to_string().contains("name of a folder"));
    let error = preview(&foreign.request(), &NoProgress).await.err().context("a preview")?;
    ensure!(error.to_string().contains("--dry-run"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_built_in_chain_is_known_by_its_name() -> Result<()> {
    let foreign = Foreign::new("x.tar", &ended(tar_of(&tree(76), "ksmcc3/")))?;
    let mut request = foreign.request();
    request.trust.chain = Some("kusama".into());
    let done = unsigned(&request).await?;
    ensure!(done.database_dir == foreign.folder.path().join("node/chains/ksmcc3/db"), "{done:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_there_is_left_without_any_network() -> Result<()> {
    let foreign = Foreign::new("x.tar", &ended(tar_of(&tree(77), "")))?;
    std::fs::create_dir_all(foreign.chain().join("paritydb/full"))?;
    std::fs::write(foreign.chain().join("paritydb/full/metadata"), b"mine")?;
    let outcome = restore(&foreign.request_from("http://127.0.0.1:1"), &NoProgress).await?;
    ensure!(matches!(&outcome, Outcome::AlreadyThere(there) if there.manifest.is_none()), "{outcome:?}");
    ensure!(std::fs::read(foreign.chain().join("paritydb/full/metadata"))? == b"mine");
    // And where it is there, nobody has to allow anything.
    let mut request = foreign.request();
    request.allow_unsigned = false;
    ensure!(matches!(restore(&request, &NoProgress).await?, Outcome::AlreadyThere(_)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_one_replaces_the_old_database_once_it_is_whole() -> Result<()> {
    let (old, new) = (tree(78), tree(79));
    let foreign = Foreign::new("x.tar", &ended(tar_of(&old, "")))?;
    unsigned(&foreign.request()).await?;
    let archive = foreign.served().join("x.tar");
    let mut request = foreign.request();
    request.existing = Existing::Replace;
    std::fs::write(&archive, &ended(tar_of(&new, ""))[..100_000])?;
    ensure!(restore(&request, &NoProgress).await.is_err() && foreign.database()? == old, "the old one is gone");
    std::fs::write(&archive, ended(tar_of(&new, "")))?;
    unsigned(&request).await?;
    ensure!(foreign.database()? == new);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_are_taken_up_where_they_broke() -> Result<()> {
    let tree = tree(80);
    let archive = lz4(&ended(tar_of(&tree, "")))?;
    let foreign = Foreign::new("x.tar.lz4", &archive)?;
    let faults = Faults { cut_at: Some(30_000), ..Faults::default() };
    let server = Server::start(foreign.served(), faults).await?;
    let done = unsigned(&foreign.request_from(&server.url())).await?;
    ensure!(foreign.database()? == tree);
    ensure!(done.fetched_bytes == archive.len() as u64, "{done:?}");
    let requests = server.state.archive_requests.load(Ordering::SeqCst);
    ensure!(requests == archive.len().div_ceil(30_000), "{requests} requests for {} bytes", archive.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_go_on_is_read_again_from_the_beginning_but_not_for_ever() -> Result<()> {
    let tree = tree(81);
    let archive = lz4(&ended(tar_of(&tree, "")))?;
    for faults in [Faults { no_etag: true, ..Faults::default() }, Faults { ignore_ranges: true, ..Faults::default() }] {
        let foreign = Foreign::new("x.tar.lz4", &archive)?;
        let faults = Faults { cut_at: Some(100_000), ..faults };
        let server = Server::start(foreign.served(), faults.clone()).await?;
        let mut request = foreign.request_from(&server.url());
        request.transfer.attempts = 4;
        let error = refused(&foreign, &request).await?;
        ensure!(error.kind() == ErrorKind::Network, "{error:?}");
        // Every other answer is whole.
        *server.state.faults.lock().expect("not poisoned") = Faults { cut_at: None, ..faults };
        unsigned(&request).await?;
        ensure!(foreign.database()? == tree);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_changes_is_read_again_from_its_beginning() -> Result<()> {
    let (old, new) = (tree(82), tree(83));
    let foreign = Foreign::new("x.tar", &ended(tar_of(&old, "")))?;
    let other = ended(tar_of(&new, ""));
    let faults = Faults { cut_at: Some(150_000), swap_after: Some((2, other.clone())), ..Faults::default() };
    let server = Server::start(foreign.served(), faults).await?;
    let done = unsigned(&foreign.request_from(&server.url())).await?;
    ensure!(foreign.database()? == new, "two archives were mixed");
    ensure!(done.sha256 == polkashots_shared::ids::Sha256::of(&other), "{done:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_stopped_anywhere_ends_in_the_whole_database() -> Result<()> {
    let seed = fastrand::u64(..);
    report(&format!("seed {seed}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let tree = tree(seed);
    let foreign_archive = lz4(&ended(tar_of(&tree, "testnet1/")))?;
    let (mut stops, mut completed) = (0, 0);
    while stops < STOPS {
        let foreign = Foreign::new("x.tar.lz4", &foreign_archive)?;
        let server = Server::start(foreign.served(), Faults::default()).await?;
        let request = foreign.request_from(&server.url());
        loop {
            let outcome = stop_after(restore(&request, &NoProgress), random.usize(1..40)).await;
            wait_for_lock(&foreign.chain())?;
            let is_visible = foreign.chain().join("db").exists();
            ensure!(!is_visible || foreign.database()? == tree, "half a database is visible; seed {seed}");
            match outcome.transpose()? {
                None => stops += 1,
                Some(_) => {
                    ensure!(is_visible, "restored but not there; seed {seed}");
                    completed += 1;
                    break;
                }
            }
        }
    }
    report(&format!("{stops} stops, {completed} databases"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_killed_at_its_last_steps_is_finished_without_any_network() -> Result<()> {
    let tree = tree(84);
    let foreign = Foreign::new("x.tar", &ended(tar_of(&tree, "")))?;
    let server = Server::start(foreign.served(), Faults::default()).await?;
    let request = foreign.request_from(&server.url());
    unsigned(&request).await?;
    drop(server);
    let ours = foreign.chain().join(".polkashots");
    let (marker, staging) = (ours.join("db.unsigned.json"), ours.join("db.partial"));
    // Killed after the rename, before the marker.
    std::fs::create_dir(&staging)?;
    std::fs::rename(&marker, staging.join("unsigned.json"))?;
    let outcome = restore(&request, &NoProgress).await?;
    ensure!(matches!(&outcome, Outcome::AlreadyThere(there) if there.unsigned_archive.is_some()), "{outcome:?}");
    ensure!(marker.exists() && !staging.exists());
    // Killed after everything was durable, before the rename.
    std::fs::create_dir(&staging)?;
    std::fs::rename(&marker, staging.join("unsigned.json"))?;
    std::fs::rename(foreign.chain().join("db"), staging.join("db"))?;
    let done = unsigned(&request).await?;
    ensure!(done.fetched_bytes == 0 && foreign.database()? == tree && marker.exists() && !staging.exists(), "{done:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_restore_begins_anew_where_an_unsigned_one_was_stopped_and_takes_its_marker_away() -> Result<()> {
    let tree = tree(85);
    let bucket = Bucket::with(&tree)?;
    let foreign = Foreign::new("x.tar", &ended(tar_of(&crate::common::tree(86), "")))?;
    unsigned(&foreign.request()).await?;
    let staging = foreign.chain().join(".polkashots/db.partial/db");
    std::fs::create_dir_all(&staging)?;
    std::fs::write(staging.join("half"), b"of a foreign archive")?;
    let mut request = bucket.request(&bucket.source(), Path::new(&foreign.chain()));
    request.existing = Existing::Replace;
    crate::common::restored(&request).await?;
    ensure!(foreign.database()? == tree, "something of the foreign one is left");
    ensure!(!foreign.chain().join(".polkashots/db.unsigned.json").exists(), "a marker that lies");
    Ok(())
}
