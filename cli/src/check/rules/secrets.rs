//! No secret stands in a manifest, in a variable's default or in a build.

use super::Context;
use crate::check::finding::Report;
use crate::check::objects::Object;
use crate::check::yaml::Node;

/// Words in a key that promise a secret, and what may follow them where only a place is named.
const SECRET_WORDS: [&str; 5] = ["PASSWORD", "TOKEN", "SECRET", "PRIVATE_KEY", "CREDENTIAL"];
/// Ways in which secrets begin.
const SECRET_STARTS: [&str; 6] =
    ["-----BEGIN", "AKIA", "ghp_", "gho_", "xoxb-", "untrusted comment: minisign encrypted secret key"];

pub(super) fn rule(context: &Context<'_>, report: &mut Report) {
    for object in &context.objects {
        match object.kind() {
            "Secret" if is_of_emulators(*object) => {}
            "Secret" => report.add(
                object.at("kind"),
                format!("{} is in a manifest", object.title()),
                "no Secret: Terraform's state would keep it",
                "keep it in Secret Manager, or let a person make it",
            ),
            "ConfigMap" => config_map(*object, report),
            _ => {}
        }
        for (_, text, line) in object.root.scalars() {
            looks_secret((object.file, line), text, report);
        }
    }
    for file in context.tree.under("docker/").chain(context.tree.under("terraform/")) {
        for (index, line) in file.text.lines().enumerate() {
            let words = line.split(['"', '\'', ' ', '=']).filter(|word| !word.is_empty());
            words.for_each(|word| looks_secret((&file.path, index + 1), word, report));
        }
    }
}

/// Credentials that open nothing: emulators ask for some, and take any.
fn is_of_emulators(secret: Object<'_>) -> bool {
    let values = secret.root.get("stringData").map_or(&[][..], Node::entries);
    let keeps_more = secret.root.get("data").is_some() || values.is_empty();
    !keeps_more && values.iter().all(|(_, value)| value.text() == Some("emulator"))
}

fn config_map(map: Object<'_>, report: &mut Report) {
    for (key, value) in map.root.get("data").map_or(&[][..], |data| data.entries()) {
        let upper = key.to_ascii_uppercase().replace('-', "_");
        let names_secret = SECRET_WORDS.iter().any(|word| upper.contains(word));
        let text = value.text().unwrap_or_default();
        // A place where a secret lies is none.
        let names_place = text.starts_with('/') || upper.ends_with("_FILE");
        if names_secret && !names_place && !text.is_empty() {
            let what = format!("{} holds {key}", map.title());
            report.add(
                (map.file, value.line),
                what,
                "no secret in a ConfigMap",
                "take it from a Secret, by secretKeyRef",
            );
        }
    }
}

fn looks_secret(at: (&str, usize), text: &str, report: &mut Report) {
    if let Some(start) = SECRET_STARTS.iter().find(|start| text.trim_start().starts_with(**start)) {
        report.add(
            at,
            format!("a value that begins like a secret: {start}..."),
            "no secret in the repository",
            "remove and revoke it",
        );
    }
}
