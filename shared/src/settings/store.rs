//! Where the snapshots lie.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use url::Url;

use super::secret::Secret;

/// The store: a bucket of Cloud Storage or of an S3-compatible service, or a directory.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Store")]
pub struct StoreSettings {
    /// Where snapshots lie: gs://BUCKET, s3://BUCKET or the path of a directory
    #[arg(long, env = "POLKASHOTS_STORE", value_name = "STORE")]
    pub store: StoreLocation,
    /// The address of Cloud Storage's JSON API, instead of Google's own
    #[arg(long, env = "POLKASHOTS_GCS_DATA_ENDPOINT", value_name = "URL")]
    pub gcs_data_endpoint: Option<Url>,
    /// The address of Cloud Storage's gRPC API, instead of Google's own
    #[arg(long, env = "POLKASHOTS_GCS_CONTROL_ENDPOINT", value_name = "URL")]
    pub gcs_control_endpoint: Option<Url>,
    /// The host:port or address of a Cloud Storage emulator that serves both APIs
    #[arg(long, env = "STORAGE_EMULATOR_HOST", value_name = "HOST:PORT", value_parser = NonEmptyStringValueParser::new())]
    pub storage_emulator_host: Option<String>,
    /// The address of an S3-compatible service, instead of Amazon's
    #[arg(long, env = "POLKASHOTS_S3_ENDPOINT", value_name = "URL")]
    pub s3_endpoint: Option<Url>,
    /// The region of the S3 bucket; "auto" for R2
    #[arg(long, env = "POLKASHOTS_S3_REGION", value_name = "REGION", default_value = "us-east-1")]
    pub s3_region: String,
    /// The access key of the S3 bucket [default: the credentials of the machine that this runs on]
    #[arg(long, env = "AWS_ACCESS_KEY_ID", value_name = "ID", requires = "s3_secret_access_key",
          value_parser = NonEmptyStringValueParser::new())]
    pub s3_access_key_id: Option<String>,
    /// The secret of the access key
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", value_name = "SECRET", hide_env_values = true)]
    pub s3_secret_access_key: Option<Secret>,
    /// The session token of temporary credentials
    #[arg(long, env = "AWS_SESSION_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub s3_session_token: Option<Secret>,
}

impl StoreSettings {
    /// The address of Cloud Storage's JSON API, where it is not Google's own.
    pub fn gcs_data_address(&self) -> Option<String> {
        address(self.gcs_data_endpoint.as_ref()).or_else(|| self.emulator_address())
    }

    /// The address of Cloud Storage's gRPC API, where it is not Google's own.
    pub fn gcs_control_address(&self) -> Option<String> {
        address(self.gcs_control_endpoint.as_ref()).or_else(|| self.emulator_address())
    }

    /// The address of the S3-compatible service, where it is not Amazon's.
    pub fn s3_address(&self) -> Option<String> {
        address(self.s3_endpoint.as_ref())
    }

    fn emulator_address(&self) -> Option<String> {
        let host = self.storage_emulator_host.as_deref()?.trim_end_matches('/');
        if host.contains("://") { Some(host.to_owned()) } else { Some(format!("http://{host}")) }
    }
}

fn address(url: Option<&Url>) -> Option<String> {
    url.map(|url| url.as_str().trim_end_matches('/').to_owned())
}

/// A store by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// A bucket of Cloud Storage.
    Gcs {
        /// Its name.
        bucket: String,
    },
    /// A bucket of an S3-compatible service.
    S3 {
        /// Its name.
        bucket: String,
    },
    /// A directory, which must exist.
    Directory(PathBuf),
}

impl StoreLocation {
    /// Where the world reads a public bucket, where that follows from its name.
    pub fn public_url(&self) -> Option<String> {
        match self {
            Self::Gcs { bucket } => Some(format!("https://storage.googleapis.com/{bucket}/")),
            Self::S3 { .. } | Self::Directory(_) => None,
        }
    }
}

impl FromStr for StoreLocation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected gs://BUCKET, s3://BUCKET or the path of a directory";
        let Some((scheme, rest)) = text.split_once("://") else {
            return if text.is_empty() { Err(expected.into()) } else { Ok(Self::Directory(text.into())) };
        };
        let bucket = rest.trim_end_matches('/');
        if bucket.contains('/') {
            return Err(format!("{expected}: a folder in a bucket is not possible, give a bucket of its own"));
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        if bucket.is_empty() || !bucket.chars().all(legal) {
            return Err(format!("{expected}: \"{bucket}\" is not a bucket's name"));
        }
        match scheme {
            "gs" => Ok(Self::Gcs { bucket: bucket.to_owned() }),
            "s3" => Ok(Self::S3 { bucket: bucket.to_owned() }),
            _ => Err(format!("{expected}: {scheme}:// is unknown")),
        }
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gcs { bucket } => write!(f, "gs://{bucket}"),
            Self::S3 { bucket } => write!(f, "s3://{bucket}"),
            Self::Directory(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_told_apart_by_their_scheme() {
        let gcs = StoreLocation::Gcs { bucket: "dot-snapshots".into() };
        assert_eq!("gs://dot-snapshots/".parse(), Ok(gcs.clone()));
        assert_eq!(gcs.to_string(), "gs://dot-snapshots");
        assert_eq!("s3://b.example".parse(), Ok(StoreLocation::S3 { bucket: "b.example".into() }));
        assert_eq!("/srv/store".parse(), Ok(StoreLocation::Directory("/srv/store".into())));
        for bad in ["", "gs://", "gs://a/b", "gs://UPPER", "http://x", "ftp://bucket"] {
            let error = bad.parse::<StoreLocation>().expect_err(bad);
            assert!(error.starts_with("expected gs://BUCKET"), "{error}");
        }
    }
}
