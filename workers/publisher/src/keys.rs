//! `keys.json`: the announcements of new keys that lie beside the index, checked before the site shows them.
//!
//! A person puts the file there (`polkashots keygen --rotate-from` makes it). One that is not right is never deployed: the
//! site that is live, with the announcements of before, stays until the file is mended.

use bytes::Bytes;
use polkashots_shared::minisign::{self, PublicKey, SecretKey};
use polkashots_shared::names::KEYS_KEY;
use polkashots_shared::ports::object_store::{ObjectStore, StoreError};
use polkashots_shared::rotation::{Announced, Announcement, KeyAnnouncements, MAX_KEYS_BYTES, RotationError};

use crate::PublishError;

/// What the trusted comment of the signature of `keys.json` says.
const COMMENT: &str = "polkashots keys";

/// Announcements of which every one was verified.
#[derive(Debug, Clone)]
pub struct SiteKeys {
    /// `keys.json` as it lies in the store.
    pub bytes: Bytes,
    /// The text of its signature by the key that signs now.
    pub signature: String,
    /// Each announcement with what was verified of it, in the file's order.
    pub announced: Vec<(Announcement, Announced)>,
}

impl SiteKeys {
    /// Reads and checks what the store has; `None` where nothing was ever announced.
    pub async fn read(
        store: &dyn ObjectStore,
        signing: &SecretKey,
        old: &[PublicKey],
    ) -> Result<Option<Self>, PublishError> {
        match store.get(KEYS_KEY, MAX_KEYS_BYTES).await {
            Ok(object) => Self::check(object.bytes, signing, old).map(Some),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error @ StoreError::TooLarge { .. }) => Err(PublishError::Keys { reason: error.to_string() }),
            Err(error) => Err(error.into()),
        }
    }

    fn check(bytes: Bytes, signing: &SecretKey, old: &[PublicKey]) -> Result<Self, PublishError> {
        let wrong = |error: RotationError| PublishError::Keys { reason: error.to_string() };
        let keys = KeyAnnouncements::from_bytes(&bytes).map_err(wrong)?;
        let verified = keys.check(&signing.public_key(), old).map_err(wrong)?;
        let signature = minisign::sign(signing, &bytes, COMMENT)?;
        Ok(Self { bytes, signature, announced: keys.announcements.into_iter().zip(verified).collect() })
    }

    /// The announcement of `key`, the first where there are several.
    pub fn of(&self, key: &PublicKey) -> Option<&Announced> {
        self.announced.iter().map(|(_, announced)| announced).find(|announced| announced.key == *key)
    }

    /// What `signing` announced, and what those keys announced in turn: the keys of the future.
    pub fn after(&self, signing: &PublicKey) -> Vec<&Announced> {
        let all = KeyAnnouncements {
            announcements: self.announced.iter().map(|(announcement, _)| announcement.clone()).collect(),
            ..KeyAnnouncements::none()
        };
        all.follow(std::slice::from_ref(signing)).iter().filter_map(|key| self.of(key)).collect()
    }
}
