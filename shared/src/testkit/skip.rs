//! What a test does where a program that it needs is missing: say so loudly, and fail where all must be there.

use std::io::Write;
use std::path::PathBuf;

/// Says that `test` was skipped and why, also in the file that `POLKASHOTS_SKIP_LOG` names.
///
/// # Panics
///
/// Where `CI` is set: there everything is installed, and a skipped test is a failed one.
pub fn skipped(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}");
    assert!(std::env::var_os("CI").is_none(), "{line}; CI must have it");
    let mut stderr = std::io::stderr().lock();
    // Nothing can be done where even stderr is closed.
    let _closed = writeln!(stderr, "{line}");
    let Some(log) = std::env::var_os("POLKASHOTS_SKIP_LOG") else { return };
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(log);
    let _unwritable = opened.and_then(|mut log| writeln!(log, "{line}"));
}

/// Says what a test found, past the test runner's own capture: a count of cases is worth nothing where nobody sees it.
pub fn report(line: &str) {
    // Nothing can be done where even stderr is closed.
    let _closed = writeln!(std::io::stderr().lock(), "{line}");
}

/// The real polkadot node that `POLKASHOTS_TEST_NODE` names; says that `test` was skipped where it names none.
///
/// # Panics
///
/// As [`skipped`].
pub fn node_or_skip(test: &str) -> Option<PathBuf> {
    let node = std::env::var_os("POLKASHOTS_TEST_NODE").map(PathBuf::from);
    if node.is_none() {
        skipped(test, "POLKASHOTS_TEST_NODE names no polkadot binary");
    }
    node
}

/// The program of that name on the `PATH`; says that `test` was skipped where there is none.
///
/// # Panics
///
/// As [`skipped`].
pub fn program_or_skip(test: &str, name: &str) -> Option<PathBuf> {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        skipped(test, &format!("{name} is not installed"));
    }
    found
}
