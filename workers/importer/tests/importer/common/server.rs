//! A web server for one folder that breaks on demand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use polkashots_shared::ids::Sha256;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How the server misbehaves.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Answers 200 with everything, whatever the range.
    pub ignore_ranges: bool,
    /// Closes each connection after that many bytes of an archive's body.
    pub cut_at: Option<usize>,
    /// Answers every n-th request with that status.
    pub every: Option<(usize, &'static str)>,
    /// A header to add to such an answer.
    pub with: &'static str,
    /// Answers the first so many requests for an archive with nothing, and keeps them open.
    pub silent: usize,
    /// Answers no request for an archive after so many, and keeps them open.
    pub silent_after: Option<usize>,
    /// Sends the first so many archive answers one byte at a time, one each ten milliseconds.
    pub trickle: usize,
    /// Waits that long before each archive answer.
    pub slow: std::time::Duration,
    /// Says `Content-Range` of another total.
    pub wrong_total: bool,
    /// Sends one byte less than it says, and closes.
    pub one_short: bool,
    /// Flips a byte of every n-th archive answer.
    pub corrupt_every: Option<usize>,
    /// Answers 206 with bytes from elsewhere.
    pub shifted: bool,
    /// Sends an archive of another content once so many archive requests were answered.
    pub swap_after: Option<(usize, Vec<u8>)>,
    /// Says nothing by which a file could be known again.
    pub no_etag: bool,
    /// Paths that redirect.
    pub redirects: BTreeMap<String, String>,
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    pub state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

/// What the server knows and counts.
#[derive(Debug)]
pub struct State {
    root: PathBuf,
    pub faults: Mutex<Faults>,
    pub requests: AtomicUsize,
    pub archive_requests: AtomicUsize,
    pub body_bytes: AtomicU64,
    archive_body_bytes: AtomicU64,
    pub log: Mutex<Vec<String>>,
}

impl Server {
    /// Serves `root` on a free port of this machine.
    pub async fn start(root: impl Into<PathBuf>, faults: Faults) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            root: root.into(),
            faults: Mutex::new(faults),
            requests: AtomicUsize::new(0),
            archive_requests: AtomicUsize::new(0),
            body_bytes: AtomicU64::new(0),
            archive_body_bytes: AtomicU64::new(0),
            log: Mutex::new(Vec::new()),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A client that goes away is no fault of the server's.
                    let _ = state.serve(stream).await;
                });
            }
        });
        Ok(Self { address, state, task })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    /// Bytes sent of archives.
    pub fn archive_bytes(&self) -> u64 {
        self.archive_body_bytes.load(Ordering::SeqCst)
    }

    async fn serve(&self, stream: TcpStream) -> Result<()> {
        let mut stream = BufReader::new(stream);
        let mut path = String::new();
        let (mut range, mut if_range) = (None, None);
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 && line != "\r\n" {
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "range" => range = parse_range(value.trim()),
                "if-range" => if_range = Some(value.trim().to_owned()),
                _ => {}
            }
            line.clear();
        }
        if !path.is_empty() || line == "\r\n" {
            self.answer(&mut stream, &path, range, if_range).await?;
        }
        stream.shutdown().await?;
        Ok(())
    }

    async fn answer(
        &self,
        out: &mut BufReader<TcpStream>,
        path: &str,
        range: Option<(u64, u64)>,
        if_range: Option<String>,
    ) -> Result<()> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let faults = self.faults.lock().expect("not poisoned").clone();
        self.log.lock().expect("not poisoned").push(path.to_owned());
        if let Some(to) = faults.redirects.get(path) {
            return head(out, &format!("302 Found\r\nLocation: {to}\r\nContent-Length: 0")).await;
        }
        if let Some((_, status)) = faults.every.filter(|(every, _)| number.is_multiple_of(*every)) {
            return head(out, &format!("{status}\r\n{}Content-Length: 0", faults.with)).await;
        }
        let Ok(mut bytes) = std::fs::read(self.root.join(path)) else {
            return head(out, "404 Not Found\r\nContent-Length: 0").await;
        };
        let is_archive = [".tar.zst", ".tar.lz4", ".tar"].iter().any(|suffix| path.ends_with(suffix));
        let archive_number = match is_archive {
            true => self.archive_requests.fetch_add(1, Ordering::SeqCst) + 1,
            false => 0,
        };
        let is_silent =
            archive_number <= faults.silent || faults.silent_after.is_some_and(|last| archive_number > last);
        if is_archive && is_silent {
            // The client closes the connection when it has waited long enough.
            out.read_to_end(&mut Vec::new()).await?;
            return Ok(());
        }
        if is_archive {
            tokio::time::sleep(faults.slow).await;
        }
        if is_archive
            && let Some((after, other)) = &faults.swap_after
            && archive_number > *after
        {
            bytes.clone_from(other);
        }
        let total = bytes.len() as u64;
        let etag = format!("\"{}\"", Sha256::of(&bytes));
        let is_other = if_range.is_some_and(|wanted| wanted != etag);
        let ranged = range.filter(|_| !faults.ignore_ranges && !is_other);
        if ranged.is_some_and(|(start, _)| start >= total) {
            return head(
                out,
                &format!("416 Range Not Satisfiable\r\nContent-Range: bytes */{total}\r\nContent-Length: 0"),
            )
            .await;
        }
        let (start, end) = ranged.map_or((0, total), |(start, last)| (start, (last + 1).min(total)));
        let shift = u64::from(faults.shifted && is_archive && start > 0);
        let mut body = bytes[(start - shift) as usize..(end - shift) as usize].to_vec();
        if is_archive && faults.corrupt_every.is_some_and(|every| archive_number.is_multiple_of(every)) {
            let at = body.len() / 2;
            body[at] ^= 1;
        }
        let status = match ranged {
            Some(_) => {
                let total = if faults.wrong_total { total + 1 } else { total };
                format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{total}", end - 1)
            }
            None => "200 OK".to_owned(),
        };
        let etag = if faults.no_etag { String::new() } else { format!("ETag: {etag}\r\n") };
        head(out, &format!("{status}\r\n{etag}Content-Length: {}", body.len())).await?;
        let cut = if is_archive { faults.cut_at.unwrap_or(usize::MAX) } else { usize::MAX };
        let short = usize::from(faults.one_short && is_archive);
        let sent = (body.len() - short).min(cut);
        if is_archive && archive_number <= faults.trickle {
            for byte in &body[..sent] {
                out.write_all(&[*byte]).await?;
                out.flush().await?;
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
        out.write_all(&body[..sent]).await?;
        self.body_bytes.fetch_add(sent as u64, Ordering::SeqCst);
        self.archive_body_bytes.fetch_add(if is_archive { sent as u64 } else { 0 }, Ordering::SeqCst);
        Ok(())
    }
}

async fn head(out: &mut BufReader<TcpStream>, head: &str) -> Result<()> {
    Ok(out.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes()).await?)
}

fn parse_range(value: &str) -> Option<(u64, u64)> {
    let (start, end) = value.strip_prefix("bytes=")?.split_once('-')?;
    Some((start.parse().ok()?, end.parse().unwrap_or(u64::MAX - 1)))
}
