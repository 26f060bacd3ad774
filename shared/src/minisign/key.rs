//! Public keys, and what can be wrong with a key.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use zeroize::Zeroizing;

use super::{ED25519, UNTRUSTED_PREFIX, decode_exactly, take};

/// The largest key file that is read, in bytes; minisign's own are under 300.
pub(super) const MAX_KEY_FILE_BYTES: u64 = 4096;
/// Algorithm, key id and Ed25519 point.
const PUBLIC_KEY_BYTES: usize = 2 + 8 + 32;

/// Names a key pair: eight random bytes, shown as minisign shows them, but for the leading zeros that it leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(super) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

/// Says why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("{file}: {source}")]
    Io {
        /// The key file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner can reach the secret key.
    #[error("{file}: mode {mode:04o} lets others reach the secret key: run `chmod 600 {file}`")]
    Permissions {
        /// The key file.
        file: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The key is encrypted and no password was given.
    #[error("{file}: the secret key is encrypted and no password is given: give it, or make a key without one")]
    PasswordNeeded {
        /// The key file.
        file: String,
    },
    /// The password does not open the key.
    #[error("{file}: wrong password for that key, or the file is damaged")]
    WrongPassword {
        /// The key file.
        file: String,
    },
    /// A public key was given where the secret one is needed, or the other way round.
    #[error("{file}: {found}, expected {expected}")]
    WrongKind {
        /// The key file.
        file: String,
        /// What it is.
        found: &'static str,
        /// What is needed.
        expected: &'static str,
    },
    /// It is not a key of minisign's.
    #[error("{file}: not a minisign key: {reason}")]
    Malformed {
        /// The key file.
        file: String,
        /// What is wrong, with what was expected.
        reason: String,
    },
    /// The key is of a kind that this program does not read.
    #[error("{file}: {reason}")]
    Unsupported {
        /// The key file.
        file: String,
        /// What is not supported, with what is.
        reason: String,
    },
    /// The system gives no randomness or the password cannot be stretched.
    #[error("make a key: {0}")]
    Generate(String),
}

/// The key that signatures are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    pub(super) id: KeyId,
    pub(super) point: VerifyingKey,
}

impl PublicKey {
    /// True for the base64 line of a public key, which always starts with the letters of `Ed`, and for no file's usual name.
    pub fn is_text(text: &str) -> bool {
        text.starts_with("RW") && text.len() == 56 && !text.contains('.')
    }

    /// Reads a `.pub` file.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let text = read_key_file(path, std::fs::File::open(path))?;
        Self::parse_named(&text, &path.display().to_string())
    }

    /// Reads the single line of base64 that `minisign -P` takes.
    pub fn from_base64(line: &str) -> Result<Self, KeyError> {
        Self::decode(line, "public key")
    }

    /// Reads the text of a `.pub` file, or its base64 line alone.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Self::parse_named(text, "public key")
    }

    /// The id of its pair.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The text of a `.pub` file.
    pub fn to_text(&self) -> String {
        format!("{UNTRUSTED_PREFIX}minisign public key {}\n{}\n", self.id, self.to_base64())
    }

    /// The single line that `minisign -P` takes.
    pub fn to_base64(&self) -> String {
        let mut bytes = Vec::with_capacity(PUBLIC_KEY_BYTES);
        bytes.extend(ED25519);
        bytes.extend(self.id.0);
        bytes.extend(self.point.as_bytes());
        STANDARD.encode(bytes)
    }

    fn parse_named(text: &str, file: &str) -> Result<Self, KeyError> {
        Self::decode(key_line(text, file)?, file)
    }

    fn decode(line: &str, file: &str) -> Result<Self, KeyError> {
        if line.trim().len() == super::secret_key::BASE64_CHARS {
            let (found, expected) = ("this is a secret key", "the public key (the .pub file beside it)");
            return Err(KeyError::WrongKind { file: file.into(), found, expected });
        }
        let bytes = decode_exactly::<PUBLIC_KEY_BYTES>(line)
            .map_err(|reason| KeyError::Malformed { file: file.into(), reason })?;
        let mut rest = bytes.as_slice();
        let algorithm: [u8; 2] = take(&mut rest);
        if algorithm != ED25519 {
            let reason = format!("algorithm {:?}, expected \"Ed\"", String::from_utf8_lossy(&algorithm));
            return Err(KeyError::Unsupported { file: file.into(), reason });
        }
        let id = KeyId(take(&mut rest));
        let point = VerifyingKey::from_bytes(&take(&mut rest)).ok().filter(|point| !point.is_weak());
        let reason = "the key is not a usable Ed25519 point";
        let point = point.ok_or_else(|| KeyError::Malformed { file: file.into(), reason: reason.into() })?;
        Ok(Self { id, point })
    }
}

/// The line with the key: the one after the untrusted comment, or the only one.
pub(super) fn key_line<'a>(text: &'a str, file: &str) -> Result<&'a str, KeyError> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let malformed = |reason: &str| KeyError::Malformed { file: file.into(), reason: reason.into() };
    let first = lines.next().ok_or_else(|| malformed("it is empty"))?;
    let key = if first.starts_with(UNTRUSTED_PREFIX) {
        lines.next().ok_or_else(|| malformed("the line after the untrusted comment is missing"))?
    } else {
        first
    };
    match lines.next() {
        None => Ok(key),
        Some(_) => Err(malformed("more lines than an untrusted comment and a key")),
    }
}

/// Reads a small text file that may be secret.
pub(super) fn read_key_file(path: &Path, file: io::Result<std::fs::File>) -> Result<Zeroizing<String>, KeyError> {
    let io_error = |source| KeyError::Io { file: path.display().to_string(), source };
    let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_FILE_BYTES as usize + 1));
    let mut limited = file.map_err(io_error)?.take(MAX_KEY_FILE_BYTES + 1);
    limited.read_to_string(&mut text).map_err(io_error)?;
    if text.len() as u64 <= MAX_KEY_FILE_BYTES {
        return Ok(text);
    }
    let reason = format!("it is larger than {MAX_KEY_FILE_BYTES} bytes");
    Err(KeyError::Malformed { file: path.display().to_string(), reason })
}
