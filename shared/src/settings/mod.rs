//! The settings of the workers' own binaries: each has a flag, a variable and a line of help.
//!
//! Nothing else in a worker reads the environment. The few variables that do not start with `POLKASHOTS_` are the ones
//! that a whole ecosystem agrees on: those of emulators, of OpenTelemetry and of polkadot-k8s.

mod command_line;
mod duration;
mod queue;
mod run;
mod schema;
mod secret;
mod store;
mod targets;

pub use self::command_line::{Parsed, SCHEMA_COMMAND, Settings, parse, parse_from};
pub use self::duration::{duration, in_words};
pub use self::queue::QueueSettings;
pub use self::run::{LogSettings, RunSettings};
pub use self::schema::{Setting, schema};
pub use self::secret::Secret;
pub use self::store::{StoreLocation, StoreSettings};
pub use self::targets::{TargetsError, TargetsSettings, load as load_targets};

use url::Url;

/// Reads the address under which people reach a site: http(s), without query, with a slash at the end.
pub fn base_url(text: &str) -> Result<Url, String> {
    const EXPECTED: &str = "expected an http(s) address without query, as in https://snapshots.example.org/";
    let mut url = Url::parse(text).map_err(|_| EXPECTED.to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err(EXPECTED.to_owned());
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}
