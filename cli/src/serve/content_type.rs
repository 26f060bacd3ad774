//! Content types by the ending of a name.

/// The content type of a file of that name.
pub(super) fn of(name: &str) -> &'static str {
    let Some((_, ending)) = name.rsplit_once('.') else { return "application/octet-stream" };
    match ending {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "xml" => xml(name),
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        "txt" | "minisig" | "pub" | "md" | "SHA256SUMS" | "sha256" => "text/plain; charset=utf-8",
        "zst" => "application/zstd",
        "lz4" => "application/x-lz4",
        "meta4" => "application/metalink4+xml",
        _ => "application/octet-stream",
    }
}

fn xml(name: &str) -> &'static str {
    if name.ends_with("feed.xml") { "application/atom+xml; charset=utf-8" } else { "application/xml; charset=utf-8" }
}
