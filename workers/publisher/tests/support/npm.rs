//! Packages of npm that tests use, each installed into `target/npm` when it is first asked for.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use polkashots_shared::testkit::skip::skipped;

/// Whom the system trusts, on Debian. Node.js has a list of its own and would refuse a network whose authority was added there.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

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
    let wanted = format!("{name}@{version}");
    // No script of a package: one of them would compile C++ for minutes that nothing here needs.
    let args = ["install", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error", &wanted, "--prefix"];
    let mut npm = Command::new("npm");
    npm.args(args).arg(&prefix);
    if std::env::var_os("NODE_EXTRA_CA_CERTS").is_none() && Path::new(SYSTEM_CERTIFICATES).is_file() {
        npm.env("NODE_EXTRA_CA_CERTS", SYSTEM_CERTIFICATES);
    }
    let installed = std::fs::create_dir_all(&prefix).and_then(|()| npm.output());
    let why = match installed {
        Ok(done) if done.status.success() && package.is_dir() => return Some(package),
        Ok(done) => String::from_utf8_lossy(&done.stderr).trim().replace('\n', "; "),
        Err(error) => error.to_string(),
    };
    skipped(test, &format!("npm cannot install {wanted}: {why}"));
    None
}
