//! Signing and verifying in minisign's format.
//!
//! Source of the format: <https://jedisct1.github.io/minisign/> and minisign 0.11. What is signed here, `minisign -V`
//! accepts; what `minisign -S` signs, [`verify`] accepts, prehashed (`ED`) or legacy (`Ed`).
//! Ed25519 is deterministic: signing the same bytes twice gives the same signature.

mod key;
mod secret_key;
mod signature;

pub use key::{KeyError, KeyId, PublicKey};
pub use secret_key::SecretKey;
pub use signature::{SignatureError, Verified, key_id_of, sign, verify, verify_reader};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The line that starts every file of minisign's.
const UNTRUSTED_PREFIX: &str = "untrusted comment: ";
/// The algorithm of keys and of signatures over the bytes themselves.
const ED25519: [u8; 2] = *b"Ed";
/// The algorithm of signatures over the BLAKE2b-512 of the bytes.
const ED25519_PREHASHED: [u8; 2] = *b"ED";

/// Decodes one line of base64 into exactly `N` bytes; the error says what was expected and found.
fn decode_exactly<const N: usize>(line: &str) -> Result<Zeroizing<[u8; N]>, String> {
    let bytes = Zeroizing::new(STANDARD.decode(line.trim()).map_err(|error| format!("not base64: {error}"))?);
    let mut exact = Zeroizing::new([0; N]);
    if bytes.len() != N {
        return Err(format!("{} bytes, expected {N}", bytes.len()));
    }
    exact.copy_from_slice(&bytes);
    Ok(exact)
}

/// Takes the `N` bytes at the front of `rest` off it; the caller's total size makes sure that they are there.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut taken = [0; N];
    if let Some((front, back)) = rest.split_at_checked(N) {
        taken.copy_from_slice(front);
        *rest = back;
    }
    taken
}
