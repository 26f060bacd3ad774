//! Stops a node for the time of a copy and starts it again, whatever happens in between.
//!
//! A marker file is made durable before the node is stopped and removed after it was started. So the node is started
//! again on success, on every error, at the deadline, on a panic and on cancellation by [`Quiesced`]'s drop, and after a
//! crash of the whole process by [`recover`], which runs when the state folder is opened and at every sweep.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use polkashots_shared::adapters::chain::live_holder;
use polkashots_shared::ids::TargetId;
use polkashots_shared::ports::chain_database::DatabaseLocation;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::error::LocalError;
use super::state::{StateFolder, missing_is_fine, read_json, sync_dir, write_json};
use super::tree::Limit;

/// How long the start command may take before it is killed and tried again.
const START_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How often the start command is tried in a row; every sweep tries again.
const START_ATTEMPTS: u32 = 3;
/// How often a command and a lock are looked at.
const POLL: Duration = Duration::from_millis(20);

/// The pair of commands that stops a node and starts it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiesce {
    /// Program and arguments that stop the node; ends with 0 once it was asked to stop.
    pub stop: Vec<String>,
    /// Program and arguments that start it; must do no harm to a node that runs, as `systemctl start` does.
    pub start: Vec<String>,
    /// The longest time from the stop command to the start command; a copy that takes longer is given up.
    pub deadline: Duration,
}

/// What the next life has to know of a stopped node.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    target: TargetId,
    start: Vec<String>,
}

/// A node that is stopped; dropping it starts the node again.
pub(super) struct Quiesced<'a> {
    state: &'a StateFolder,
    marker: Marker,
}

/// Stops the node and waits until the database's lock is free, or the limit ends.
pub(super) fn stop<'a>(
    state: &'a StateFolder,
    target: &TargetId,
    quiesce: &Quiesce,
    location: &DatabaseLocation,
    limit: &Limit,
) -> Result<Quiesced<'a>, LocalError> {
    limit.check()?;
    let marker = Marker { target: target.clone(), start: quiesce.start.clone() };
    write_json(&state.marker_path(target), &marker)?;
    let quiesced = Quiesced { state, marker };
    info!(%target, "stopping the node for the time of a copy");
    run("stop", &quiesce.stop, limit)?;
    while live_holder(location).is_some() {
        limit.check()?;
        std::thread::sleep(POLL);
    }
    Ok(quiesced)
}

impl Drop for Quiesced<'_> {
    fn drop(&mut self) {
        start(self.state, &self.marker);
    }
}

/// Starts a node that a crashed life left stopped. The caller is at work on the target.
pub(super) fn recover(state: &StateFolder, target: &TargetId) -> Result<(), LocalError> {
    let Some(marker) = read_json::<Marker>(&state.marker_path(target))? else { return Ok(()) };
    warn!(%target, "a node was left stopped by a crash");
    start(state, &marker);
    Ok(())
}

/// The targets whose node may have been left stopped.
pub(super) fn marked(state: &StateFolder) -> Result<Vec<TargetId>, LocalError> {
    let root = state.root();
    let entries = fs::read_dir(root).map_err(LocalError::io(root))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.strip_prefix("quiesced-")?.strip_suffix(".json")?.parse().ok()).collect())
}

/// Runs the start command; the marker stays where it does not succeed.
fn start(state: &StateFolder, marker: &Marker) {
    let target = &marker.target;
    for attempt in 1..=START_ATTEMPTS {
        match run("start", &marker.start, &Limit::default().within(START_TIMEOUT)) {
            Ok(()) => return started(state, target),
            Err(error) => error!(%target, attempt, %error, "the node was not started"),
        }
    }
    error!(%target, "the node is STOPPED: start it by hand; every sweep tries again");
}

fn started(state: &StateFolder, target: &TargetId) {
    let marker = state.marker_path(target);
    let removed = missing_is_fine(fs::remove_file(&marker)).map_err(LocalError::io(&marker));
    match removed.and_then(|()| sync_dir(marker.parent().unwrap_or(Path::new("/")))) {
        Ok(()) => info!(%target, "the node was started again"),
        Err(error) => {
            error!(%target, %error, "the node was started again, but its marker stays: it is started once more")
        }
    }
}

/// Runs a command to its end or the limit's, at which it is killed.
fn run(what: &'static str, argv: &[String], limit: &Limit) -> Result<(), LocalError> {
    let failed = |reason: String| LocalError::Command { what, argv: argv.join(" "), reason };
    let (program, arguments) = argv.split_first().ok_or_else(|| failed("empty, expected a program".into()))?;
    // A file and not a pipe: a node that the command leaves behind would keep a pipe open for ever.
    let mut output = tempfile::tempfile().map_err(|error| failed(error.to_string()))?;
    let copies = output.try_clone().and_then(|out| Ok((out, output.try_clone()?)));
    let (stdout, stderr) = copies.map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    loop {
        match child.try_wait().map_err(|error| failed(error.to_string()))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(failed(format!("{status}: {}", last_line(&mut output)))),
            None => {}
        }
        if let Err(ended) = limit.check() {
            let killed = child.kill().and_then(|()| child.wait());
            return killed.map_err(|error| failed(error.to_string())).and(Err(ended));
        }
        std::thread::sleep(POLL);
    }
}

fn last_line(output: &mut fs::File) -> String {
    const TAIL_BYTES: i64 = 2048;
    let mut tail = Vec::new();
    let from = output.seek(SeekFrom::End(-TAIL_BYTES)).or_else(|_| output.rewind().map(|()| 0));
    let read = from.and_then(|_| output.read_to_end(&mut tail));
    let text = String::from_utf8_lossy(&tail);
    match (read, text.lines().rfind(|line| !line.trim().is_empty())) {
        (Ok(_), Some(line)) => line.trim().to_owned(),
        _ => "it said nothing".to_owned(),
    }
}
