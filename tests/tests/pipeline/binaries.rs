//! The workers' binaries: those that cargo built together with this test, or else built now.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

const WORKERS: [&str; 4] = ["engine", "snapshotter", "publisher", "importer"];
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The binary of that worker.
///
/// `cargo test --workspace` builds the binaries of all packages that have tests before it runs any, so that they are there.
/// `cargo test -p polkashots-tests` builds only this package: then they are built here, once.
pub fn binary(worker: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = output_folder().expect("a test lies in cargo's output folder");
        if !WORKERS.iter().all(|worker| is_current(&path(&folder, worker), worker)) {
            build(&folder);
        }
        folder
    });
    path(folder, worker)
}

fn path(folder: &Path, worker: &str) -> PathBuf {
    folder.join(format!("polkashots-{worker}"))
}

/// `target/debug`, where this test is in `target/debug/deps`.
fn output_folder() -> io::Result<PathBuf> {
    let test = std::env::current_exe()?;
    test.ancestors().nth(2).map(Path::to_owned).ok_or_else(|| io::Error::other("not in a folder"))
}

/// True where no source of the worker or of the shared library is newer than its binary.
fn is_current(binary: &Path, worker: &str) -> bool {
    let Ok(built) = fs::metadata(binary).and_then(|found| found.modified()) else { return false };
    let sources = ["shared/src".to_owned(), format!("workers/{worker}/src"), format!("workers/{worker}/site")];
    sources.iter().all(|folder| newest(&Path::new(ROOT).join(folder)).is_none_or(|changed| changed <= built))
}

/// When the newest file below a folder was changed; none where there is no such folder.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let changed = |path: PathBuf| match path.is_dir() {
        true => newest(&path),
        false => fs::metadata(&path).and_then(|found| found.modified()).ok(),
    };
    entries.filter_map(changed).max()
}

fn build(folder: &Path) {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(ROOT).args(["build", "--locked", "--bins", "--target-dir"]).arg(folder.join(".."));
    if folder.ends_with("release") {
        command.arg("--release");
    }
    // All features, and the shared library's too: nothing that this test was built of is then built another time.
    command.args(["--all-features", "--package", "polkashots-shared"]);
    for worker in WORKERS {
        command.args(["--package", &format!("polkashots-{worker}")]);
    }
    let built = command.status().expect("cargo runs");
    assert!(built.success(), "the workers' binaries were not built");
}
