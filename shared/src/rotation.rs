//! Key rotation: new public keys, each announced by a signature of the key before it.
//!
//! `keys.json` lies beside `index.json`. What is signed is the text of the new key's `.pub` file, so stock minisign checks an
//! announcement too: `minisign -Vm new.pub -x new.pub.minisig -p old.pub`.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::minisign::{self, KeyError, KeyId, PublicKey, SecretKey, SignatureError};

/// The schema that this program writes and reads.
pub const SCHEMA: u32 = 1;
/// The largest such file that is read, in bytes.
pub const MAX_KEYS_BYTES: u64 = 256 * 1024;
/// How the trusted comment of an announcement starts, so that no other signature passes for one; then comes its time.
const COMMENT: &str = "polkashots key rotation announced=";
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

/// An announcement whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The new key.
    pub key: PublicKey,
    /// The key that announced it.
    pub by: KeyId,
    /// When.
    pub at: DateTime<Utc>,
}

/// Says why some bytes are not a list of announcements, or why one of them is not to be published.
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
    /// What is announced is not a key.
    #[error("keys.json, announcement {number}: {source}")]
    Key {
        /// Which announcement, from 1.
        number: usize,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The signature is none, or not over this key.
    #[error("keys.json, announcement {number} of key {key}: {source}")]
    Signature {
        /// Which announcement, from 1.
        number: usize,
        /// The key that it announces.
        key: KeyId,
        /// What is wrong with it.
        source: SignatureError,
    },
    /// The signature was made for something else.
    #[error(
        "keys.json, announcement {number} of key {key}: its trusted comment is {found:?}, expected \"{COMMENT}\" and a time: make it with `polkashots keygen --rotate-from`"
    )]
    Comment {
        /// Which announcement, from 1.
        number: usize,
        /// The key that it announces.
        key: KeyId,
        /// The comment.
        found: String,
    },
    /// Nobody who is known announced it.
    #[error(
        "keys.json, announcement {number} of key {key} is signed by key {by}, which neither signs here nor is an old public key nor is announced: add it to the old public keys, or take the announcement out"
    )]
    Stranger {
        /// Which announcement, from 1.
        number: usize,
        /// The key that it announces.
        key: KeyId,
        /// The key that signed it.
        by: KeyId,
    },
    /// It is another site's.
    #[error(
        "keys.json announces neither the key {signing}, which signs here, nor a key that follows it: is it of another site?"
    )]
    Elsewhere {
        /// The key that signs.
        signing: KeyId,
    },
}

impl Announcement {
    /// Announces `new`, at that time, with the key that signed until now.
    pub fn sign(old: &SecretKey, new: &PublicKey, at: DateTime<Utc>) -> Result<Self, SignatureError> {
        let comment = format!("{COMMENT}{}", at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let signature = minisign::sign(old, new.to_text().as_bytes(), &comment)?;
        Ok(Self { key: new.to_base64(), signature })
    }

    /// The new key, where one of `known` announced it.
    fn believed(&self, known: &[PublicKey]) -> Option<PublicKey> {
        self.verified(0, known).ok().map(|announced| announced.key)
    }

    /// Checks everything about it, given the keys that may announce; `number` is for messages.
    fn verified(&self, number: usize, known: &[PublicKey]) -> Result<Announced, RotationError> {
        let new = PublicKey::from_base64(&self.key).map_err(|source| RotationError::Key { number, source })?;
        let key = new.id();
        let wrong = |source| RotationError::Signature { number, key, source };
        let by = minisign::key_id_of(&self.signature).map_err(wrong)?;
        let signer = known.iter().find(|key| key.id() == by);
        let signer = signer.ok_or(RotationError::Stranger { number, key, by })?;
        let comment =
            minisign::verify(signer, new.to_text().as_bytes(), &self.signature).map_err(wrong)?.trusted_comment;
        match comment.strip_prefix(COMMENT).and_then(|time| time.parse().ok()) {
            Some(at) => Ok(Announced { key: new, by, at }),
            None => Err(RotationError::Comment { number, key, found: comment }),
        }
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

    /// The keys that follow from `pinned` by announcements, `pinned` itself left out; what nobody known announced is passed
    /// over.
    pub fn follow(&self, pinned: &[PublicKey]) -> Vec<PublicKey> {
        let mut known = pinned.to_vec();
        for _ in 0..MAX_STEPS {
            let believed = self.announcements.iter().filter_map(|announcement| announcement.believed(&known));
            let Some(new) = believed.into_iter().find(|new| !known.contains(new)) else { break };
            known.push(new);
        }
        known.split_off(pinned.len())
    }

    /// Every announcement in its order, for a site on which `signing` signs and `old` keys did: all of them must be right.
    pub fn check(&self, signing: &PublicKey, old: &[PublicKey]) -> Result<Vec<Announced>, RotationError> {
        let mut known: Vec<PublicKey> = std::iter::once(signing.clone()).chain(old.iter().cloned()).collect();
        known.extend(self.follow(&known));
        let numbered = self.announcements.iter().zip(1..);
        let announced: Vec<Announced> =
            numbered.map(|(announcement, number)| announcement.verified(number, &known)).collect::<Result<_, _>>()?;
        let is_of_this_site = |found: &Announced| found.key == *signing || found.by == signing.id();
        match announced.is_empty() || announced.iter().any(is_of_this_site) {
            true => Ok(announced),
            false => Err(RotationError::Elsewhere { signing: signing.id() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(steps: &[(&SecretKey, &SecretKey)]) -> anyhow::Result<KeyAnnouncements> {
        let sign = |(old, new): &(&SecretKey, &SecretKey)| Announcement::sign(old, &new.public_key(), time());
        let announcements = steps.iter().map(sign).collect::<Result<_, _>>()?;
        Ok(KeyAnnouncements::from_bytes(&KeyAnnouncements { schema: SCHEMA, announcements }.to_bytes())?)
    }

    fn time() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_406_400, 0).expect("a time")
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

    #[test]
    fn every_announcement_of_a_site_must_be_right() -> anyhow::Result<()> {
        let [first, second, third, stranger] =
            [SecretKey::generate()?, SecretKey::generate()?, SecretKey::generate()?, SecretKey::generate()?];
        let (now, old) = (second.public_key(), [first.public_key()]);
        let keys = announced(&[(&first, &second), (&second, &third)])?;
        let checked = keys.check(&now, &old)?;
        let expected =
            |by: &SecretKey, key: &SecretKey| Announced { key: key.public_key(), by: by.public_key().id(), at: time() };
        assert_eq!(checked, [expected(&first, &second), expected(&second, &third)]);
        assert_eq!(KeyAnnouncements::none().check(&now, &old)?, []);
        let refused = |keys: &KeyAnnouncements, old: &[PublicKey]| {
            keys.check(&now, old).expect_err("announcements that are not right").to_string()
        };
        let found = refused(&keys, &[]);
        assert!(found.contains("announcement 1") && found.contains("add it to the old public keys"), "{found}");
        let found = refused(&announced(&[(&first, &second), (&stranger, &third)])?, &old);
        assert!(found.contains(&format!("announcement 2 of key {}", third.public_key().id())), "{found}");
        assert!(refused(&announced(&[(&first, &third)])?, &old).contains("of another site?"));
        let mut forged = keys.clone();
        forged.announcements[1].key = stranger.public_key().to_base64();
        assert!(refused(&forged, &old).contains("the content is not what was signed"));
        forged.announcements[1].key = "RW".into();
        assert!(refused(&forged, &old).starts_with("keys.json, announcement 2: "));
        forged.announcements[1] = Announcement { key: third.public_key().to_base64(), signature: String::new() };
        assert!(refused(&forged, &old).contains("not a minisign signature"));
        let text = third.public_key().to_text();
        forged.announcements[1].signature = minisign::sign(&second, text.as_bytes(), &format!("{COMMENT}soon"))?;
        assert!(refused(&forged, &old).contains("expected \"polkashots key rotation announced=\" and a time"));
        Ok(())
    }
}
