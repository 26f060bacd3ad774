//! Whom and what is believed: pinned keys, the chain's genesis, height, age, and no way back.

use chrono::{DateTime, Utc};
use polkashots_shared::chain::Chain;
use polkashots_shared::ids::{BlockHash, Height, Version};
use polkashots_shared::manifest::Manifest;
use polkashots_shared::minisign::{self, KeyError, PublicKey, SignatureError, Verified};
use polkashots_shared::rotation::KeyAnnouncements;

use crate::memory::Newest;
use crate::request::{Key, Trust};

/// Pinned keys, read.
#[derive(Debug)]
pub struct PinnedKeys(Vec<PublicKey>);

impl PinnedKeys {
    /// Reads every pinned key; there must be one.
    pub fn read(keys: &[Key]) -> Result<Self, TrustError> {
        if keys.is_empty() {
            return Err(TrustError::NoKey);
        }
        let read = |key: &Key| match key {
            Key::File(path) => PublicKey::from_file(path),
            Key::Text(text) => PublicKey::parse(text),
        };
        Ok(Self(keys.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// These keys and those that the site announced with one of them; `None` where it announced none.
    pub fn with_announced(&self, announcements: &KeyAnnouncements) -> Option<Self> {
        let announced = announcements.follow(&self.0);
        (!announced.is_empty()).then(|| Self(self.0.iter().cloned().chain(announced).collect()))
    }

    /// Checks that one of the keys signed `bytes`; `what` names them in the error.
    pub fn verify(&self, what: &str, bytes: &[u8], signature: &str) -> Result<Verified, TrustError> {
        let refuse = |source| TrustError::Signature { what: what.to_owned(), source };
        let signer = minisign::key_id_of(signature).map_err(refuse)?;
        let Some(key) = self.0.iter().find(|key| key.id() == signer) else {
            let pinned: Vec<String> = self.0.iter().map(|key| key.id().to_string()).collect();
            let (what, signer, pinned) = (what.to_owned(), signer.to_string(), pinned.join(", "));
            return Err(TrustError::OtherKey { what, signer, pinned });
        };
        minisign::verify(key, bytes, signature).map_err(refuse)
    }
}

/// Says why a snapshot is not believed, and what a person can do.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// No key was pinned.
    #[error("no public key is pinned: give the site's key (--key FILE or its base64 text), got from a place you trust")]
    NoKey,
    /// A pinned key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature is not right.
    #[error(
        "{what}: {source}: do not use this snapshot; if the site changed its key, get the new one from a place you trust"
    )]
    Signature {
        /// What was signed.
        what: String,
        /// What is wrong with it.
        source: SignatureError,
    },
    /// A key that is not pinned signed.
    #[error(
        "{what}: signed by key {signer}, pinned is {pinned}: if the site changed its key, get the new one from a place you trust"
    )]
    OtherKey {
        /// What was signed.
        what: String,
        /// The key that signed.
        signer: String,
        /// The pinned keys.
        pinned: String,
    },
    /// The manifest is of another target than asked for.
    #[error("asked for {asked}, the signed manifest is of {target} ({permalink}): the server mixes up its files")]
    OtherTarget {
        /// The name asked for.
        asked: String,
        /// The manifest's target.
        target: String,
        /// Its permalink.
        permalink: String,
    },
    /// The manifest is of another chain than asked for.
    #[error("expected chain {expected}, the snapshot is of {found}: check the target's name and --chain")]
    OtherChain {
        /// The chain expected.
        expected: String,
        /// The chain found.
        found: String,
    },
    /// The genesis hash is another one.
    #[error(
        "expected genesis {expected} for chain {chain}, the snapshot has {found}: this is not a database of that chain"
    )]
    Genesis {
        /// The chain.
        chain: String,
        /// The genesis expected.
        expected: BlockHash,
        /// The genesis found.
        found: BlockHash,
    },
    /// The chain's folder name is not the name of a folder.
    #[error("chain id {id:?} is not the name of a folder")]
    ChainId {
        /// The id found.
        id: String,
    },
    /// The snapshot is not high enough.
    #[error(
        "snapshot is at height {height}, expected at least {min_height}: wait for a newer one or lower --min-height"
    )]
    TooLow {
        /// Its height.
        height: Height,
        /// The lowest accepted.
        min_height: Height,
    },
    /// The snapshot is too old.
    #[error(
        "snapshot was taken at {created_at}, {age_hours} h ago, expected at most {max_age_hours} h: the site may be stale or an old answer replayed; wait for a newer one or raise --max-age"
    )]
    TooOld {
        /// When it was taken.
        created_at: DateTime<Utc>,
        /// How old it is.
        age_hours: i64,
        /// The greatest age accepted.
        max_age_hours: u64,
    },
    /// A newer snapshot was here before.
    #[error(
        "snapshot {version} at height {height} is older than {newest_version} at {newest_height}, which was accepted here before: the site may replay an old answer; --allow-older accepts it"
    )]
    Rollback {
        /// The version offered.
        version: Version,
        /// Its height.
        height: Height,
        /// The newest version accepted.
        newest_version: Version,
        /// Its height.
        newest_height: Height,
    },
}

/// Checks everything but the signature and the rollback memory.
pub fn check_manifest(
    manifest: &Manifest,
    trust: &Trust,
    name: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), TrustError> {
    check_name(manifest, name)?;
    check_chain(&manifest.chain, trust)?;
    check_freshness(manifest, trust, now)
}

/// Refuses a snapshot older than the newest one accepted before at the same place.
pub fn check_rollback(manifest: &Manifest, trust: &Trust, newest: Option<&Newest>) -> Result<(), TrustError> {
    let comparable =
        newest.filter(|newest| newest.target == manifest.target && newest.genesis_hash == manifest.chain.genesis_hash);
    let Some(newest) = comparable else { return Ok(()) };
    let older = manifest.version < newest.version || manifest.block.height < newest.height;
    if !older || trust.allow_older {
        return Ok(());
    }
    Err(TrustError::Rollback {
        version: manifest.version,
        height: manifest.block.height,
        newest_version: newest.version,
        newest_height: newest.height,
    })
}

fn check_name(manifest: &Manifest, name: Option<&str>) -> Result<(), TrustError> {
    let Some(asked) = name else { return Ok(()) };
    if manifest.target.as_str() == asked || manifest.permalink.as_str() == asked {
        return Ok(());
    }
    Err(TrustError::OtherTarget {
        asked: asked.to_owned(),
        target: manifest.target.to_string(),
        permalink: manifest.permalink.to_string(),
    })
}

fn check_chain(chain: &Chain, trust: &Trust) -> Result<(), TrustError> {
    check_chain_id(&chain.id)?;
    if let Some(expected) = trust.chain.as_ref().filter(|expected| **expected != chain.name && **expected != chain.id) {
        return Err(TrustError::OtherChain { expected: expected.clone(), found: chain.name.clone() });
    }
    let built_in = Chain::built_in_names()
        .filter_map(Chain::built_in)
        .find(|known| known.name == chain.name || known.id == chain.id);
    let expected = trust.genesis.into_iter().chain(built_in.as_ref().map(|known| known.genesis_hash));
    for expected in expected {
        if expected != chain.genesis_hash {
            let (chain, found) = (chain.name.clone(), chain.genesis_hash);
            return Err(TrustError::Genesis { chain, expected, found });
        }
    }
    match built_in {
        Some(known) if known.id != chain.id || known.name != chain.name => Err(TrustError::OtherChain {
            expected: format!("{} in folder {}", known.name, known.id),
            found: format!("{} in folder {}", chain.name, chain.id),
        }),
        _ => Ok(()),
    }
}

/// A chain's id becomes a folder's name.
/// Refuses a chain's id that could be anything but the name of one folder.
pub fn check_chain_id(id: &str) -> Result<(), TrustError> {
    let legal = (1..=64).contains(&id.len())
        && !id.starts_with('.')
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if legal {
        return Ok(());
    }
    Err(TrustError::ChainId { id: id.chars().take(80).collect() })
}

fn check_freshness(manifest: &Manifest, trust: &Trust, now: DateTime<Utc>) -> Result<(), TrustError> {
    let height = manifest.block.height;
    if let Some(min_height) = trust.min_height.filter(|least| height < *least) {
        return Err(TrustError::TooLow { height, min_height });
    }
    let age = now.signed_duration_since(manifest.created_at);
    match trust.max_age {
        Some(max_age) if age.to_std().is_ok_and(|age| age > max_age) => Err(TrustError::TooOld {
            created_at: manifest.created_at,
            age_hours: age.num_hours(),
            max_age_hours: max_age.as_secs() / 3600,
        }),
        _ => Ok(()),
    }
}
