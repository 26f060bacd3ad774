//! A web server for one folder, with a limit for each connection.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

const CHUNK_BYTES: u64 = 64 * 1024;

/// What each connection gets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Most bytes a second; none is as fast as it goes.
    pub bytes_per_second: Option<u64>,
    /// The wait before each answer.
    pub latency: Duration,
}

/// A running server; it ends with the process.
pub struct Served(SocketAddr);

impl Served {
    /// Serves `root` on a free port of this machine.
    pub fn start(root: &Path, limits: Limits) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let root = root.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let root = root.clone();
                // A client that goes away is no fault of the server's.
                std::thread::spawn(move || drop(serve(&root, stream, limits)));
            }
        });
        Ok(Self(address))
    }

    /// The server's own address.
    pub fn url(&self) -> String {
        format!("http://{}", self.0)
    }

    /// The address of a file.
    pub fn address(&self, path: &str) -> String {
        format!("http://{}/{path}", self.0)
    }
}

fn serve(root: &Path, stream: TcpStream, limits: Limits) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    while let Some((path, range)) = request(&mut requests)? {
        std::thread::sleep(limits.latency);
        answer(&mut out, &root.join(path), range, limits)?;
    }
    Ok(())
}

type Asked = (PathBuf, Option<(u64, u64)>);

fn request(from: &mut impl std::io::BufRead) -> Result<Option<Asked>> {
    let (mut path, mut range, mut line) = (None, None, String::new());
    while from.read_line(&mut line)? > 0 && line != "\r\n" {
        if path.is_none() {
            path = line.split(' ').nth(1).map(|path| PathBuf::from(path.trim_start_matches('/')));
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            let (start, end) = value.trim().split_once('-').context("a range")?;
            range = Some((start.parse()?, end.parse()?));
        }
        line.clear();
    }
    Ok(path.map(|path| (path, range)))
}

fn answer(out: &mut TcpStream, path: &Path, range: Option<(u64, u64)>, limits: Limits) -> Result<()> {
    let Ok(mut file) = File::open(path) else {
        return Ok(out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?);
    };
    let total = file.metadata()?.len();
    let (start, end) = range.map_or((0, total), |(start, last)| (start, (last + 1).min(total)));
    let status = match range {
        Some(_) => format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{total}", end - 1),
        None => "200 OK".to_owned(),
    };
    out.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", end - start).as_bytes())?;
    file.seek(SeekFrom::Start(start))?;
    let Some(rate) = limits.bytes_per_second else {
        std::io::copy(&mut file.take(end - start), out)?;
        return Ok(());
    };
    let (started, mut sent) = (Instant::now(), 0);
    while start + sent < end {
        sent += std::io::copy(&mut (&mut file).take(CHUNK_BYTES.min(end - start - sent)), out)?;
        let due = Duration::from_secs_f64(sent as f64 / rate as f64);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    Ok(())
}
