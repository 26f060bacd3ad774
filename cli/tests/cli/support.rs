//! A host's folder for a test, the built binary, and a web client that says exactly what it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Longest wait for a process to do what it should; a slow machine must not fail a test.
const PATIENCE: Duration = Duration::from_secs(120);

/// A user without any rights of its own.
pub const NOBODY: u32 = 65534;

/// A folder with a config file, removed at the end.
pub struct Host {
    folder: tempfile::TempDir,
    user: Option<u32>,
}

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Host {
    /// A folder with store, key and a config for one target whose database lies at `database`.
    pub fn with_target(database: &Path, chain: &str, kind: &str) -> Result<Self> {
        let host = Self { folder: tempfile::tempdir()?, user: None };
        std::fs::create_dir(host.path("bucket"))?;
        host.run(&["keygen", "--out", "keys"])?.succeeded()?;
        host.write_config(&config_text(database, chain, kind))?;
        Ok(host)
    }

    /// Runs what follows as a user whom permissions bind. Only root has to change for that; others are such a user.
    ///
    /// The folder is given to that user; what is made unreadable has to be so after this.
    pub fn drop_privileges(&mut self) -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        // The built command may lie below a folder that only root may enter.
        std::fs::copy(env!("CARGO_BIN_EXE_polkashots"), self.path("polkashots"))?;
        self.user = Some(NOBODY);
        give(self.folder.path(), NOBODY)
    }

    fn command(&self) -> Command {
        let Some(user) = self.user else { return polkashots() };
        let mut command = isolated(&self.path("polkashots"));
        command.uid(user).gid(user);
        command
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write_config(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(self.path("polkashots.toml"), text)?)
    }

    /// Runs the command in the folder until it ends.
    pub fn run(&self, args: &[&str]) -> Result<Said> {
        Ok(self.command().args(args).current_dir(self.folder.path()).stdin(Stdio::null()).output()?.into())
    }

    /// Starts the service and waits until it says where it serves.
    pub fn start(&self) -> Result<Running> {
        let mut child = self
            .command()
            .args(["run", "--config", "polkashots.toml", "--log-format", "json"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let err = child.stderr.take().context("stderr is piped")?;
        let mut lines = BufReader::new(err).lines();
        let mut seen = String::new();
        for line in lines.by_ref() {
            let line = line?;
            if let Some(start) = line.find("http://127.0.0.1:") {
                let address = line[start + "http://".len()..].chars().take_while(|c| !"/\" ".contains(*c)).collect();
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Running { child, address });
            }
            seen += &line;
            seen += "\n";
        }
        bail!("the service ended before it served:\n{seen}")
    }

    /// The status as JSON.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&["status", "--json"])?.succeeded()?.out)?)
    }

    /// Waits until the status is as asked.
    pub fn wait_for(&self, what: &str, done: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status()?;
            if done(&status) {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "waited in vain for {what}: {status:#}");
            std::thread::yield_now();
        }
    }
}

/// True when the target's newest snapshot is `version`, every event is handled and nothing is held.
pub fn is_published(status: &Value, version: &str) -> bool {
    let waiting = |queue: &Value| ["ready", "leased", "delayed"].iter().any(|state| queue[state] != 0);
    status["targets"][0]["newest"]["version"] == version
        && status["held"].as_array().is_some_and(Vec::is_empty)
        && !status["queue"].as_array().is_some_and(|queues| queues.iter().any(waiting))
}

impl Said {
    pub fn succeeded(self) -> Result<Self> {
        ensure!(self.code == 0, "ended with {}: {}{}", self.code, self.out, self.err);
        Ok(self)
    }

    /// Checks the exit code and that the error names everything that a person needs.
    pub fn failed(self, code: i32, words: &[&str]) -> Result<Self> {
        ensure!(self.code == code, "ended with {}, expected {code}: {}{}", self.code, self.out, self.err);
        ensure!(self.err.contains("error: "), "no error line: {}", self.err);
        for word in words {
            ensure!(self.err.contains(word), "{word:?} is not said: {}", self.err);
        }
        ensure!(!self.err.contains("panicked"), "{}", self.err);
        Ok(self)
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A service that runs; killed when dropped.
pub struct Running {
    child: Child,
    pub address: String,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop, as systemd does, and waits for its end.
    pub fn terminate(mut self) -> Result<i32> {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        ensure!(killed.success());
        Ok(self.child.wait()?.code().unwrap_or(-1))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The built command, without the settings of the machine that the test runs on.
pub fn polkashots() -> Command {
    isolated(Path::new(env!("CARGO_BIN_EXE_polkashots")))
}

fn isolated(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POLKASHOTS_")) {
        command.env_remove(name);
    }
    command
}

/// Gives everything below `path` to a user.
pub fn give(path: &Path, user: u32) -> Result<()> {
    let given = Command::new("chown").args(["-R", &format!("{user}:{user}")]).arg(path).status()?;
    ensure!(given.success(), "chown of {} failed", path.display());
    Ok(())
}

/// A config of one target; the port is chosen by the system.
pub fn config_text(database: &Path, chain: &str, kind: &str) -> String {
    format!(
        r#"[site]
listen = "127.0.0.1:0"

[signing]
secret_key = "keys/polkashots.key"

[chains.fixture_relay]
genesis_hash = "0x2bf152f3b51e75ab07b70ba78a7509dfc97d27fed409f1fe0d619333f35988d5"

[[target]]
id = "relay"
permalink = "relay/db"
chain = "{chain}"
database = "{kind}"
pruning = "256"
source = {{ path = "{}" }}
"#,
        database.display()
    )
}

/// Unpacks a fixture of the repository into a folder.
pub fn unpack(fixture: &str, folder: &Path) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(format!("{fixture}.tar.zst"));
    let file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
    Ok(tar::Archive::new(zstd::Decoder::new(file)?).unpack(folder)?)
}

/// A web server's answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends one request with its path exactly as written.
pub fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    stream.write_all((text + "\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("no end of the head")?;
    let head = String::from_utf8(bytes[..end].to_vec())?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Answer { status, head, body: bytes[end + 4..].to_vec() })
}
