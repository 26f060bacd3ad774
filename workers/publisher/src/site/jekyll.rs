//! Renders with the real `jekyll build`, for a source with plugins or tags that the built-in renderer does not know.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::process::Command;
use tokio::time::timeout;

use super::{SiteError, Source};

/// How long a build may take before it is killed.
const DEADLINE: Duration = Duration::from_secs(10 * 60);
/// How much of what Jekyll said an error repeats, in lines.
const SAID_LINES: usize = 20;

/// Builds the source with `program` in a temporary folder; gives the built files by path.
pub async fn build(program: &Path, source: &Source) -> Result<BTreeMap<String, Bytes>, SiteError> {
    let folder = tempfile::tempdir().map_err(|error| failed(program, format!("no temporary folder: {error}")))?;
    let (from, to) = (folder.path().join("source"), folder.path().join("built"));
    source.write_to(&from)?;
    let mut command = Command::new(program);
    command.args(["build", "--quiet", "--disable-disk-cache", "--source"]).arg(&from).arg("--destination").arg(&to);
    command.env("JEKYLL_ENV", "production").stdin(Stdio::null()).kill_on_drop(true);
    let ran = match timeout(DEADLINE, command.output()).await {
        Ok(ran) => ran.map_err(|error| failed(program, not_started(&error)))?,
        Err(_) => return Err(failed(program, format!("took longer than {} s and was killed", DEADLINE.as_secs()))),
    };
    if !ran.status.success() {
        // Its temporary folder means nothing to whoever mends the source.
        let said = said(&[ran.stdout, ran.stderr].concat()).replace(&format!("{}/", from.display()), "");
        return Err(failed(program, format!("{}: {said}", ran.status)));
    }
    Ok(Source::from_folder(&to)?.files)
}

/// What went wrong, in Jekyll's words, without the stack of Ruby's calls.
fn said(output: &[u8]) -> String {
    let output = String::from_utf8_lossy(output);
    let lines = output.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("from /"));
    lines.take(SAID_LINES).collect::<Vec<_>>().join("; ")
}

fn failed(program: &Path, reason: String) -> SiteError {
    SiteError::Jekyll { program: PathBuf::from(program), reason }
}

fn not_started(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such program: install Jekyll, or leave the setting out".to_owned(),
        _ => error.to_string(),
    }
}
