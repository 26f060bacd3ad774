//! The settings of `polkashots-publisher`.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Command};
use polkashots_shared::settings::{
    QueueSettings, RunSettings, Settings, StoreLocation, StoreSettings, TargetsSettings, base_url,
};
use url::Url;

/// The subcommand that takes the site back by one release.
pub const ROLLBACK_COMMAND: &str = "rollback";

/// Every setting of `polkashots-publisher`.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "a doc comment on a flattened part would become its heading's text")]
pub struct PublisherSettings {
    #[command(flatten)]
    pub targets: TargetsSettings,
    #[command(flatten)]
    pub store: StoreSettings,
    #[command(flatten)]
    pub queue: QueueSettings,
    #[command(flatten)]
    pub signing: SigningSettings,
    #[command(flatten)]
    pub site: SiteHostSettings,
    #[command(flatten)]
    pub run: RunSettings,
}

/// What signs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Signing")]
pub struct SigningSettings {
    /// The file of the secret key that signs, in minisign's format
    #[arg(long, env = "POLKASHOTS_SECRET_KEY", value_name = "FILE")]
    pub secret_key: PathBuf,
    /// A file whose first line is the key's password; none for a key that is not encrypted
    #[arg(long, env = "POLKASHOTS_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Public key files of before a rotation, comma-separated: what they signed stays listed
    #[arg(long, env = "POLKASHOTS_OLD_PUBLIC_KEYS", value_name = "FILES", value_delimiter = ',')]
    pub old_public_keys: Vec<PathBuf>,
}

/// How the site is rendered and where it goes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Site")]
pub struct SiteHostSettings {
    /// Where people reach the site
    #[arg(long, env = "POLKASHOTS_BASE_URL", value_name = "URL", value_parser = base_url)]
    pub base_url: Url,
    /// Where people reach the store's objects [default: a gs:// bucket's public address]
    #[arg(long, env = "POLKASHOTS_ARCHIVE_URL", value_name = "URL", value_parser = base_url)]
    pub archive_url: Option<Url>,
    /// Where people reach the same objects too, comma-separated; metalinks name them
    #[arg(long, env = "POLKASHOTS_MIRRORS", value_name = "URLS", value_delimiter = ',', value_parser = base_url)]
    pub mirrors: Vec<Url>,
    /// The site's title
    #[arg(long, env = "POLKASHOTS_TITLE", value_name = "TEXT", default_value = "Polkashots",
          value_parser = NonEmptyStringValueParser::new())]
    pub title: String,
    /// A folder with your own Jekyll source [default: the built-in one]
    #[arg(long, env = "POLKASHOTS_SITE_SOURCE", value_name = "DIR")]
    pub site_source: Option<PathBuf>,
    /// The program that builds the site, jekyll [default: the built-in renderer]
    #[arg(long, env = "POLKASHOTS_JEKYLL", value_name = "PROGRAM")]
    pub jekyll: Option<PathBuf>,
    /// Where the site is deployed to: firebase:SITE, gs://BUCKET, s3://BUCKET or the path of a directory
    #[arg(long, env = "POLKASHOTS_SITE_HOST", value_name = "HOST")]
    pub site_host: SiteHostLocation,
    /// How many releases Firebase Hosting keeps for a rollback, the live one among them
    #[arg(long, env = "POLKASHOTS_FIREBASE_KEEP", value_name = "NUMBER", default_value = "10")]
    pub firebase_keep: NonZeroUsize,
    /// The address of Firebase Hosting's API, instead of Google's own
    #[arg(long, env = "POLKASHOTS_FIREBASE_ENDPOINT", value_name = "URL")]
    pub firebase_endpoint: Option<Url>,
}

/// The settings of `polkashots-publisher rollback`.
#[derive(Debug, Clone, Args)]
pub struct RollbackSettings {
    /// The site that goes back by one release: firebase:SITE
    #[arg(long, env = "POLKASHOTS_SITE_HOST", value_name = "HOST")]
    pub site_host: SiteHostLocation,
    /// The address of Firebase Hosting's API, instead of Google's own
    #[arg(long, env = "POLKASHOTS_FIREBASE_ENDPOINT", value_name = "URL")]
    pub firebase_endpoint: Option<Url>,
}

/// A host of the site by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteHostLocation {
    /// A site of Firebase Hosting.
    Firebase {
        /// Its id.
        site: String,
    },
    /// A bucket that serves a website.
    Bucket(StoreLocation),
    /// A directory that a web server serves.
    Directory(PathBuf),
}

impl FromStr for SiteHostLocation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected firebase:SITE, gs://BUCKET, s3://BUCKET or the path of a directory";
        if let Some(site) = text.strip_prefix("firebase:") {
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if site.is_empty() || !site.chars().all(legal) {
                return Err(format!("{expected}: \"{site}\" is not the id of a site"));
            }
            return Ok(Self::Firebase { site: site.to_owned() });
        }
        match text.parse().map_err(|error| format!("{expected}: {error}"))? {
            StoreLocation::Directory(path) => Ok(Self::Directory(path)),
            bucket => Ok(Self::Bucket(bucket)),
        }
    }
}

impl fmt::Display for SiteHostLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firebase { site } => write!(f, "firebase:{site}"),
            Self::Bucket(bucket) => bucket.fmt(f),
            Self::Directory(path) => path.display().fmt(f),
        }
    }
}

impl Settings for PublisherSettings {
    const NAME: &'static str = "polkashots-publisher";
    const ABOUT: &'static str = "Signs what was uploaded, keeps the index, renders the site and announces snapshots";

    fn subcommands() -> Vec<Command> {
        vec![RollbackSettings::augment_args(Command::new(ROLLBACK_COMMAND).about(RollbackSettings::ABOUT))]
    }
}

impl Settings for RollbackSettings {
    const NAME: &'static str = "polkashots-publisher rollback";
    const ABOUT: &'static str = "Serve the release before the live one again, until the next publication";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart_by_their_scheme() {
        assert_eq!("firebase:dot-site".parse(), Ok(SiteHostLocation::Firebase { site: "dot-site".into() }));
        assert_eq!("/srv/site".parse(), Ok(SiteHostLocation::Directory("/srv/site".into())));
        let bucket = StoreLocation::Gcs { bucket: "www".into() };
        assert_eq!("gs://www".parse(), Ok(SiteHostLocation::Bucket(bucket)));
        for bad in ["", "firebase:", "firebase:a/b", "https://example.org", "gs://"] {
            let error = bad.parse::<SiteHostLocation>().expect_err(bad);
            assert!(error.starts_with("expected firebase:SITE"), "{error}");
        }
    }
}
