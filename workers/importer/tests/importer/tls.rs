//! From `https` nothing leads to `http`, to the last byte of the way: a real server, a real certificate.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::server::{Faults, Server};
use crate::common::{Bucket, request, tree};
use anyhow::{Context as _, Result, ensure};
use polkashots_importer::{Key, NoProgress, restore};
use polkashots_shared::testkit::skip::skipped;

const CHILD: &str = "POLKASHOTS_TEST_TLS";
const NAME: &str = "tls::a_redirect_from_https_to_http_is_refused";

/// nginx with a certificate of its own, stopped when dropped.
struct Nginx(Child);

impl Nginx {
    fn start(folder: &Path, root: &Path, port: u16, plain: &str) -> Result<Self> {
        let config = format!(
            "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log; events {{}}\n\
             http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;\n\
             uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; server {{ listen 127.0.0.1:{port} ssl;\n\
             ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem; root {1};\n\
             location ~ [.]tar[.]zst$ {{ if (-f {0}/redirect) {{ return 302 {plain}$request_uri; }} }} }} }}\n",
            folder.display(),
            root.display()
        );
        std::fs::write(folder.join("nginx.conf"), config)?;
        let child = Command::new("nginx").arg("-c").arg(folder.join("nginx.conf")).stderr(Stdio::null()).spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// True where both programs are there, and the certificate was made.
fn certificate(folder: &Path) -> bool {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .output();
    made.is_ok_and(|output| output.status.success())
        && Command::new("nginx").arg("-v").output().is_ok_and(|output| output.status.success())
}

async fn child(settings: &str) -> Result<()> {
    let [source, chain, key] = settings.split('|').collect::<Vec<_>>()[..] else { anyhow::bail!("three settings") };
    restore(&request(source, Path::new(chain), Key::Text(key.to_owned())), &NoProgress).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_from_https_to_http_is_refused() -> Result<()> {
    if let Ok(settings) = std::env::var(CHILD) {
        return child(&settings).await;
    }
    let folder = tempfile::tempdir()?;
    if !certificate(folder.path()) {
        skipped(NAME, "openssl or nginx is not installed");
        return Ok(());
    }
    let bucket = Bucket::with(&tree(71))?;
    std::fs::set_permissions(bucket.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let plain = Server::start(bucket.folder.path(), Faults::default()).await?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let _nginx = Nginx::start(folder.path(), bucket.folder.path(), port, &plain.url())?;
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(std::time::Instant::now() < patience, "nginx does not answer");
        tokio::task::yield_now().await;
    }
    let Key::Text(key) = bucket.public_key() else { anyhow::bail!("the key is text") };
    let run = |chain: &Path| {
        let settings = format!("https://localhost:{port}|{}|{key}", chain.display());
        let mut command = Command::new(std::env::current_exe()?);
        let command = command.args(["--exact", NAME, "--nocapture"]).env(CHILD, settings);
        command.env("SSL_CERT_FILE", folder.path().join("cert.pem")).output().context("run the child")
    };
    let chain = tempfile::tempdir()?;
    let output = run(&chain.path().join("first"))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(folder.path().join("redirect"), "")?;
    let output = run(&chain.path().join("second"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    ensure!(!output.status.success() && text.contains("it leads from https to http"), "{text}");
    ensure!(plain.state.archive_requests.load(std::sync::atomic::Ordering::SeqCst) == 0, "http was asked");
    ensure!(!chain.path().join("second/db").exists(), "a database is visible");
    Ok(())
}
