//! What can go wrong in a whole run of the publisher.

use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::minisign::SignatureError;
use polkashots_shared::ports::object_store::StoreError;
use polkashots_shared::worker::HandleError;

use crate::host::HostError;
use crate::site::SiteError;

/// Says why signatures, index and site are not up to date.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The store failed.
    #[error("publish: {0}")]
    Store(#[from] StoreError),
    /// The key cannot sign.
    #[error("sign: {0}")]
    Sign(#[from] SignatureError),
    /// The site cannot be rendered; the old one stays.
    #[error("render site: {0}")]
    Site(#[from] SiteError),
    /// The site cannot be deployed; the old one stays.
    #[error("deploy site: {0}")]
    Host(#[from] HostError),
    /// Another publisher swapped the index again and again.
    #[error("index.json kept changing in {tries} tries: another publisher is at work")]
    Busy {
        /// How often it was tried.
        tries: u32,
    },
    /// The index lists a snapshot that is still there but whose signature no known key made.
    #[error(
        "index lists {target} {version}, whose signature no known key verifies ({reason}): add the key that signed it to the old public keys, or delete its manifest to withdraw it"
    )]
    Backwards {
        /// The target whose newest version would go backwards.
        target: TargetId,
        /// The version that the index lists.
        version: Version,
        /// What the check of the signature said.
        reason: String,
    },
    /// The announcements of new keys are not right; the old site stays.
    #[error("{reason}; the site stays as it is until keys.json in the store is mended or deleted")]
    Keys {
        /// What is wrong with which of them.
        reason: String,
    },
    /// The index in the store cannot be read.
    #[error("index.json in the store: {reason}")]
    Index {
        /// What is wrong with it.
        reason: String,
    },
}

impl PublishError {
    /// True where the same run may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Host(error) => error.is_transient(),
            Self::Busy { .. } => true,
            Self::Sign(_) => false,
            // The site's source and the keys belong to the host, not to the event: the event waits until they are mended.
            Self::Site(_) | Self::Keys { .. } | Self::Backwards { .. } | Self::Index { .. } => true,
        }
    }
}

impl From<PublishError> for HandleError {
    /// What is wrong with one snapshot is recorded with it; these are errors of the store, the key, the site or its host.
    fn from(error: PublishError) -> Self {
        let error = if error.is_transient() { Self::transient(error) } else { Self::permanent(error) };
        error.blameless()
    }
}
