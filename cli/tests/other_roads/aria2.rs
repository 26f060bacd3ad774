//! aria2c takes a permalink's metalink: it checks what it fetched, and goes on to a mirror.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use polkashots_shared::testkit::skip::program_or_skip;

use crate::Published;

#[test]
fn aria2_checks_what_the_metalink_says_and_takes_the_mirror() -> Result<()> {
    const TEST: &str = "aria2_checks_what_the_metalink_says_and_takes_the_mirror";
    if program_or_skip(TEST, "aria2c").is_none() {
        return Ok(());
    }
    let mirror = TcpListener::bind("127.0.0.1:0")?;
    let config = format!("mirrors = [\"http://{}/\"]\n", mirror.local_addr()?);
    let published = Published::of("rocksdb", &config)?;
    let file = format!("{}.tar.zst", published.version);
    let (stored, mirrored) = (published.host.path("bucket/relay").join(&file), published.host.path("mirrored.tar.zst"));
    let archive = std::fs::read(&stored)?;
    std::fs::write(&mirrored, &archive)?;
    serve(mirror, mirrored.clone());

    let (output, folder) = fetch(&published, "good")?;
    ensure!(output.status.success(), "{}", said(&output));
    ensure!(std::fs::read(folder.join(&file))? == archive, "aria2c has another file than was published");

    let mut damaged = archive.clone();
    damaged[archive.len() / 2] ^= 1;
    replace(&stored, &damaged)?;
    replace(&mirrored, &damaged)?;
    let (output, _) = fetch(&published, "damaged")?;
    ensure!(!output.status.success(), "a damaged archive was accepted: {}", said(&output));
    ensure!(said(&output).to_lowercase().contains("checksum"), "{}", said(&output));

    std::fs::remove_file(&stored)?;
    replace(&mirrored, &archive)?;
    let (output, folder) = fetch(&published, "mirror")?;
    ensure!(output.status.success(), "{}", said(&output));
    ensure!(std::fs::read(folder.join(&file))? == archive, "the mirror's file is not what was published");
    Ok(())
}

fn fetch(published: &Published, name: &str) -> Result<(Output, PathBuf)> {
    let folder = published.host.path(name);
    let output = Command::new("aria2c")
        .args(["--no-conf", "--retry-wait=0", "--follow-metalink=mem", "--summary-interval=0"])
        .arg("--dir")
        .arg(&folder)
        .arg(format!("{}/relay/db.meta4", published.site()))
        .env("HOME", published.host.path("."))
        .output()?;
    Ok((output, folder))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// The store's files are read-only; a new one takes the old one's name.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::remove_file(path)?;
    Ok(std::fs::write(path, bytes)?)
}

/// Answers every request with what is in the file, until the test ends.
fn serve(listener: TcpListener, file: PathBuf) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let file = file.clone();
            std::thread::spawn(move || answer(stream, &file));
        }
    });
}

fn answer(stream: TcpStream, file: &Path) -> Result<()> {
    let bytes = std::fs::read(file)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
    let stream = reader.get_mut();
    stream.write_all(head.as_bytes())?;
    Ok(stream.write_all(&bytes)?)
}
