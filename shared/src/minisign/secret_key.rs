//! Secret keys: made, read, written, and never shown.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use super::key::{key_line, read_key_file};
use super::{ED25519, KeyError, KeyId, PublicKey, UNTRUSTED_PREFIX, decode_exactly, take};

/// What can be encrypted: key id, seed with public half, checksum.
const SEALED_BYTES: usize = 8 + 64 + 32;
/// Three algorithms, salt, two limits, and the sealed part.
const SECRET_KEY_BYTES: usize = 3 * 2 + 32 + 8 + 8 + SEALED_BYTES;
/// The length of a secret key's base64 line.
pub(super) const BASE64_CHARS: usize = SECRET_KEY_BYTES.div_ceil(3) * 4;

const KDF_SCRYPT: [u8; 2] = *b"Sc";
const KDF_NONE: [u8; 2] = [0, 0];
const CHECKSUM_BLAKE2B: [u8; 2] = *b"B2";

/// What one password costs to try with keys made here: 128 MiB, so that a small container can open its own key.
const OPS_LIMIT: u64 = 4 * MEM_LIMIT_BYTES / 128;
const MEM_LIMIT_BYTES: u64 = 128 * 1024 * 1024;
/// The most that a key file may ask for; minisign's own default.
const MAX_MEM_BYTES: u64 = 1024 * 1024 * 1024;
const MAX_LANES: u32 = 16;

/// The key that signs. Its memory is wiped when it is dropped, and it has no readable `Debug`.
#[derive(Clone)]
pub struct SecretKey {
    pub(super) id: KeyId,
    pub(super) signing: SigningKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SecretKey {
    /// Makes a new key from the system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut id = [0; 8];
        let mut seed = Zeroizing::new([0; 32]);
        fill_random(&mut id)?;
        fill_random(seed.as_mut())?;
        Ok(Self { id: KeyId(id), signing: SigningKey::from_bytes(&seed) })
    }

    /// Reads a secret key file that nobody but its owner (or, where root owns it, the file's group) can read.
    pub fn from_file(path: &Path, password: Option<&str>) -> Result<Self, KeyError> {
        let file = open_private(path)?;
        let text = read_key_file(path, Ok(file))?;
        Self::parse_named(&text, password, &path.display().to_string())
    }

    /// Reads the text of a secret key file.
    pub fn parse(text: &str, password: Option<&str>) -> Result<Self, KeyError> {
        Self::parse_named(text, password, "secret key")
    }

    /// The id of its pair.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey { id: self.id, point: self.signing.verifying_key() }
    }

    /// The text of a secret key file, encrypted where a password is given.
    pub fn to_text(&self, password: Option<&str>) -> Result<Zeroizing<String>, KeyError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_KEY_BYTES));
        bytes.extend(ED25519);
        match password {
            Some(password) => self.write_sealed(&mut bytes, password)?,
            None => self.write_open(&mut bytes),
        }
        let line = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        Ok(Zeroizing::new(format!("{UNTRUSTED_PREFIX}minisign encrypted secret key\n{}\n", line.as_str())))
    }

    /// Writes a new file with mode 0600; a file that is there already is left alone and is an error.
    pub fn create_file(&self, path: &Path, password: Option<&str>) -> Result<(), KeyError> {
        let text = self.to_text(password)?;
        let io_error = |source| KeyError::Io { file: path.display().to_string(), source };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io_error)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error)
    }

    fn write_sealed(&self, bytes: &mut Vec<u8>, password: &str) -> Result<(), KeyError> {
        let mut salt = [0; 32];
        fill_random(&mut salt)?;
        let mut sealed = self.sealed_part(true);
        let stretching = Stretching { salt, ops_limit: OPS_LIMIT, mem_limit: MEM_LIMIT_BYTES };
        stretching.apply(password, &mut sealed).map_err(KeyError::Generate)?;
        bytes.extend(KDF_SCRYPT);
        bytes.extend(CHECKSUM_BLAKE2B);
        bytes.extend(salt);
        bytes.extend(OPS_LIMIT.to_le_bytes());
        bytes.extend(MEM_LIMIT_BYTES.to_le_bytes());
        bytes.extend(sealed.as_slice());
        Ok(())
    }

    /// minisign leaves salt, limits and checksum of an unencrypted key zero.
    fn write_open(&self, bytes: &mut Vec<u8>) {
        bytes.extend(KDF_NONE);
        bytes.extend(CHECKSUM_BLAKE2B);
        bytes.extend([0; 32 + 8 + 8]);
        bytes.extend(self.sealed_part(false).as_slice());
    }

    fn sealed_part(&self, with_checksum: bool) -> Zeroizing<[u8; SEALED_BYTES]> {
        let pair = Zeroizing::new(self.signing.to_keypair_bytes());
        let mut part = Zeroizing::new([0; SEALED_BYTES]);
        part[..8].copy_from_slice(&self.id.0);
        part[8..72].copy_from_slice(pair.as_slice());
        if with_checksum {
            part[72..].copy_from_slice(&checksum(&self.id, &pair));
        }
        part
    }

    fn parse_named(text: &str, password: Option<&str>, file: &str) -> Result<Self, KeyError> {
        let line = key_line(text, file)?;
        let malformed = |reason: String| KeyError::Malformed { file: file.into(), reason };
        if PublicKey::from_base64(line).is_ok() {
            let (found, expected) = ("this is a public key", "the secret key that belongs to it");
            return Err(KeyError::WrongKind { file: file.into(), found, expected });
        }
        let bytes = decode_exactly::<SECRET_KEY_BYTES>(line).map_err(malformed)?;
        let mut rest = bytes.as_slice();
        let (algorithm, kdf, check): ([u8; 2], [u8; 2], [u8; 2]) = (take(&mut rest), take(&mut rest), take(&mut rest));
        expect_algorithm(file, "signature", algorithm, ED25519)?;
        expect_algorithm(file, "checksum", check, CHECKSUM_BLAKE2B)?;
        let stretching = Stretching {
            salt: take(&mut rest),
            ops_limit: u64::from_le_bytes(take(&mut rest)),
            mem_limit: u64::from_le_bytes(take(&mut rest)),
        };
        let mut sealed = Zeroizing::new(take::<SEALED_BYTES>(&mut rest));
        if kdf == KDF_NONE {
            return Self::from_sealed_part(&sealed, false).map_err(malformed);
        }
        expect_algorithm(file, "key derivation", kdf, KDF_SCRYPT)?;
        let password = password.ok_or_else(|| KeyError::PasswordNeeded { file: file.into() })?;
        stretching
            .apply(password, &mut sealed)
            .map_err(|reason| KeyError::Unsupported { file: file.into(), reason })?;
        Self::from_sealed_part(&sealed, true).map_err(|_| KeyError::WrongPassword { file: file.into() })
    }

    fn from_sealed_part(part: &[u8; SEALED_BYTES], checksum_required: bool) -> Result<Self, String> {
        let mut rest = part.as_slice();
        let id = KeyId(take(&mut rest));
        let pair = Zeroizing::new(take::<64>(&mut rest));
        let found: [u8; 32] = take(&mut rest);
        let absent = !checksum_required && found == [0; 32];
        if !absent && found != checksum(&id, &pair) {
            return Err("its checksum is wrong: the file is damaged".into());
        }
        let signing = SigningKey::from_keypair_bytes(&pair)
            .map_err(|_| "its secret and public halves do not belong together: the file is damaged")?;
        Ok(Self { id, signing })
    }
}

fn expect_algorithm(file: &str, what: &str, found: [u8; 2], expected: [u8; 2]) -> Result<(), KeyError> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected));
    let reason = format!("{what} algorithm {found:?} is not supported, expected {expected:?}");
    Err(KeyError::Unsupported { file: file.into(), reason })
}

fn checksum(id: &KeyId, pair: &[u8; 64]) -> [u8; 32] {
    Blake2b::<U32>::new().chain_update(ED25519).chain_update(id.0).chain_update(pair).finalize().into()
}

fn fill_random(bytes: &mut [u8]) -> Result<(), KeyError> {
    getrandom::fill(bytes).map_err(|error| KeyError::Generate(format!("no randomness from the system: {error}")))
}

/// How a password becomes the bytes that a secret key is XORed with.
struct Stretching {
    salt: [u8; 32],
    ops_limit: u64,
    mem_limit: u64,
}

impl Stretching {
    fn apply(&self, password: &str, sealed: &mut [u8; SEALED_BYTES]) -> Result<(), String> {
        let params = self.params()?;
        let mut stream = Zeroizing::new([0; SEALED_BYTES]);
        scrypt::scrypt(password.as_bytes(), &self.salt, &params, stream.as_mut())
            .map_err(|error| format!("scrypt: {error}"))?;
        sealed.iter_mut().zip(stream.iter()).for_each(|(byte, mask)| *byte ^= mask);
        Ok(())
    }

    /// The parameters that libsodium's `crypto_pwhash_scryptsalsa208sha256` picks for these limits.
    fn params(&self) -> Result<scrypt::Params, String> {
        const BLOCK: u64 = 8;
        let ops_limit = self.ops_limit.max(32768);
        let cpu_bound = ops_limit < self.mem_limit / 32;
        let max_n = if cpu_bound { ops_limit / (BLOCK * 4) } else { self.mem_limit / (BLOCK * 128) };
        let log_n = (1u32..63).find(|log_n| 1u64 << log_n > max_n / 2).unwrap_or(63);
        let lanes = if cpu_bound { 1 } else { ((ops_limit / 4) >> log_n).min(0x3fff_ffff) / BLOCK };
        let mem_bytes = 128u64.saturating_mul(BLOCK) << log_n.min(50);
        if mem_bytes > MAX_MEM_BYTES || lanes > u64::from(MAX_LANES) || lanes == 0 {
            let (mem_limit, max) = (self.mem_limit, MAX_MEM_BYTES);
            return Err(format!(
                "scrypt limits opslimit {} and memlimit {mem_limit} are out of bounds, expected at most {max} bytes and \
                 {MAX_LANES} lanes: encrypt the key anew with minisign's defaults",
                self.ops_limit,
            ));
        }
        scrypt::Params::new(log_n as u8, BLOCK as u32, lanes as u32).map_err(|error| format!("scrypt: {error}"))
    }
}

/// Opens a file that only its owner can reach.
///
/// Where root owns it and this process is another user, its group may read it: that is how Kubernetes mounts a secret
/// for a user of its own (`fsGroup`).
fn open_private(path: &Path) -> Result<File, KeyError> {
    let name = || path.display().to_string();
    let io_error = |source| KeyError::Io { file: name(), source };
    if !std::fs::metadata(path).map_err(io_error)?.is_file() {
        return Err(KeyError::Malformed { file: name(), reason: "it is not a regular file".into() });
    }
    let file = File::open(path).map_err(io_error)?;
    let metadata = file.metadata().map_err(io_error)?;
    let mounted_by_root = metadata.uid() == 0 && !rustix::process::geteuid().is_root();
    let forbidden = if mounted_by_root { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(KeyError::Permissions { file: name(), mode: metadata.mode() & 0o7777 });
    }
    Ok(file)
}
