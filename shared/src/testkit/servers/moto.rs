//! An S3 server: moto, from PyPI.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;

use super::Process;
use super::process::in_target_folder;
use crate::testkit::skip::{program_or_skip, skipped};

/// Where `script/test` puts moto's virtual environment, under the target folder.
const SERVER: &str = "moto-venv/bin/moto_server";

/// A running moto server.
#[derive(Debug)]
pub struct Moto {
    endpoint: String,
    _process: Process,
}

impl Moto {
    /// Starts moto from the target folder or the `PATH`; says that `test` was skipped where it is not installed.
    ///
    /// # Panics
    ///
    /// Where moto is installed and does not start.
    pub fn start_or_skip(test: &str) -> Option<Self> {
        let program = in_target_folder(SERVER).or_else(|| program_or_skip(test, "moto_server"))?;
        let process = Process::start(Command::new(program).args(["-H", "127.0.0.1", "-p", "0"]), "Running on http");
        let process = process.expect("moto starts");
        let Some((_, address)) = process.ready_line().split_once("http://") else {
            skipped(test, "moto did not say where it listens");
            return None;
        };
        Some(Self { endpoint: format!("http://{}", address.trim()), _process: process })
    }

    /// Its address: `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Creates a bucket.
    pub fn create_bucket(&self, name: &str) -> io::Result<()> {
        let address = self.endpoint.trim_start_matches("http://");
        let mut connection = TcpStream::connect(address)?;
        write!(
            connection,
            "PUT /{name} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut status = String::new();
        BufReader::new(connection).read_line(&mut status)?;
        if status.contains(" 200 ") {
            return Ok(());
        }
        Err(io::Error::other(format!("bucket {name} was not created: {status}")))
    }
}
