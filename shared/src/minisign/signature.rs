//! Detached signatures.

use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest};
use ed25519_dalek::{Signer, SigningKey};

use super::{ED25519, ED25519_PREHASHED, KeyId, PublicKey, SecretKey, UNTRUSTED_PREFIX, decode_exactly, take};

/// The largest signature file that is read, in bytes.
const MAX_SIGNATURE_FILE_BYTES: usize = 16 * 1024;
/// The longest trusted comment that is signed, in bytes; minisign reads up to 8 KiB.
const MAX_TRUSTED_COMMENT_BYTES: usize = 4096;
/// Algorithm, key id and Ed25519 signature.
const SIGNATURE_BYTES: usize = 2 + 8 + 64;
const TRUSTED_PREFIX: &str = "trusted comment: ";

/// What a signature that was checked says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The comment that is signed too.
    pub trusted_comment: String,
    /// The key that signed.
    pub key_id: KeyId,
}

/// Says why a signature was not made or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The text is not a signature of minisign's.
    #[error("not a minisign signature: {reason}")]
    Malformed {
        /// What is wrong, with what was expected.
        reason: String,
    },
    /// Another key signed.
    #[error("signed by key {found}, expected key {expected}: is this the public key of the site?")]
    OtherKey {
        /// The key that the signature names.
        found: KeyId,
        /// The key that it was checked with.
        expected: KeyId,
    },
    /// The signed bytes are not these.
    #[error("signature of key {key_id} does not match: the content is not what was signed")]
    Mismatch {
        /// The key that it was checked with.
        key_id: KeyId,
    },
    /// The trusted comment is not the one that was signed.
    #[error("signature of key {key_id} does not match its trusted comment: the comment was changed")]
    TrustedComment {
        /// The key that it was checked with.
        key_id: KeyId,
    },
    /// A legacy signature covers the bytes themselves, which a stream does not keep.
    #[error("legacy signature (Ed) of a stream: sign anew with minisign 0.8 or newer, which hashes first")]
    LegacyStream,
    /// The content cannot be read.
    #[error("read the signed content: {0}")]
    Io(#[from] io::Error),
    /// The comment to be signed is not one short line.
    #[error("trusted comment {reason}, expected one line of at most {MAX_TRUSTED_COMMENT_BYTES} bytes")]
    IllegalComment {
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Signs `bytes` and `trusted_comment`; gives the text of a `.minisig` file, prehashed (`ED`).
pub fn sign(key: &SecretKey, bytes: &[u8], trusted_comment: &str) -> Result<String, SignatureError> {
    check_trusted_comment(trusted_comment)?;
    let signature = key.signing.sign(&Blake2b512::digest(bytes)).to_bytes();
    let global = sign_global(&key.signing, &signature, trusted_comment);
    let mut raw = Vec::with_capacity(SIGNATURE_BYTES);
    raw.extend(ED25519_PREHASHED);
    raw.extend(key.id.0);
    raw.extend(signature);
    let (line, global) = (STANDARD.encode(raw), STANDARD.encode(global));
    Ok(format!(
        "{UNTRUSTED_PREFIX}signature from minisign secret key\n{line}\n{TRUSTED_PREFIX}{trusted_comment}\n{global}\n"
    ))
}

/// Checks the signature over `bytes` and the one over its trusted comment.
pub fn verify(key: &PublicKey, bytes: &[u8], signature_text: &str) -> Result<Verified, SignatureError> {
    let signature = Signature::parse(signature_text)?;
    match signature.prehashed {
        true => signature.check(key, &Blake2b512::digest(bytes)),
        false => signature.check(key, bytes),
    }
}

/// Checks the signature over everything that `content` gives, without holding it in memory; prehashed signatures only.
pub fn verify_reader(
    key: &PublicKey,
    mut content: impl Read,
    signature_text: &str,
) -> Result<Verified, SignatureError> {
    const BUFFER_BYTES: usize = 64 * 1024;
    let signature = Signature::parse(signature_text)?;
    if !signature.prehashed {
        return Err(SignatureError::LegacyStream);
    }
    let mut hash = Blake2b512::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return signature.check(key, &hash.finalize()),
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The key that a signature names; nothing is checked.
pub fn key_id_of(signature_text: &str) -> Result<KeyId, SignatureError> {
    Signature::parse(signature_text).map(|signature| signature.key_id)
}

fn check_trusted_comment(comment: &str) -> Result<(), SignatureError> {
    if comment.len() > MAX_TRUSTED_COMMENT_BYTES {
        return Err(SignatureError::IllegalComment { reason: "is too long" });
    }
    if comment.chars().any(|c| c.is_control() && c != '\t') {
        return Err(SignatureError::IllegalComment { reason: "has a newline or another control character" });
    }
    if comment.ends_with([' ', '\t']) {
        return Err(SignatureError::IllegalComment { reason: "ends in a blank" });
    }
    Ok(())
}

fn sign_global(key: &SigningKey, signature: &[u8; 64], trusted_comment: &str) -> [u8; 64] {
    key.sign(&[signature.as_slice(), trusted_comment.as_bytes()].concat()).to_bytes()
}

/// The parts of a `.minisig` file.
struct Signature {
    key_id: KeyId,
    prehashed: bool,
    signature: [u8; 64],
    trusted_comment: String,
    global: [u8; 64],
}

impl Signature {
    fn parse(text: &str) -> Result<Self, SignatureError> {
        let malformed = |reason: String| SignatureError::Malformed { reason };
        if text.len() > MAX_SIGNATURE_FILE_BYTES {
            return Err(malformed(format!("{} bytes, expected at most {MAX_SIGNATURE_FILE_BYTES}", text.len())));
        }
        let mut lines = text.lines();
        let mut line = |what: &str| lines.next().ok_or_else(|| malformed(format!("the {what} line is missing")));
        if !line("untrusted comment")?.starts_with(UNTRUSTED_PREFIX) {
            return Err(malformed(format!("line 1 does not start with {UNTRUSTED_PREFIX:?}")));
        }
        let raw = decode_exactly::<SIGNATURE_BYTES>(line("signature")?)
            .map_err(|reason| malformed(format!("signature: {reason}")))?;
        let trusted_comment = line("trusted comment")?
            .strip_prefix(TRUSTED_PREFIX)
            .ok_or_else(|| malformed(format!("line 3 does not start with {TRUSTED_PREFIX:?}")))?
            .to_owned();
        let global = decode_exactly::<64>(line("global signature")?)
            .map_err(|reason| malformed(format!("global signature: {reason}")))?;
        if lines.any(|line| !line.trim().is_empty()) {
            return Err(malformed("more than four lines".into()));
        }
        let mut rest = raw.as_slice();
        let prehashed = is_prehashed(take(&mut rest))?;
        Ok(Self {
            key_id: KeyId(take(&mut rest)),
            prehashed,
            signature: take(&mut rest),
            trusted_comment,
            global: *global,
        })
    }

    fn check(self, key: &PublicKey, signed: &[u8]) -> Result<Verified, SignatureError> {
        let key_id = key.id;
        if self.key_id != key_id {
            return Err(SignatureError::OtherKey { found: self.key_id, expected: key_id });
        }
        let verify = |bytes: &[u8], signature: &[u8; 64]| {
            key.point.verify_strict(bytes, &ed25519_dalek::Signature::from_bytes(signature))
        };
        verify(signed, &self.signature).map_err(|_| SignatureError::Mismatch { key_id })?;
        let commented = [self.signature.as_slice(), self.trusted_comment.as_bytes()].concat();
        verify(&commented, &self.global).map_err(|_| SignatureError::TrustedComment { key_id })?;
        Ok(Verified { trusted_comment: self.trusted_comment, key_id })
    }
}

fn is_prehashed(algorithm: [u8; 2]) -> Result<bool, SignatureError> {
    match algorithm {
        ED25519_PREHASHED => Ok(true),
        ED25519 => Ok(false),
        other => Err(SignatureError::Malformed {
            reason: format!("algorithm {:?}, expected \"ED\" or \"Ed\"", String::from_utf8_lossy(&other)),
        }),
    }
}
