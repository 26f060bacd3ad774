//! Volume snapshots by copying: what is copied, what is refused, and the node that is always started again.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use polkashots_engine::adapters::local::LocalVolumes;
use polkashots_engine::adapters::quiesce::Quiesce;
use polkashots_engine::{HeldKind, Ready, VolumeSnapshotError, VolumeSnapshots};
use polkashots_shared::ids::{DatabaseKind, TargetId, Version};
use support::{FakeNode, base_path, copy_of, open, run, sh, skipped, target_id, tree, version};

struct Host {
    folder: tempfile::TempDir,
    base: PathBuf,
    id: TargetId,
    version: Version,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let base = base_path(&folder.path().join("node"), DatabaseKind::ParityDb);
        Self { folder, base, id: target_id("dot"), version: version("20261122-120000") }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn started(&self) -> PathBuf {
        self.folder.path().join("started")
    }

    fn marker(&self) -> PathBuf {
        self.state().join("quiesced-dot.json")
    }

    /// How often the start command was run.
    fn starts(&self) -> usize {
        fs::read_to_string(self.started()).unwrap_or_default().lines().count()
    }

    fn quiesce(&self, stop: Vec<String>, deadline: Duration) -> Quiesce {
        Quiesce { stop, start: sh(&format!("echo started >> {}", self.started().display())), deadline }
    }

    async fn volumes(&self, quiesce: Option<Quiesce>) -> LocalVolumes {
        let mut source = copy_of(&self.base, DatabaseKind::ParityDb);
        source.quiesce = quiesce;
        open(&self.state(), [(self.id.clone(), source)]).await
    }

    async fn take(&self, volumes: &LocalVolumes) -> Result<Ready, VolumeSnapshotError> {
        volumes.acquire(&self.id, self.version).await.expect("acquired");
        volumes.ensure_snapshot(&self.id, self.version).await
    }

    /// Nothing but the lock is left of a copy that did not succeed.
    async fn assert_only_the_claim_is_held(&self, volumes: &LocalVolumes) {
        let kinds: Vec<_> = volumes.held().await.expect("held").into_iter().map(|held| held.kind).collect();
        assert_eq!(kinds, [HeldKind::Claim]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_copied_byte_for_byte_with_its_holes_and_nothing_else() {
    let host = Host::new();
    let volumes = host.volumes(None).await;
    let ready = host.take(&volumes).await.expect("a copy");
    assert_eq!(ready.taken_at, host.version.time());
    let claim = volumes.claims_dir().join(&ready.claim);
    assert_eq!(tree(&claim.join("paritydb")), tree(&host.base.join("chains/polkadot/paritydb")));
    let tops: Vec<_> = fs::read_dir(&claim).expect("readable").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(tops, ["paritydb"]);
    let allocated = fs::metadata(claim.join("paritydb/full/table_01_15")).expect("there").blocks() * 512;
    assert!(allocated < 1 << 20, "{allocated} bytes are allocated for a file of holes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_life_finds_the_same_snapshot_and_removes_half_of_one() {
    let host = Host::new();
    let volumes = host.volumes(None).await;
    let ready = host.take(&volumes).await.expect("a copy");
    let next_life = host.volumes(None).await;
    assert_eq!(host.take(&next_life).await.expect("the same"), ready);
    next_life.release(&host.id, host.version).await.expect("released");
    let partial = host.state().join("volumes/dot/20261122-120000.partial/paritydb");
    fs::create_dir_all(&partial).expect("created");
    fs::write(partial.join("half"), "of a file").expect("written");
    let held = next_life.held().await.expect("held");
    assert!(held.iter().any(|held| held.kind == HeldKind::VolumeSnapshot && held.version == host.version), "{held:?}");
    host.take(&next_life).await.expect("a copy");
    assert!(!partial.exists(), "a partial copy stayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_node_is_refused_by_name() {
    let host = Host::new();
    let node = FakeNode::start(&host.base);
    let volumes = host.volumes(None).await;
    let error = host.take(&volumes).await.expect_err("a live node");
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(text.contains(&format!("process {} (sleep)", node.id())) && text.contains("quiesce"), "{text}");
    host.assert_only_the_claim_is_held(&volumes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_node_is_stopped_for_the_copy_and_started_again() {
    let host = Host::new();
    let node = FakeNode::start(&host.base);
    let quiesce = host.quiesce(node.stop_command(), Duration::from_secs(60));
    let volumes = host.volumes(Some(quiesce)).await;
    host.take(&volumes).await.expect("a copy");
    assert_eq!((host.starts(), host.marker().exists()), (1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_running_is_not_started() {
    let host = Host::new();
    let volumes = host.volumes(Some(host.quiesce(sh("exit 1"), Duration::from_secs(60)))).await;
    host.take(&volumes).await.expect("a copy");
    assert_eq!(host.starts(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_started_again_when_its_stop_command_fails() {
    let host = Host::new();
    let _node = FakeNode::start(&host.base);
    let stop = sh("echo no such unit >&2; exit 5");
    let volumes = host.volumes(Some(host.quiesce(stop, Duration::from_secs(60)))).await;
    let error = host.take(&volumes).await.expect_err("the stop command fails").to_string();
    assert!(error.contains("stop command") && error.contains("exit status: 5: no such unit"), "{error}");
    assert_eq!((host.starts(), host.marker().exists()), (1, false));
    host.assert_only_the_claim_is_held(&volumes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_started_again_when_the_copy_fails() {
    let host = Host::new();
    let node = FakeNode::start(&host.base);
    std::os::unix::fs::symlink("/etc/passwd", host.base.join("chains/polkadot/paritydb/full/link")).expect("a link");
    let volumes = host.volumes(Some(host.quiesce(node.stop_command(), Duration::from_secs(60)))).await;
    let error = host.take(&volumes).await.expect_err("a link in the database").to_string();
    assert!(error.contains("full/link: is a symbolic link"), "{error}");
    assert_eq!((host.starts(), host.marker().exists()), (1, false));
    host.assert_only_the_claim_is_held(&volumes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_started_again_at_the_deadline() {
    let host = Host::new();
    let _node = FakeNode::start(&host.base);
    let volumes = host.volumes(Some(host.quiesce(sh("true"), Duration::from_millis(200)))).await;
    let error = host.take(&volumes).await.expect_err("the node does not stop");
    assert!(matches!(error, VolumeSnapshotError::DeadlineExceeded { .. }), "{error}");
    assert!(error.to_string().contains("not done within 200ms: the node was started again"), "{error}");
    assert_eq!((host.starts(), host.marker().exists()), (1, false));
    host.assert_only_the_claim_is_held(&volumes).await;
}

#[test]
fn a_node_is_started_again_when_the_handler_is_dropped() {
    let host = Host::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let node = FakeNode::start(&host.base);
    let stopping = host.folder.path().join("stopping");
    runtime.block_on(async {
        let stop = sh(&format!("touch {}; exec sleep 600", stopping.display()));
        let volumes = host.volumes(Some(host.quiesce(stop, Duration::from_secs(600)))).await;
        tokio::select! {
            result = host.take(&volumes) => panic!("ended by itself: {result:?}"),
            () = until_there(&stopping) => {}
        }
    });
    drop(runtime);
    assert_eq!((host.starts(), host.marker().exists()), (1, false), "the runtime's end waits for the start command");
    drop(node);
}

async fn until_there(path: &Path) {
    while !path.exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_a_crash_left_stopped_is_started_by_the_next_life_and_by_the_sweep() {
    let host = Host::new();
    let volumes = host.volumes(None).await;
    for starts in [1, 2] {
        let start = sh(&format!("echo started >> {}", host.started().display()));
        let marker = serde_json::json!({ "target": "dot", "start": start });
        fs::write(host.marker(), marker.to_string()).expect("written");
        if starts == 1 {
            host.volumes(None).await;
        } else {
            volumes.held().await.expect("swept");
        }
        assert_eq!((host.starts(), host.marker().exists()), (starts, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_start_is_tried_again_at_every_sweep() {
    let host = Host::new();
    let volumes = host.volumes(None).await;
    let marker = serde_json::json!({ "target": "dot", "start": ["false"] });
    fs::write(host.marker(), marker.to_string()).expect("written");
    volumes.held().await.expect("a node that does not start stops no sweep");
    assert!(host.marker().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_source_is_named() {
    let host = Host::new();
    let volumes = host.volumes(None).await;
    fs::remove_dir_all(&host.base).expect("removed");
    let error = host.take(&volumes).await.expect_err("nothing there");
    assert!(!error.is_transient() && error.to_string().contains("node"), "{error}");
    host.assert_only_the_claim_is_held(&volumes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_in_numbers_and_leaves_nothing() {
    let host = Host::new();
    fs::create_dir(host.state()).expect("created");
    let options = ["-t", "tmpfs", "-o", "size=8m", "none"].map(AsRef::as_ref);
    if let Err(reason) = run("mount", &[&options[..], &[host.state().as_ref()]].concat()) {
        return skipped(&reason);
    }
    let volumes = host.volumes(None).await;
    let taken = host.take(&volumes).await;
    let held: Vec<_> = volumes.held().await.expect("held").into_iter().map(|held| held.kind).collect();
    run("umount", &[host.state().as_ref()]).expect("unmounted");
    let error = taken.expect_err("too little space").to_string();
    assert!(error.contains("not enough disk space") && error.contains("bytes free; free "), "{error}");
    assert_eq!(held, [HeldKind::Claim]);
}

#[test]
fn neither_keystore_nor_network_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let this_test = "the_database_is_copied_byte_for_byte_with_its_holes_and_nothing_else";
    let itself = std::env::current_exe().expect("this binary");
    let options = ["-f", "-e", "trace=open,openat,openat2,creat", "-o"].map(std::ffi::OsStr::new);
    let traced: [&std::ffi::OsStr; 4] = [trace.as_ref(), itself.as_ref(), "--exact".as_ref(), this_test.as_ref()];
    if let Err(reason) = run("strace", &[options, traced].concat()) {
        return skipped(&reason);
    }
    let opened = fs::read_to_string(&trace).expect("a trace");
    let (opened, _cleaning_up) = opened.rsplit_once("table_01_15").expect("the trace shows the database");
    let reads = |line: &&str| line.contains("O_RDONLY") && !line.contains("O_CREAT");
    assert!(opened.lines().filter(reads).any(|line| line.contains("000012.log")), "the trace shows the copy");
    let secret = opened.lines().filter(reads).find(|line| line.contains("keystore") || line.contains("/network"));
    assert_eq!(secret, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_what_is_held_starts_no_node() {
    let host = Host::new();
    let volumes = host.volumes(None).await;
    volumes.acquire(&host.id, host.version).await.expect("acquired");
    let marker =
        serde_json::json!({ "target": "dot", "start": sh(&format!("echo started >> {}", host.started().display())) });
    fs::write(host.marker(), marker.to_string()).expect("written");
    let held = LocalVolumes::look(&host.state(), support::clock()).await.expect("looked");
    assert_eq!(held.iter().map(|held| held.kind).collect::<Vec<_>>(), [HeldKind::Claim]);
    assert_eq!((host.starts(), host.marker().exists()), (0, true));
}
