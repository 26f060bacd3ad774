//! A worker as a process.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How long a busy machine may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running worker; it is killed where a test ends early.
pub struct Process {
    child: Child,
    log: PathBuf,
    listen: String,
}

impl Process {
    /// Starts `command`, which logs to `log` and serves its figures at `listen`.
    pub fn start(mut command: Command, log: PathBuf, listen: String) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?).spawn();
        Ok(Self { child: child.context("the worker starts")?, log, listen })
    }

    /// Sends it a signal, by its name.
    pub fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status()?;
        ensure!(sent.success(), "no {name} was sent");
        Ok(())
    }

    /// Waits for its end; a Job may wait for its message as long as we do.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        let ended = until("the process did not end", || Ok(self.child.try_wait()?)).await;
        ended.with_context(|| self.log())
    }

    /// Waits until it serves its health.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        let listen = self.listen.clone();
        let ready = until("the worker is not ready", || {
            ensure!(self.child.try_wait()?.is_none(), "the worker ended");
            Ok(get(&listen, "/readyz").ok().filter(|answer| answer.starts_with("HTTP/1.1 200")).map(drop))
        });
        ready.await.with_context(|| self.log())
    }

    /// Waits until its metrics have that line.
    pub async fn wait_for_figure(&mut self, figure: &str) -> Result<()> {
        let what = format!("no {figure} among the figures");
        let there = until(&what, || {
            ensure!(self.child.try_wait()?.is_none(), "the worker ended");
            Ok(get(&self.listen, "/metrics").ok().filter(|figures| figures.contains(figure)).map(drop))
        });
        there.await.with_context(|| self.log())
    }

    /// Its figures now.
    pub fn figures(&self) -> Result<String> {
        get(&self.listen, "/metrics")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| error.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Looks again and again until there is something.
async fn until<T>(otherwise: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    let mut pause = tokio::time::interval(Duration::from_millis(100));
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(started.elapsed() < PATIENCE * 2, "{otherwise} within {:?}", PATIENCE * 2);
        pause.tick().await;
    }
}

/// The answer to a GET, status line and all.
fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
