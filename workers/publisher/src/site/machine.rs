//! What machines read: index, schemas, key, `latest.json`, and the permalinks.

use bytes::Bytes;
use polkashots_shared::index::Latest;
use polkashots_shared::names::{self, INDEX_KEY, INDEX_SIGNATURE_KEY, KEYS_KEY, METALINK_SUFFIX};
use polkashots_shared::rotation::Announced;
use polkashots_shared::schema;
use polkashots_shared::target::Format;

use super::{
    Redirect, RenderedSite, SiteError, SiteInput, SiteSettings, SiteSnapshot, SiteTarget, badge, data, metalink,
};
use crate::keys::SiteKeys;

/// Adds the files and redirects that do not come from templates.
pub fn add(site: &mut RenderedSite, settings: &SiteSettings, input: &SiteInput) -> Result<(), SiteError> {
    let mut files = vec![
        (INDEX_KEY.to_owned(), input.index.bytes.clone()),
        (INDEX_SIGNATURE_KEY.to_owned(), input.index.signature.clone()),
        ("polkashots.pub".to_owned(), input.public_key.to_text().into()),
    ];
    files.extend(input.keys.iter().flat_map(keys));
    files.extend(schemas());
    files.extend(input.targets.iter().filter_map(|target| latest(settings, target)));
    files.extend(input.targets.iter().flat_map(badge::of));
    let snapshots = input.targets.iter().flat_map(|target| &target.snapshots);
    files.extend(snapshots.flat_map(|snapshot| metalink::of(settings, snapshot)));
    for (path, bytes) in files {
        if site.files.insert(path.clone(), bytes).is_some() {
            return Err(SiteError::Taken { path, first: "the site's source".into(), second: "the publisher".into() });
        }
    }
    for target in &input.targets {
        let Some(newest) = target.snapshots.first() else { continue };
        for redirect in permalinks(settings, target, newest) {
            check_free(site, &redirect, target)?;
            site.redirects.push(redirect);
        }
    }
    Ok(())
}

/// The permalinks of a target: the bare one leads to the `.tar.zst`.
fn permalinks(settings: &SiteSettings, target: &SiteTarget, newest: &SiteSnapshot) -> Vec<Redirect> {
    let manifest = &newest.manifest;
    let (id, version) = (&manifest.target, manifest.version);
    let from = |suffix: &str| format!("/{}{suffix}", target.target.permalink);
    let mut links = Vec::new();
    for artifact in &manifest.artifacts {
        let to = data::file_url(settings, manifest, &artifact.url, &artifact.file);
        let suffix = artifact.file.strip_prefix(&version.to_string()).unwrap_or_default();
        if artifact.format == Format::TarZst {
            links.push((from(""), to.clone()));
        }
        links.push((from(suffix), to));
        if let Some(frames) = &artifact.frames {
            links.push((from(".frames.json.zst"), data::file_ref_url(settings, manifest, frames)));
        }
    }
    for artifact in metalink::linked(manifest) {
        let to = format!("{}/{}", settings.address(), metalink::path(manifest, artifact));
        let suffix = artifact.file.strip_prefix(&version.to_string()).unwrap_or_default();
        if artifact.format == Format::TarZst {
            links.push((from(METALINK_SUFFIX), to.clone()));
        }
        links.push((from(&format!("{suffix}{METALINK_SUFFIX}")), to));
    }
    let signature = settings.url_of(&names::manifest_signature_key(id, version));
    let sums = names::sums_key(id, version);
    links.push((from(".manifest.json"), settings.url_of(&names::manifest_key(id, version))));
    links.push((from(".manifest.json.minisig"), signature.clone()));
    links.push((from(".minisig"), signature));
    links.push((from(".sha256sums"), settings.url_of(&sums)));
    links.push((from(".sha256"), settings.url_of(&sums)));
    let sums_signature = settings.url_of(&(sums + names::SIGNATURE_SUFFIX));
    links.push((from(".sha256sums.minisig"), sums_signature.clone()));
    links.push((from(".sha256.minisig"), sums_signature));
    links.into_iter().map(|(from, to)| Redirect { from, to, status: 302 }).collect()
}

fn check_free(site: &RenderedSite, redirect: &Redirect, target: &SiteTarget) -> Result<(), SiteError> {
    let path = redirect.from.trim_start_matches('/').to_owned();
    let folder = format!("{path}/");
    let second = format!("the permalink of {}", target.target.id);
    if site.files.keys().any(|file| *file == path || file.starts_with(&folder)) {
        return Err(SiteError::Taken { path, first: "a page of the site".into(), second });
    }
    if site.redirects.iter().any(|other| other.from == redirect.from) {
        return Err(SiteError::Taken { path, first: "another target's permalink".into(), second });
    }
    Ok(())
}

/// The announcements, and each as two files that stock minisign checks.
fn keys(keys: &SiteKeys) -> Vec<(String, Bytes)> {
    let mut files =
        vec![(KEYS_KEY.to_owned(), keys.bytes.clone()), (signature_of(KEYS_KEY), keys.signature.clone().into())];
    for (announcement, Announced { key, by, .. }) in &keys.announced {
        // A key may be announced by two keys, each of which some restorer has pinned.
        let path = format!("keys/{}-by-{by}.pub", key.id());
        files.push((signature_of(&path), announcement.signature.clone().into()));
        files.push((path, key.to_text().into()));
    }
    files
}

fn signature_of(path: &str) -> String {
    format!("{path}{}", names::SIGNATURE_SUFFIX)
}

fn latest(settings: &SiteSettings, target: &SiteTarget) -> Option<(String, Bytes)> {
    let SiteSnapshot { manifest, manifest_sha256, .. } = target.snapshots.first()?;
    let latest = Latest {
        manifest_url: settings.url_of(&names::manifest_key(&manifest.target, manifest.version)),
        signature_url: settings.url_of(&names::manifest_signature_key(&manifest.target, manifest.version)),
        manifest_sha256: *manifest_sha256,
        manifest: manifest.clone(),
    };
    let bytes = serde_json::to_vec_pretty(&latest).expect("strings, numbers and times always serialise");
    Some((format!("targets/{}/latest.json", target.target.id), bytes.into()))
}

/// Every schema under the name that its `$id` ends with.
fn schemas() -> impl Iterator<Item = (String, Bytes)> {
    schema::all().into_iter().map(|(file, schema)| (format!("schemas/{file}"), schema::to_text(&schema).into()))
}
