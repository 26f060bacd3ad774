//! A headless Chromium, driven over the DevTools protocol on two pipes: no port, no other program.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub struct Chromium {
    child: Child,
    requests: ChildStdin,
    messages: Receiver<Value>,
    events: Vec<Value>,
    session: Option<String>,
    next_id: u64,
}

/// How the page is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
    pub scripts: bool,
}

impl Chromium {
    /// Starts a browser that knows nothing: its profile is in `profile`.
    pub fn start(program: &Path, profile: &Path) -> Result<Self> {
        const FLAGS: [&str; 12] = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            "--remote-debugging-pipe",
        ];
        // The browser reads the protocol from descriptor 3 and writes it to 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null", "sh"])
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let requests = child.stdin.take().context("a pipe")?;
        let mut answers = BufReader::new(child.stdout.take().context("a pipe")?);
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while answers.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                let Ok(parsed) = serde_json::from_slice(message.strip_suffix(&[0]).unwrap_or(&message)) else { break };
                if sender.send(parsed).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let mut chromium = Self { child, requests, messages, events: Vec::new(), session: None, next_id: 0 };
        chromium.open_page()?;
        Ok(chromium)
    }

    fn open_page(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }))?["targetId"].take();
        let attached = self.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }))?;
        self.session = Some(attached["sessionId"].as_str().context("a session")?.to_owned());
        for domain in ["Page.enable", "Runtime.enable", "Network.enable", "Log.enable"] {
            self.call(domain, json!({}))?;
        }
        Ok(())
    }

    /// Lets pages of `origin` write to the clipboard and read it.
    pub fn allow_clipboard(&mut self, origin: &str) -> Result<()> {
        let permissions = json!(["clipboardReadWrite", "clipboardSanitizedWrite"]);
        let session = self.session.take();
        let granted = self.call("Browser.grantPermissions", json!({ "origin": origin, "permissions": permissions }));
        self.session = session;
        granted.map(|_| ())
    }

    /// Loads an address and waits until everything on the page is there.
    pub fn open(&mut self, url: &str, look: Look) -> Result<()> {
        let Look { width, height, dark, scripts } = look;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics)?;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media)?;
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": !scripts }))?;
        self.events.clear();
        let navigated = self.call("Page.navigate", json!({ "url": url }))?;
        ensure!(navigated.get("errorText").is_none(), "{url}: {}", navigated["errorText"]);
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let message = self.receive()?;
            self.events.push(message);
        }
        Ok(())
    }

    /// The value of an expression, awaited where it is a promise.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let arguments = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true,
        });
        let mut answer = self.call("Runtime.evaluate", arguments)?;
        ensure!(answer.get("exceptionDetails").is_none(), "{expression:.80}: {}", answer["exceptionDetails"]);
        Ok(answer["result"]["value"].take())
    }

    /// The whole page, from top to bottom, as a PNG.
    pub fn screenshot(&mut self, whole: bool) -> Result<Vec<u8>> {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": whole }))?;
        let text = shot["data"].as_str().context("a picture")?;
        Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
    }

    /// The addresses asked for since the page was opened.
    pub fn requested(&self) -> Vec<String> {
        let requests = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        requests.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// What the console, the policies and the network complained of since the page was opened.
    pub fn complaints(&self) -> Vec<String> {
        let complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Network.loadingFailed") => true,
            Some("Runtime.consoleAPICalled") => matches!(event["params"]["type"].as_str(), Some("error" | "warning")),
            Some("Log.entryAdded") => {
                matches!(event["params"]["entry"]["level"].as_str(), Some("error" | "warning"))
            }
            _ => false,
        };
        self.events.iter().filter(complaint).map(|event| event["params"].to_string()).collect()
    }

    fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.next_id += 1;
        let mut request = json!({ "id": self.next_id, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = session.clone().into();
        }
        let mut bytes = serde_json::to_vec(&request)?;
        bytes.push(0);
        self.requests.write_all(&bytes)?;
        self.requests.flush()?;
        loop {
            let mut message = self.receive().with_context(|| method.to_owned())?;
            if message["id"] != self.next_id {
                self.events.push(message);
                continue;
            }
            if let Some(error) = message.get("error") {
                bail!("{method}: {error}");
            }
            return Ok(message["result"].take());
        }
    }

    fn receive(&mut self) -> Result<Value> {
        self.messages.recv_timeout(PATIENCE).context("the browser says nothing")
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _gone_already = self.call("Browser.close", json!({}));
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}
