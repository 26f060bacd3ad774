//! The chain's own node as a child process that is never left behind.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

/// How much of what the node says last is kept for an error, in bytes.
const LAST_WORDS_BYTES: usize = 4096;
/// How many of its last lines an error shows.
const LAST_LINES: usize = 5;

/// A running node; dropping it kills it and everything that it started.
pub struct Node {
    child: Child,
    group: Option<Pid>,
    last_words: JoinHandle<String>,
}

impl Node {
    /// Starts `binary` in a process group of its own, with nothing to read.
    pub fn start(binary: &Path, arguments: &[String]) -> io::Result<(Self, File)> {
        let (node, stdout, _) = Self::start_with(binary, arguments, Stdio::null())?;
        Ok((node, stdout))
    }

    /// Starts `binary` in a process group of its own; returns it, its standard output and, where that is a pipe, its
    /// standard input.
    pub fn start_with(binary: &Path, arguments: &[String], stdin: Stdio) -> io::Result<(Self, File, Option<File>)> {
        let mut command = Command::new(binary);
        command.args(arguments).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("its output cannot be read"));
        };
        let last_words = tokio::spawn(keep_last_words(stderr));
        let stdout = File::from(stdout.into_owned_fd()?);
        let stdin = child.stdin.take().map(|stdin| stdin.into_owned_fd().map(File::from)).transpose()?;
        Ok((Self { child, group, last_words }, stdout, stdin))
    }

    /// Waits for its end; returns how it ended and what it said last.
    pub async fn wait(&mut self) -> io::Result<(ExitStatus, String)> {
        let status = self.child.wait().await?;
        // What it started must not outlive it, nor keep its standard error open.
        self.kill();
        let said = (&mut self.last_words).await.unwrap_or_default();
        Ok((status, said))
    }

    /// Kills it with everything that it started.
    pub fn kill(&mut self) {
        if let Some(group) = self.group.take() {
            // An error means that nobody of the group is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        self.last_words.abort();
    }
}

/// Reads all of it, so that the node never waits, and keeps the end.
async fn keep_last_words(mut stderr: ChildStderr) -> String {
    let mut kept = VecDeque::with_capacity(2 * LAST_WORDS_BYTES);
    let mut chunk = [0; LAST_WORDS_BYTES];
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        kept.extend(&chunk[..read]);
        kept.drain(..kept.len().saturating_sub(LAST_WORDS_BYTES));
    }
    let text = String::from_utf8_lossy(kept.make_contiguous()).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join(" | ")
}
