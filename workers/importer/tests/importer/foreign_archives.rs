//! Somebody else's archives, right ones and hostile ones.

use std::io::Write as _;

use crate::common::Tree;
use anyhow::Result;
use polkashots_shared::tar_header::tar_header;
use tar::{EntryType, Header};

/// Name, what the archive holds behind a good beginning, and what the refusal says.
pub type Attack = (&'static str, fn() -> Vec<u8>, &'static str);

/// Every hostile archive.
pub const ATTACKS: &[Attack] = &[
    ("foreign absolute path", || file("/tmp/polkashots-escape"), "is absolute"),
    ("foreign parent path", || file("db/../../escape"), ".. segment"),
    ("foreign parent of the chain", || file("../db/full/x"), ".. segment"),
    ("foreign empty segment", || file("db//x"), "empty"),
    ("foreign nul in a name", || named_by_pax(b"db/full/a\0b"), "control character"),
    ("foreign newline in a name", || file("db/full/a\nb"), "control character"),
    ("foreign name that is not UTF-8", || raw(b"db/full/\xff", EntryType::Regular), "not UTF-8"),
    ("foreign pax name that is not UTF-8", || named_by_pax(b"db/full/\xff"), "not UTF-8"),
    ("foreign backslash in a name", || file("db/..\\x"), "backslash"),
    ("foreign symlink", || raw(b"db/full/x", EntryType::Symlink), "a symbolic link"),
    ("foreign long symlink", || raw(b"././@LongLink", EntryType::GNULongLink), "a symbolic link"),
    ("foreign hardlink", || raw(b"db/full/x", EntryType::Link), "a hard link"),
    ("foreign device", || raw(b"db/full/x", EntryType::Char), "a device"),
    ("foreign block device", || raw(b"db/full/x", EntryType::Block), "a device"),
    ("foreign pipe", || raw(b"db/full/x", EntryType::Fifo), "a pipe"),
    ("foreign holes that overlap", || gnu_sparse(100, &[(0, 10), (5, 10)], b"01234567890123456789"), "overlap"),
    ("foreign holes beyond the end", || gnu_sparse(100, &[(95, 10)], b"0123456789"), "beyond the end"),
    ("foreign holes of other bytes", || gnu_sparse(100, &[(0, 10)], b"01234567890123456789"), "bytes that are stored"),
    ("foreign sparse bomb of GNU tar", || gnu_sparse(1 << 50, &[(0, 2)], b"01"), "bytes of disk are needed"),
    ("foreign entry of an unknown type", || raw(b"db/full/x", EntryType::new(b'Z')), "of type 'Z'"),
    ("foreign duplicate file", || file("db/full/CURRENT"), "twice"),
    ("foreign duplicate folder", || tar_header("db/full", None), "twice"),
    ("foreign folder where a file is", || tar_header("db/full/CURRENT", None), "is a file and a folder"),
    ("foreign file where a folder is", || file("db/full"), "is a file and a folder"),
    ("foreign file below a file", || file("db/full/CURRENT/x"), "is a file and a folder"),
    ("foreign case collision", || file("db/full/current"), "upper and lower case"),
    ("foreign case collision of folders", || file("db/FULL/x"), "upper and lower case"),
    ("foreign keystore inside", || file("db/keystore/aura"), "keystore"),
    ("foreign keystore beside", || file("keystore/aura"), "keystore"),
    ("foreign network beside", || file("chains/testnet1/network/secret_ed25519"), "network"),
    ("foreign other file", || file("README.md"), "no part of a database"),
    ("foreign our own folder", || file(".polkashots/db.lock"), "no part of a database"),
    ("foreign second database", || file("paritydb/full/metadata"), "another database"),
    ("foreign same database elsewhere", || file("chains/testnet1/db/full/x"), "another database"),
    ("foreign other chain", || file("chains/testnet2/db/full/x"), "expected \"testnet1\""),
    ("foreign sparse bomb", || tar_header("db/full/x", Some(1 << 50)), "bytes of disk are needed"),
    ("foreign size beyond all files", || tar_header("db/full/x", Some(u64::MAX)), "larger than any file"),
    ("foreign pax size that is no number", || pax(&[("size", b"12x")]), "pax size"),
    ("foreign sparse file by pax", || pax(&[("GNU.sparse.major", b"1")]), "--sparse"),
    ("foreign two names", || [pax(&[("path", b"db/a")]), pax(&[("path", b"db/b")])].concat(), "two names"),
    ("foreign name for all entries", || global(&[("path", b"db/full/x")]), "to all entries"),
    ("foreign endless name", || long_name(1 << 40), "has a header of"),
    ("foreign endless pax header", || sized(b"x", EntryType::XHeader, 1 << 40), "has a header of"),
    ("foreign folder with content", || sized(b"db/x/", EntryType::Directory, 512), "content of its own"),
    ("foreign wrong checksum", || flipped(file("db/full/x")), "a header is wrong"),
    ("foreign header without an entry", || pax(&[("path", b"db/full/x")]), "no entry follows"),
    ("foreign second archive behind the end", || [vec![0; 1024], file("db/full/x")].concat(), "goes on after"),
    ("foreign bomb of zeros behind the end", || vec![0; 2 << 20], "goes on after"),
];

/// The names of all hostile archives.
pub fn attack_names() -> impl Iterator<Item = &'static str> {
    ATTACKS.iter().map(|(name, ..)| *name)
}

pub fn file(path: &str) -> Vec<u8> {
    // As it is: whoever makes tar headers with care leaves out what this is about.
    let mut entry = match path.len() < 100 {
        true => sized(path.as_bytes(), EntryType::Regular, 3),
        false => tar_header(path, Some(3)),
    };
    entry.extend(b"abc");
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

pub fn raw(name: &[u8], entry_type: EntryType) -> Vec<u8> {
    sized(name, entry_type, 0)
}

pub fn sized(name: &[u8], entry_type: EntryType, size: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(entry_type);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header.as_bytes().to_vec()
}

pub fn gnu_sparse(size: u64, pieces: &[(u64, u64)], stored: &[u8]) -> Vec<u8> {
    let mut header = Header::from_byte_slice(&raw(b"db/full/sparse-gnu", EntryType::GNUSparse)).clone();
    header.set_size(stored.len() as u64);
    let gnu = header.as_gnu_mut().expect("a GNU header");
    gnu.set_real_size(size);
    for (field, (offset, length)) in gnu.sparse.iter_mut().zip(pieces) {
        field.set_offset(*offset);
        field.set_length(*length);
    }
    header.set_cksum();
    let mut entry = [header.as_bytes(), stored].concat();
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

pub fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    records_as(EntryType::XHeader, records)
}

pub fn global(records: &[(&str, &[u8])]) -> Vec<u8> {
    records_as(EntryType::XGlobalHeader, records)
}

fn records_as(entry_type: EntryType, records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = 3 + key.len() + value.len();
        let digits = (rest + 1).to_string().len();
        let length = rest + (rest + digits).to_string().len();
        content.extend(format!("{length} {key}=").into_bytes());
        content.extend(*value);
        content.push(b'\n');
    }
    let mut entry = sized(b"PaxHeaders/x", entry_type, content.len() as u64);
    entry.extend(content);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

fn named_by_pax(name: &[u8]) -> Vec<u8> {
    [pax(&[("path", name)]), file("db/full/short")].concat()
}

fn long_name(size: u64) -> Vec<u8> {
    sized(b"././@LongLink", EntryType::GNULongName, size)
}

fn flipped(mut entry: Vec<u8>) -> Vec<u8> {
    entry[100] ^= 1;
    entry
}

/// A tar stream of `tree`, with `above` in front of every path, without the mark of its end.
pub fn tar_of(tree: &Tree, above: &str) -> Vec<u8> {
    let mut stream = Vec::new();
    for folder in ["db", "db/full"] {
        stream.extend(tar_header(&format!("{above}{folder}"), None));
    }
    for (path, content) in tree {
        stream.extend(tar_header(&format!("{above}{path}"), Some(content.len() as u64)));
        stream.extend(content);
        stream.resize(stream.len().next_multiple_of(512), 0);
    }
    stream
}

pub fn ended(mut stream: Vec<u8>) -> Vec<u8> {
    stream.resize(stream.len() + 10 * 1024, 0);
    stream
}

pub fn lz4(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = lz4::EncoderBuilder::new().checksum(lz4::ContentChecksum::ChecksumEnabled).build(Vec::new())?;
    encoder.write_all(content)?;
    let (frame, finished) = encoder.finish();
    finished?;
    Ok(frame)
}
