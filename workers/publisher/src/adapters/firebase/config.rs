//! Redirects and headers in the words of Firebase Hosting's `ServingConfig`.

use serde_json::{Value, json};

use crate::site::RenderedSite;

/// The configuration of a version that serves `site`.
pub(super) fn of(site: &RenderedSite) -> Value {
    let redirects = site.redirects.iter().map(
        |redirect| json!({ "glob": literal(&redirect.from), "statusCode": redirect.status, "location": redirect.to }),
    );
    let headers = site.headers.iter().map(|rule| json!({ "glob": rule.source, "headers": rule.headers }));
    json!({
        "redirects": redirects.collect::<Vec<_>>(),
        "headers": headers.collect::<Vec<_>>(),
        "cleanUrls": false,
        "trailingSlashBehavior": "TRAILING_SLASH_BEHAVIOR_UNSPECIFIED",
    })
}

/// A path as a glob that matches nothing else.
fn literal(path: &str) -> String {
    let mut glob = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '(' | ')' | '!' | '@' | '+' | '|' | '\\' | ':') {
            glob.push('\\');
        }
        glob.push(c);
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permalink_is_a_glob_of_itself_only() {
        assert_eq!(literal("/dot/paritydb.tar.zst"), "/dot/paritydb.tar.zst");
        assert_eq!(literal("/a*"), "/a\\*");
    }
}
