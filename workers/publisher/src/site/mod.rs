//! The site: a Jekyll source, filled with what lies in the store.
//!
//! The same source and data can be given to the real `jekyll build` (see [`Source::write_to`]). Nothing in a page depends
//! on when it was rendered: ages are left to the reader, times are printed as they are.

mod badge;
mod chains;
mod chart;
mod data;
mod freshness;
mod input;
mod jekyll;
mod liquid;
mod machine;
mod metalink;
mod rendered;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use url::Url;

pub use self::input::{SiteInput, SiteSnapshot, SiteTarget};
pub use self::rendered::{HeaderRule, Redirect, RenderedSite};
pub use self::source::Source;

/// How the site is rendered and where it is served.
#[derive(Debug, Clone)]
pub struct SiteSettings {
    /// Where the site is served: `https://polkashots.example` or with a path.
    pub base_url: Url,
    /// Where the store's objects are served, ending in `/`.
    pub archive_url: String,
    /// Where the same objects are served too; metalinks name them.
    pub mirrors: Vec<Url>,
    /// The site's name.
    pub title: String,
    /// The host's own Jekyll source; none means the one that comes with the program.
    pub source: Option<PathBuf>,
    /// The program that builds it, `jekyll`; none means the built-in renderer.
    pub jekyll: Option<PathBuf>,
}

impl SiteSettings {
    /// Where an object of the store is served.
    pub fn url_of(&self, key: &str) -> String {
        Self::join(&self.archive_url, key)
    }

    /// Where an object of the store is served below `base`.
    fn join(base: impl AsRef<str>, key: &str) -> String {
        format!("{}/{key}", base.as_ref().trim_end_matches('/'))
    }

    /// The site's path on its server, without a slash at the end: empty at the root.
    pub fn base_path(&self) -> &str {
        self.base_url.path().trim_end_matches('/')
    }

    /// The site's address without a slash at the end.
    pub fn address(&self) -> &str {
        self.base_url.as_str().trim_end_matches('/')
    }
}

/// Says why the site cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A template cannot be parsed or filled.
    #[error("{file}, line {line}: {reason}")]
    Template {
        /// The file in the source.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A file or folder of the source cannot be read or written.
    #[error("site source {}: {source}", path.display())]
    Source {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `jekyll build` failed.
    #[error("{} build: {reason}", program.display())]
    Jekyll {
        /// The program.
        program: PathBuf,
        /// How it ended, and the end of what it said.
        reason: String,
    },
    /// Two things want the same path.
    #[error("/{path} is wanted by {first} and by {second}: change the permalink")]
    Taken {
        /// The path on the site.
        path: String,
        /// Who has it.
        first: String,
        /// Who wants it too.
        second: String,
    },
}

/// Renders the site: in this process, or with Jekyll where the settings name it.
pub async fn render(settings: &SiteSettings, input: &SiteInput) -> Result<RenderedSite, SiteError> {
    if let Some(program) = &settings.jekyll {
        let source = Source::load(settings.source.as_deref())?.with_data(settings, input);
        return finished(jekyll::build(program, &source).await?, settings, input);
    }
    let (settings, input) = (settings.clone(), input.clone());
    let rendering = tokio::task::spawn_blocking(move || render_now(&settings, &input));
    match rendering.await {
        Ok(rendered) => rendered,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Renders the site in this process; blocks for as long as it takes.
pub fn render_now(settings: &SiteSettings, input: &SiteInput) -> Result<RenderedSite, SiteError> {
    let source = Source::load(settings.source.as_deref())?.with_data(settings, input);
    finished(liquid::render(&source)?, settings, input)
}

/// Adds what machines read to the pages.
fn finished(
    pages: BTreeMap<String, Bytes>,
    settings: &SiteSettings,
    input: &SiteInput,
) -> Result<RenderedSite, SiteError> {
    let mut site = RenderedSite::new(pages, settings);
    machine::add(&mut site, settings, input)?;
    Ok(site)
}
