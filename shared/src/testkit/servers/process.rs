//! A server that is another process.

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// How long a server may take to say that it is ready.
const START: Duration = Duration::from_secs(90);

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ready: String,
}

impl Process {
    /// Starts `command` and waits for the first line of its output that contains `ready`.
    pub fn start(command: &mut Command, ready: &str) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (lines, printed) = channel();
        drain(child.stdout.take(), lines.clone());
        drain(child.stderr.take(), lines);
        match wait_for(&printed, ready) {
            Ok(ready) => Ok(Self { child, ready }),
            Err(error) => {
                let _ended = child.kill();
                let _reaped = child.wait();
                Err(error)
            }
        }
    }

    /// The line that said it is ready.
    pub fn ready_line(&self) -> &str {
        &self.ready
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A port of 127.0.0.1 that nobody listens on at the moment.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// What `script/test` installed as `target/<path>`, if it did; a running test is in `target/debug/deps`.
pub fn in_target_folder(path: &str) -> Option<PathBuf> {
    let running = env::current_exe().ok()?;
    let built_here = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");
    let folders = running.ancestors().skip(1).map(PathBuf::from).chain([PathBuf::from(built_here)]);
    folders.map(|folder| folder.join(path)).find(|path| path.exists())
}

/// Reads the output to its end, so that the server never waits for a reader.
fn drain(output: Option<impl Read + Send + 'static>, lines: Sender<String>) {
    let Some(output) = output else { return };
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody listens once the server is ready.
            let _unread = lines.send(line);
        }
    });
}

fn wait_for(printed: &Receiver<String>, ready: &str) -> io::Result<String> {
    let mut seen = Vec::new();
    loop {
        match printed.recv_timeout(START) {
            Ok(line) if line.contains(ready) => return Ok(line),
            Ok(line) => seen.push(line),
            Err(_) => {
                let output = seen.join("\n");
                return Err(io::Error::other(format!("server never said \"{ready}\", only:\n{output}")));
            }
        }
    }
}
