//! Badges: the newest height of a target, for a README or a dashboard.

use bytes::Bytes;
use serde_json::json;

use super::SiteTarget;
use super::data::{grouped, is_printable};

/// Longer labels are cut, in characters.
const MAX_LABEL_CHARS: usize = 48;
/// How wide a character is on average, in pixels; the text is fitted to what this comes to.
const CHAR_WIDTH: usize = 7;
const PADDING: usize = 6;

/// `badge.json`, as shields.io reads it from an endpoint, and `badge.svg`.
pub fn of(target: &SiteTarget) -> [(String, Bytes); 2] {
    let id = &target.target.id;
    let label: String = format!("{} {}", target.target.chain.name, target.target.database)
        .chars()
        .filter(|c| is_printable(*c))
        .take(MAX_LABEL_CHARS)
        .collect();
    let newest = target.snapshots.first().map(|snapshot| snapshot.manifest.block.height);
    let (message, colour) = match newest {
        Some(height) => (grouped(height.into()), "#a30f55"),
        None => ("no snapshot yet".to_owned(), "#666666"),
    };
    let json = json!({ "schemaVersion": 1, "label": label, "message": message, "color": colour });
    [
        (format!("targets/{id}/badge.json"), format!("{json}\n").into()),
        (format!("targets/{id}/badge.svg"), svg(&label, &message, colour).into()),
    ]
}

fn svg(label: &str, message: &str, colour: &str) -> String {
    let width = |text: &str| text.chars().count() * CHAR_WIDTH + 2 * PADDING;
    let (left, right) = (width(label), width(message));
    let total = left + right;
    let text = |text: &str, from: usize, width: usize| {
        let middle = from + width / 2;
        let length = width - 2 * PADDING;
        format!("<text x=\"{middle}\" y=\"14\" textLength=\"{length}\">{}</text>", escaped(text))
    };
    format!(
        concat!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{total}\" height=\"20\" role=\"img\">",
            "<title>{title}</title>",
            "<rect width=\"{total}\" height=\"20\" rx=\"3\" fill=\"{colour}\"/>",
            "<path d=\"M3 0h{flat}v20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z\" fill=\"#333\"/>",
            "<g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\">",
            "{label}{message}</g></svg>\n"
        ),
        total = total,
        title = escaped(&format!("{label}: {message}")),
        colour = colour,
        flat = left - 3,
        label = text(label, 0, left),
        message = text(message, left, right),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badge_is_as_wide_as_its_words_and_never_markup() {
        let svg = svg("<polkadot>", "1", "#fff");
        assert!(svg.contains("width=\"101\"") && svg.contains("&lt;polkadot&gt;"), "{svg}");
        assert!(!svg.contains("<polkadot>"));
    }
}
