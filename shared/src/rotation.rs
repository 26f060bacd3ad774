//! Key rotation: new public keys, each announced by a signature of the key before it.
//!
//! `keys.json` lies beside `index.json`. What is signed is the text of the new key's `.pub` file, so stock minisign checks an
//! announcement too: `minisign -Vm new.pub -x new.pub.minisig -p old.pub`.

use serde::{Deserialize, Serialize};

use crate::minisign::{self, PublicKey, SecretKey, SignatureError};

/// The schema that this program writes and reads.
pub const SCHEMA: u32 = 1;
/// The largest such file that is read, in bytes.
pub const MAX_KEYS_BYTES: u64 = 256 * 1024;
/// What the trusted comment of an announcement says, so that no other signature passes for one.
const COMMENT: &str = "polkashots key rotation";
/// How far a chain of announcements is followed.
const MAX_STEPS: usize = 64;

/// Every announcement of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAnnouncements {
    /// 1. A reader refuses a larger number.
    pub schema: u32,
    /// The announcements, oldest first.
    pub announcements: Vec<Announcement>,
}

/// One new key and the signature of the key before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The new key as one line of base64.
    pub key: String,
    /// The text of the `.minisig` file over the new key's `.pub` file.
    pub signature: String,
}

/// Says why some bytes are not a list of announcements.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// It is not the JSON of one.
    #[error("keys.json is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// Its schema is newer than this program.
    #[error("keys.json has schema {found}, this program reads up to {SCHEMA}: update polkashots")]
    Newer {
        /// The schema found.
        found: u32,
    },
}

impl Announcement {
    /// Announces `new` with the key that signed until now.
    pub fn sign(old: &SecretKey, new: &PublicKey) -> Result<Self, SignatureError> {
        let signature = minisign::sign(old, new.to_text().as_bytes(), COMMENT)?;
        Ok(Self { key: new.to_base64(), signature })
    }

    /// The new key, where one of `known` announced it.
    fn believed(&self, known: &[PublicKey]) -> Option<PublicKey> {
        let new = PublicKey::from_base64(&self.key).ok()?;
        let signer = minisign::key_id_of(&self.signature).ok()?;
        let signer = known.iter().find(|key| key.id() == signer)?;
        let verified = minisign::verify(signer, new.to_text().as_bytes(), &self.signature).ok()?;
        (verified.trusted_comment == COMMENT).then_some(new)
    }
}

impl KeyAnnouncements {
    /// No announcement.
    pub fn none() -> Self {
        Self { schema: SCHEMA, announcements: Vec::new() }
    }

    /// Reads the bytes of `keys.json`; no signature is checked yet.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RotationError> {
        let read: Self = serde_json::from_slice(bytes)?;
        match read.schema > SCHEMA {
            true => Err(RotationError::Newer { found: read.schema }),
            false => Ok(read),
        }
    }

    /// The bytes of `keys.json`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("strings and numbers always serialise");
        bytes.push(b'\n');
        bytes
    }

    /// The keys that follow from `pinned` by announcements, `pinned` itself left out.
    pub fn follow(&self, pinned: &[PublicKey]) -> Vec<PublicKey> {
        let mut known = pinned.to_vec();
        for _ in 0..MAX_STEPS {
            let believed = self.announcements.iter().filter_map(|announcement| announcement.believed(&known));
            let Some(new) = believed.into_iter().find(|new| !known.contains(new)) else { break };
            known.push(new);
        }
        known.split_off(pinned.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(steps: &[(&SecretKey, &SecretKey)]) -> anyhow::Result<KeyAnnouncements> {
        let sign = |(old, new): &(&SecretKey, &SecretKey)| Announcement::sign(old, &new.public_key());
        let announcements = steps.iter().map(sign).collect::<Result<_, _>>()?;
        Ok(KeyAnnouncements::from_bytes(&KeyAnnouncements { schema: SCHEMA, announcements }.to_bytes())?)
    }

    #[test]
    fn keys_follow_from_one_another_and_from_no_stranger() -> anyhow::Result<()> {
        let [first, second, third, stranger] =
            [SecretKey::generate()?, SecretKey::generate()?, SecretKey::generate()?, SecretKey::generate()?];
        let keys = announced(&[(&second, &third), (&first, &second), (&stranger, &stranger)])?;
        assert_eq!(keys.follow(&[first.public_key()]), [second.public_key(), third.public_key()]);
        assert_eq!(keys.follow(&[second.public_key()]), [third.public_key()]);
        assert_eq!(keys.follow(&[third.public_key()]), []);
        let mut forged = announced(&[(&first, &second)])?;
        forged.announcements[0].key = stranger.public_key().to_base64();
        assert_eq!(forged.follow(&[first.public_key()]), []);
        let text = second.public_key().to_text();
        forged.announcements[0].key = second.public_key().to_base64();
        forged.announcements[0].signature = minisign::sign(&first, text.as_bytes(), "another purpose")?;
        assert_eq!(forged.follow(&[first.public_key()]), []);
        Ok(())
    }
}
