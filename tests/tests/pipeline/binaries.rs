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
        if !WORKERS.iter().all(|worker| is_current(&path(&folder, worker))) {
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

/// True where no source that cargo noted beside the binary is newer than it.
fn is_current(binary: &Path) -> bool {
    let Ok(built) = modified(binary) else { return false };
    let Ok(noted) = fs::read_to_string(binary.with_extension("d")) else { return false };
    let Some((_, sources)) = noted.split_once(": ") else { return false };
    sources.split_whitespace().all(|source| modified(Path::new(source)).is_ok_and(|changed| changed <= built))
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
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
