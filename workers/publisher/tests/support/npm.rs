//! Packages of npm that tests use, each installed into `target/npm` when it is first asked for.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use polkashots_shared::testkit::skip::skipped;

/// The folder that everything is built in.
pub fn target_folder() -> PathBuf {
    let of_test = std::env::current_exe().ok().and_then(|exe| exe.ancestors().nth(3).map(Path::to_owned));
    of_test.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")))
}

/// The folder of a package, as in `package(test, "axe-core", "4")`; `None` where npm cannot install it, which `test` says.
pub fn package(test: &str, name: &str, version: &str) -> Option<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let prefix = target_folder().join("npm");
    let package = prefix.join("node_modules").join(name);
    if package.join("package.json").is_file() {
        return Some(package);
    }
    // No script of a package: one of them would compile C++ for minutes that nothing here needs.
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--ignore-scripts",
        "--no-fund",
        "--no-audit",
        "--silent",
        &format!("{name}@{version}"),
        "--prefix",
    ])
    .arg(&prefix);
    let installed = std::fs::create_dir_all(&prefix).is_ok() && npm.status().is_ok_and(|status| status.success());
    if !installed || !package.is_dir() {
        skipped(test, &format!("npm cannot install {name}"));
        return None;
    }
    Some(package)
}
