//! The Jekyll source: templates, includes, assets, and the data they are filled with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use polkashots_shared::ids::Sha256;
use serde_json::{Value, json};
use sha2::Digest;

use super::{SiteError, SiteInput, SiteSettings, chains, data};

/// Files of a Jekyll source by path, with the data for the templates.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Content by path, with `/` between folders and none in front.
    pub files: BTreeMap<String, Bytes>,
    /// `_data/<name>.json` by name.
    pub data: BTreeMap<String, Value>,
}

macro_rules! built_in {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/site/", $path)).as_slice())),*]
    };
}

impl Source {
    /// The source in `folder`, or the one that comes with the program.
    pub fn load(folder: Option<&Path>) -> Result<Self, SiteError> {
        match folder {
            Some(folder) => Self::from_folder(folder),
            None => Ok(Self::built_in()),
        }
    }

    /// The source that comes with the program.
    pub fn built_in() -> Self {
        let files = built_in![
            "404.html",
            "_config.yml",
            "_includes/card.html",
            "_includes/chart.html",
            "_includes/command.html",
            "_includes/fact.html",
            "_includes/history.html",
            "_layouts/chain.html",
            "_layouts/default.html",
            "_layouts/page.html",
            "_layouts/target.html",
            "about.html",
            "assets/icon.svg",
            "assets/site.js",
            "assets/style.css",
            "feed.xml",
            "index.html",
            "restore.html",
            "robots.txt",
            "sitemap.xml",
            "verify.html",
        ];
        let files = files.into_iter().map(|(path, bytes)| (path.to_owned(), Bytes::from_static(bytes))).collect();
        Self { files, data: BTreeMap::new() }
    }

    /// Reads a folder; what starts with a dot and Jekyll's own `_site` are left out, as Jekyll does.
    pub fn from_folder(folder: &Path) -> Result<Self, SiteError> {
        let mut source = Self::default();
        source.read_folder(folder, "")?;
        Ok(source)
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> Result<(), SiteError> {
        let error = |source| SiteError::Source { path: folder.to_owned(), source };
        for entry in fs::read_dir(folder).map_err(error)? {
            let entry = entry.map_err(error)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || name == "_site" {
                continue;
            }
            let (path, entry_path) = (format!("{prefix}{name}"), entry.path());
            if entry_path.is_dir() {
                self.read_folder(&entry_path, &format!("{path}/"))?;
                continue;
            }
            let bytes = fs::read(&entry_path).map_err(|source| SiteError::Source { path: entry_path, source })?;
            self.files.insert(path, bytes.into());
        }
        Ok(())
    }

    /// Adds the data, and one page per target and chain: plain Jekyll makes no pages from data.
    pub fn with_data(mut self, settings: &SiteSettings, input: &SiteInput) -> Self {
        self.data.insert("host".into(), data::printable(data::host(settings, input)));
        self.data.insert("assets".into(), json!({ "version": self.assets_version() }));
        self.data.insert("chains".into(), data::printable(data::chains(settings, input)));
        self.data.insert("targets".into(), data::printable(data::targets(settings, input)));
        self.data.insert("target_by_id".into(), data::printable(data::target_by_id(settings, input)));
        for (slug, targets) in chains::of(input) {
            let title = chains::plain(&targets[0].target.chain.name);
            let stub = format!(
                "---\nlayout: chain\ntitle: \"{title}\"\ndescription: \"Snapshots of {title}, ready to start a node on\"\nchain: \"{slug}\"\npermalink: /chains/{slug}/\n---\n"
            );
            self.files.insert(format!("chains/{slug}.html"), stub.into());
        }
        for target in &input.targets {
            let id = &target.target.id;
            let description = format!("Snapshots of {id}: height, hash, checksums, signature and restore commands");
            let stub = format!(
                "---\nlayout: target\ntitle: \"{id}\"\ndescription: \"{description}\"\ntarget: \"{id}\"\npermalink: /targets/{id}/\n---\n"
            );
            self.files.insert(format!("targets/{id}.html"), stub.into());
        }
        self
    }

    /// Changes when any asset does, so that addresses with it may be kept for ever.
    fn assets_version(&self) -> String {
        let mut hasher = sha2::Sha256::new();
        for (path, bytes) in self.files.iter().filter(|(path, _)| path.starts_with("assets/")) {
            hasher.update(format!("{} {path}\n", bytes.len()));
            hasher.update(bytes);
        }
        Sha256(hasher.finalize().into()).to_string()[..12].to_owned()
    }

    /// Writes everything into a folder that `jekyll build` can be run on.
    pub fn write_to(&self, folder: &Path) -> Result<(), SiteError> {
        let data = self.data.iter().map(|(name, value)| {
            let json = serde_json::to_vec_pretty(value).expect("JSON values always serialise");
            (format!("_data/{name}.json"), Bytes::from(json))
        });
        for (path, bytes) in self.files.clone().into_iter().chain(data) {
            let path = folder.join(path);
            let written = fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| fs::write(&path, &bytes));
            written.map_err(|source| SiteError::Source { path, source })?;
        }
        Ok(())
    }
}
