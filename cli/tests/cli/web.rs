//! The web server, byte by byte.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use polkashots::serve::{Server, listen};
use tokio_util::sync::CancellationToken;

use crate::support::{Answer, request};

const ARCHIVE: &str = "/dot/20261122-040000.tar.zst";

/// A site and a bucket, served in this process.
struct Web {
    _folder: tempfile::TempDir,
    address: String,
    stop: CancellationToken,
}

impl Web {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fill(folder.path())?;
        let listener = listen("127.0.0.1:0".parse()?).await?;
        let address = listener.local_addr()?.to_string();
        let stop = CancellationToken::new();
        let server = Server::new(folder.path().join("site"), Some(folder.path().join("bucket")));
        let stopping = stop.clone();
        tokio::spawn(async move { server.run(listener, stopping).await });
        Ok(Self { _folder: folder, address, stop })
    }

    async fn ask(&self, method: &'static str, path: &str, headers: &[(&'static str, &str)]) -> Result<Answer> {
        let (address, path) = (self.address.clone(), path.to_owned());
        let headers: Vec<(&str, String)> = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let asked = tokio::task::spawn_blocking(move || {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            request(&address, method, &path, &headers)
        });
        asked.await?
    }

    async fn get(&self, path: &str) -> Result<Answer> {
        self.ask("GET", path, &[]).await
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn content() -> Vec<u8> {
    (0..1_000_000_u32).map(|position| (position % 251) as u8).collect()
}

fn fill(root: &Path) -> Result<()> {
    let rules = r#"{"redirects": [{"from": "/dot/paritydb", "to": "/dot/20261122-040000.tar.zst", "status": 302}],
        "headers": [{"source": "**", "headers": {"Cache-Control": "no-cache", "Content-Security-Policy": "default-src 'none'"}},
            {"source": "/assets/**", "headers": {"Cache-Control": "public, max-age=31536000, immutable"}}]}"#;
    // As deployed: the site is a link to a folder beside it.
    std::fs::create_dir_all(root.join(".sites/one/targets/dot"))?;
    std::fs::create_dir_all(root.join(".sites/one/assets/deep"))?;
    std::os::unix::fs::symlink(".sites/one", root.join("site"))?;
    for (name, text) in [
        ("site/_site.json", rules),
        ("site/index.html", "<h1>home</h1>"),
        ("site/404.html", "<h1>not here</h1>"),
        ("site/feed.xml", "<feed/>"),
        ("site/assets/style.css", "p {}"),
        ("site/assets/deep/icon.svg", "<svg/>"),
        ("site/targets/dot/index.html", "<h1>dot</h1>"),
        ("secret", "outside"),
    ] {
        std::fs::write(root.join(name), text)?;
    }
    std::fs::create_dir_all(root.join("bucket/dot"))?;
    std::fs::create_dir_all(root.join("bucket/.uploads"))?;
    std::fs::write(root.join(format!("bucket{ARCHIVE}")), content())?;
    std::fs::write(root.join("bucket/index.json"), "{}")?;
    std::fs::write(root.join("bucket/dot/20261122-040000.failed.json"), "{}")?;
    std::fs::write(root.join("bucket/.uploads/half"), "half")?;
    std::os::unix::fs::symlink("../../secret", root.join("bucket/dot/link"))?;
    Ok(())
}

#[tokio::test]
async fn pages_assets_and_objects_have_their_types_and_headers() -> Result<()> {
    let web = Web::start().await?;
    for (path, kind, cache) in [
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/targets/dot/", "text/html; charset=utf-8", "no-cache"),
        ("/feed.xml", "application/atom+xml; charset=utf-8", "no-cache"),
        ("/assets/style.css?v=0123456789ab", "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/assets/deep/icon.svg", "image/svg+xml", "public, max-age=31536000, immutable"),
        (ARCHIVE, "application/zstd", "public, max-age=31536000, immutable"),
        ("/index.json", "application/json", "no-cache"),
        ("/dot/20261122-040000.failed.json", "application/json", "no-cache"),
    ] {
        let answer = web.get(path).await?;
        ensure!(answer.status == 200, "{path}: {}", answer.status);
        ensure!(answer.header("content-type") == Some(kind), "{path}: {answer:?}");
        ensure!(answer.header("cache-control") == Some(cache), "{path}: {:?}", answer.header("cache-control"));
        ensure!(answer.header("x-content-type-options") == Some("nosniff"), "{path}");
        ensure!(answer.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
        ensure!(answer.header("accept-ranges") == Some("bytes") && answer.header("last-modified").is_some(), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn ranges_are_served_exactly() -> Result<()> {
    let web = Web::start().await?;
    let content = content();
    let size = content.len();
    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=999990-", 999_990..size),
        ("bytes=-10", size - 10..size),
        ("bytes=1000-300000", 1000..300_001),
    ] {
        let answer = web.ask("GET", ARCHIVE, &[("Range", range)]).await?;
        ensure!(answer.status == 206 && answer.body == content[part.clone()], "{range}: {}", answer.status);
        let expected = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        ensure!(
            answer.header("content-range") == Some(expected.as_str()),
            "{range}: {:?}",
            answer.header("content-range")
        );
        ensure!(answer.header("content-length") == Some(part.len().to_string().as_str()));
    }
    let behind = web.ask("GET", ARCHIVE, &[("Range", "bytes=1000000-")]).await?;
    ensure!(
        behind.status == 416 && behind.header("content-range") == Some("bytes */1000000") && behind.body.is_empty()
    );
    let whole = web.ask("GET", ARCHIVE, &[("Range", "bytes=0-1,5-6")]).await?;
    ensure!(whole.status == 200 && whole.body == content);
    Ok(())
}

#[tokio::test]
async fn a_client_that_has_it_gets_nothing_and_a_changed_file_is_never_mixed() -> Result<()> {
    let web = Web::start().await?;
    let first = web.ask("HEAD", ARCHIVE, &[]).await?;
    ensure!(first.status == 200 && first.body.is_empty() && first.header("content-length") == Some("1000000"));
    let etag = first.header("etag").context("no etag")?.to_owned();
    let date = first.header("last-modified").context("no date")?.to_owned();
    ensure!(web.ask("GET", ARCHIVE, &[("If-None-Match", &etag)]).await?.status == 304);
    ensure!(web.ask("GET", ARCHIVE, &[("If-Modified-Since", &date)]).await?.status == 304);
    ensure!(web.ask("GET", ARCHIVE, &[("Range", "bytes=0-1"), ("If-Range", &etag)]).await?.status == 206);
    ensure!(web.ask("GET", ARCHIVE, &[("Range", "bytes=0-1"), ("If-Range", "\"old\"")]).await?.status == 200);
    ensure!(web.ask("GET", ARCHIVE, &[("If-Match", "\"old\"")]).await?.status == 412);
    Ok(())
}

#[tokio::test]
async fn permalinks_redirect_and_nobody_keeps_them() -> Result<()> {
    let web = Web::start().await?;
    for path in ["/dot/paritydb", "/dot/paritydb/"] {
        let answer = web.get(path).await?;
        ensure!(answer.status == 302 && answer.header("location") == Some(ARCHIVE), "{path}: {answer:?}");
        ensure!(answer.header("cache-control") == Some("no-cache"));
    }
    let folder = web.get("/targets/dot").await?;
    ensure!(folder.status == 302 && folder.header("location") == Some("/targets/dot/"));
    Ok(())
}

#[tokio::test]
async fn nothing_hidden_and_nothing_outside_is_ever_served() -> Result<()> {
    let web = Web::start().await?;
    for path in [
        "/../secret",
        "/dot/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/.uploads/half",
        "/%2euploads/half",
        "/_site.json",
        "/dot/link",
        "/dot/",
        "/bucket/index.json",
        "//secret",
        "/dot%00",
        "/nothing",
    ] {
        let answer = web.get(path).await?;
        ensure!(answer.status == 404, "{path}: {}", answer.status);
        ensure!(answer.body == b"<h1>not here</h1>", "{path}: {:?}", String::from_utf8_lossy(&answer.body));
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = web.ask(method, "/", &[]).await?;
        ensure!(answer.status == 405 && answer.header("allow") == Some("GET, HEAD"), "{method}: {}", answer.status);
    }
    Ok(())
}
