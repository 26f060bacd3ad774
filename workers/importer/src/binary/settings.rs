//! The settings of `polkashots-importer`: those of `polkashots restore`, as an init container is given them.

use std::path::PathBuf;

use clap::Args;
use polkashots_shared::settings::{LogSettings, Settings};

use crate::RestoreRequest;
use crate::flags::{RestoreFlags, given};

/// Every setting of `polkashots-importer`.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "a doc comment on a flattened part would become its heading's text")]
pub struct ImporterSettings {
    /// A site or bucket, or one manifest: an http(s) or file address, or a path; empty means that nothing is restored
    #[arg(long, env = "POLKASHOTS_SOURCE", value_name = "URL")]
    pub source: Option<String>,
    /// The same as --source, under the name that polkadot-k8s gives it; an archive without a manifest needs --allow-unsigned
    #[arg(long, env = "ARCHIVE_URL", value_name = "URL")]
    pub archive_url: Option<String>,
    /// The same as --chain, under the name that polkadot-k8s gives it
    #[arg(long, env = "CHAIN", value_name = "CHAIN")]
    pub archive_chain: Option<String>,
    /// The target's permalink or id, as in dot/paritydb; not needed with a manifest
    #[arg(long, env = "POLKASHOTS_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// The node's base path; the database goes to chains/<id>/ in it
    #[arg(long, env = "POLKASHOTS_BASE_PATH", value_name = "DIR", default_value = "/polkadot/.local/share/polkadot")]
    pub base_path: PathBuf,
    #[command(flatten)]
    pub restore: RestoreFlags,
    #[command(flatten)]
    pub log: LogSettings,
}

impl Settings for ImporterSettings {
    const NAME: &'static str = "polkashots-importer";
    const ABOUT: &'static str = "Restores a published snapshot before a node starts: verified, resumable, in place";
}

impl ImporterSettings {
    /// The restore that is asked for; `None` where no source is given or the one given is empty.
    pub fn to_request(&self) -> Option<RestoreRequest> {
        let source = given(self.source.as_deref()).or_else(|| given(self.archive_url.as_deref()))?;
        let name = given(self.name.as_deref());
        let mut request = self.restore.to_request(source, name.as_deref(), Some(self.base_path.clone()));
        request.trust.chain = request.trust.chain.or_else(|| given(self.archive_chain.as_deref()));
        Some(request)
    }
}
