//! A whole site, ready to be deployed.

use std::collections::BTreeMap;

use bytes::Bytes;
use polkashots_shared::ids::Sha256;
use serde::Serialize;
use sha2::Digest;

use super::SiteSettings;

/// Files, redirects and headers of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedSite {
    /// Content by path, without a leading slash: `index.html`.
    pub files: BTreeMap<String, Bytes>,
    /// Stable addresses that lead to the newest files.
    pub redirects: Vec<Redirect>,
    /// Headers by path.
    pub headers: Vec<HeaderRule>,
}

/// An address that leads elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// The path on the site, with its leading slash.
    pub from: String,
    /// Where it leads.
    pub to: String,
    /// Always 302: a browser must ask again next time.
    pub status: u16,
}

/// Headers of the paths that a glob names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeaderRule {
    /// A glob as Firebase Hosting reads it: `**` or `/assets/**`.
    pub source: String,
    /// The headers.
    pub headers: BTreeMap<String, String>,
}

impl RenderedSite {
    /// A site of pages and assets, with the headers that every site has.
    pub fn new(files: BTreeMap<String, Bytes>, settings: &SiteSettings) -> Self {
        Self { files, redirects: Vec::new(), headers: headers(settings) }
    }

    /// The SHA-256 of everything that a visitor could notice.
    pub fn digest(&self) -> Sha256 {
        let mut hasher = sha2::Sha256::new();
        hasher.update(self.site_json());
        for (path, bytes) in &self.files {
            hasher.update(format!("\n{} {} {path}", bytes.len(), path.len()));
            hasher.update(bytes);
        }
        Sha256(hasher.finalize().into())
    }

    /// Redirects and headers as a server reads them: `{"redirects": [..], "headers": [..]}`.
    pub fn site_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct SiteJson<'a> {
            redirects: &'a [Redirect],
            headers: &'a [HeaderRule],
        }
        let json = SiteJson { redirects: &self.redirects, headers: &self.headers };
        serde_json::to_vec_pretty(&json).expect("strings and numbers always serialise")
    }
}

/// No script but the site's own files, no frame, no form, and nothing from another host.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The rules in their order: a later one wins.
fn headers(settings: &SiteSettings) -> Vec<HeaderRule> {
    let rule = |source: &str, headers: &[(&str, &str)]| HeaderRule {
        source: source.into(),
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
    };
    let mut everywhere = vec![
        ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-cache"),
    ];
    if settings.base_url.scheme() == "https" {
        everywhere.push(("Strict-Transport-Security", "max-age=31536000"));
    }
    let plain = [("Content-Type", "text/plain; charset=utf-8")];
    vec![
        rule("**", &everywhere),
        // Their addresses carry a version.
        rule("/assets/**", &[("Cache-Control", "public, max-age=31536000, immutable")]),
        // Dashboards of other sites may read them.
        rule("**/*.json", &[("Access-Control-Allow-Origin", "*")]),
        rule("**/*.minisig", &plain),
        rule("**/*.pub", &plain),
        rule("**/*.meta4", &[("Content-Type", "application/metalink4+xml")]),
        rule("/feed.xml", &[("Content-Type", "application/atom+xml; charset=utf-8")]),
    ]
}
