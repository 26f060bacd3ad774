//! What a restore or a verification came to.

use std::path::PathBuf;

use polkashots_shared::ids::Sha256;
use polkashots_shared::manifest::Manifest;
use serde::Serialize;

/// How a restore ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The database was restored.
    Restored(Restored),
    /// The database was unpacked from an archive that nobody signed.
    Unsigned(Unsigned),
    /// A database is there already; nothing was touched.
    AlreadyThere(AlreadyThere),
}

/// A restored database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The folder that the node opens: `<chain dir>/db` or `<chain dir>/paritydb`.
    pub database_dir: PathBuf,
    /// What was restored.
    pub manifest: Manifest,
    /// Bytes that came over the network or from the file.
    pub fetched_bytes: u64,
    /// Compressed bytes that an earlier, interrupted run had done.
    pub resumed_bytes: u64,
    /// Compressed bytes of the frames that were there already in the database that was updated.
    pub kept_bytes: u64,
    /// Bytes written to disk; holes are not.
    pub written_bytes: u64,
}

/// A database from an archive that nobody signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unsigned {
    /// The folder that the node opens: `<chain dir>/db` or `<chain dir>/paritydb`.
    pub database_dir: PathBuf,
    /// Where the archive was, without what may be a secret in its address.
    pub archive: String,
    /// The SHA-256 of the archive as it came in.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// How many files the database has.
    pub files: u64,
    /// How many bytes those have, holes included.
    pub content_bytes: u64,
    /// Bytes that came over the network or from the file.
    pub fetched_bytes: u64,
    /// Bytes written to disk; holes are not.
    pub written_bytes: u64,
}

/// A database that was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlreadyThere {
    /// The folder that the node opens.
    pub database_dir: PathBuf,
    /// What this program restored there; `None` where it came from elsewhere.
    pub manifest: Option<Manifest>,
    /// The archive that this program unpacked there although nobody had signed it.
    pub unsigned_archive: Option<String>,
}

/// What a restore would do, everything checked that can be checked without fetching the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// Where the manifest was found.
    pub manifest_location: String,
    /// What would be restored.
    pub manifest: Manifest,
    /// The folder that the node opens.
    pub database_dir: PathBuf,
    /// True where a database is there already, so that without `force` nothing would be done.
    pub already_there: bool,
    /// Compressed bytes to fetch.
    pub fetch_bytes: u64,
    /// Compressed bytes of the archive that an interrupted run has done already.
    pub resumed_bytes: u64,
    /// Bytes of disk needed in addition to what is used now.
    pub disk_needed_bytes: u64,
    /// Bytes of disk free at the destination.
    pub disk_free_bytes: u64,
}

/// A snapshot that was found to be what its signed manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Where the manifest was found.
    pub manifest_location: String,
    /// The manifest.
    pub manifest: Manifest,
    /// The key that signed it, as minisign prints it.
    pub key_id: String,
    /// What the signature's trusted comment says.
    pub trusted_comment: String,
    /// The files that were read and found right.
    pub files: Vec<VerifiedFile>,
    /// How many frames were unpacked and found right.
    pub frames: u64,
}

/// A restored directory that was found to be what its snapshot's signed manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoredReport {
    /// Where the manifest was found.
    pub manifest_location: String,
    /// The manifest.
    pub manifest: Manifest,
    /// The key that signed it, as minisign prints it.
    pub key_id: String,
    /// What the signature's trusted comment says.
    pub trusted_comment: String,
    /// The folder that was compared.
    pub database_dir: PathBuf,
    /// How many files it has.
    pub files: u64,
    /// How many frames were made again from them and found right.
    pub frames: u64,
}

/// A published file that was found right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedFile {
    /// Its name beside the manifest.
    pub file: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The SHA-256 of all its bytes.
    pub sha256: Sha256,
}
