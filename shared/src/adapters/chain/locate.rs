//! Finds the chain database at a path that a person gave.

use std::io;
use std::path::{Path, PathBuf};

use crate::ids::DatabaseKind;
use crate::ports::chain_database::{ChainDatabaseError, DatabaseLocation};

/// Finds the database at `path`: a node's base path, a chain folder (or the root of a restored archive), a `db` or
/// `paritydb` folder, or the `full` folder in it.
///
/// `kind` chooses where both engines are present and refuses the other one. `chain_id` chooses the folder below `chains/`
/// of a base path; elsewhere it has no meaning. Only looks at names; opens no file.
pub fn locate(
    path: &Path,
    kind: Option<DatabaseKind>,
    chain_id: Option<&str>,
) -> Result<DatabaseLocation, ChainDatabaseError> {
    let folder = absolute_folder(path)?;
    if let Some(location) = enclosing(&folder)? {
        return of_kind(path, location, kind);
    }
    let kinds = kinds_in(&folder)?;
    if !kinds.is_empty() {
        return choose_kind(path, &folder, &kinds, kind);
    }
    if !is_there(&folder.join("chains"))? {
        return Err(not_a_database(path));
    }
    let chain_dir = choose_chain(path, &folder.join("chains"), kind, chain_id)?;
    choose_kind(path, &chain_dir, &kinds_in(&chain_dir)?, kind)
}

/// Refuses a location without a database of its kind.
pub(super) fn expect_database(location: &DatabaseLocation) -> Result<(), ChainDatabaseError> {
    let kinds = kinds_in(&absolute_folder(&location.chain_dir)?)?;
    if kinds.contains(&location.kind) {
        return Ok(());
    }
    match kinds.first() {
        Some(found) => Err(other_kind(&location.chain_dir, *found, location.kind)),
        None => Err(not_a_database(&location.chain_dir)),
    }
}

/// The path as an absolute one, so that its parents have names; links stay what they are.
fn absolute_folder(path: &Path) -> Result<PathBuf, ChainDatabaseError> {
    let io = |source: io::Error| ChainDatabaseError::io(path, source);
    if !std::fs::metadata(path).map_err(io)?.is_dir() {
        return Err(ChainDatabaseError::NotADatabase {
            path: path.to_owned(),
            expected: "a folder (base path, chain folder, db or paritydb), found a file".into(),
        });
    }
    let absolute = std::path::absolute(path).map_err(io)?;
    if absolute.components().any(|part| part == std::path::Component::ParentDir) {
        return std::fs::canonicalize(path).map_err(io);
    }
    Ok(absolute)
}

/// The location that `folder` is the `db`, `paritydb` or `full` folder of.
fn enclosing(folder: &Path) -> Result<Option<DatabaseLocation>, ChainDatabaseError> {
    let parents = folder.parent().zip(folder.parent().and_then(Path::parent));
    for kind in DatabaseKind::ALL {
        let candidate = match parents {
            Some((chain_dir, _)) if folder.ends_with(kind.folder()) => chain_dir,
            Some((_, chain_dir)) if folder.ends_with(Path::new(kind.folder()).join("full")) => chain_dir,
            _ => continue,
        };
        let location = DatabaseLocation { chain_dir: candidate.to_owned(), kind };
        if holds(&location)? {
            return Ok(Some(location));
        }
    }
    Ok(None)
}

fn kinds_in(chain_dir: &Path) -> Result<Vec<DatabaseKind>, ChainDatabaseError> {
    let mut kinds = Vec::new();
    for kind in DatabaseKind::ALL {
        if holds(&DatabaseLocation { chain_dir: chain_dir.to_owned(), kind })? {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

/// True where the file is there that the engine cannot do without.
fn holds(location: &DatabaseLocation) -> Result<bool, ChainDatabaseError> {
    let essential = match location.kind {
        DatabaseKind::RocksDb => "CURRENT",
        DatabaseKind::ParityDb => "metadata",
    };
    is_there(&location.full_dir().join(essential))
}

fn is_there(path: &Path) -> Result<bool, ChainDatabaseError> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(ChainDatabaseError::io(path, e)),
    }
}

fn choose_chain(
    path: &Path,
    chains: &Path,
    kind: Option<DatabaseKind>,
    chain_id: Option<&str>,
) -> Result<PathBuf, ChainDatabaseError> {
    let found = chains_in(chains)?;
    let ids = || found.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = chain_id {
        let chosen = found.iter().find(|(id, _)| id == wanted);
        return chosen.map(|(id, _)| chains.join(id)).ok_or_else(|| ChainDatabaseError::NotADatabase {
            path: path.to_owned(),
            expected: format!("a database of chain {wanted} in chains/{wanted}, found chains: [{}]", ids()),
        });
    }
    let fitting: Vec<_> = found.iter().filter(|(_, kinds)| kind.is_none_or(|kind| kinds.contains(&kind))).collect();
    match (fitting.as_slice(), found.as_slice()) {
        ([(id, _)], _) | ([], [(id, _)]) => Ok(chains.join(id)),
        (_, []) => Err(not_a_database(path)),
        _ => Err(ChainDatabaseError::Ambiguous {
            path: path.to_owned(),
            found: format!("several chains ({})", ids()),
            choice: "the chain's folder, as in chains/polkadot".into(),
        }),
    }
}

/// The chain folders with a database, in the order of their names.
fn chains_in(chains: &Path) -> Result<Vec<(String, Vec<DatabaseKind>)>, ChainDatabaseError> {
    let io = |source: io::Error| ChainDatabaseError::io(chains, source);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(chains).map_err(io)? {
        let entry = entry.map_err(io)?;
        let kinds = kinds_in(&entry.path())?;
        if let (Ok(id), false) = (entry.file_name().into_string(), kinds.is_empty()) {
            found.push((id, kinds));
        }
    }
    found.sort();
    Ok(found)
}

fn choose_kind(
    path: &Path,
    chain_dir: &Path,
    kinds: &[DatabaseKind],
    wanted: Option<DatabaseKind>,
) -> Result<DatabaseLocation, ChainDatabaseError> {
    let chosen = match (kinds, wanted) {
        ([], _) => return Err(not_a_database(path)),
        (kinds, Some(wanted)) if kinds.contains(&wanted) => wanted,
        ([found, ..], Some(wanted)) => return Err(other_kind(path, *found, wanted)),
        ([only], None) => *only,
        _ => {
            return Err(ChainDatabaseError::Ambiguous {
                path: path.to_owned(),
                found: "a RocksDB database (db/full) and a ParityDB one (paritydb/full)".into(),
                choice: "the database, rocksdb or paritydb".into(),
            });
        }
    };
    Ok(DatabaseLocation { chain_dir: chain_dir.to_owned(), kind: chosen })
}

fn of_kind(
    path: &Path,
    location: DatabaseLocation,
    wanted: Option<DatabaseKind>,
) -> Result<DatabaseLocation, ChainDatabaseError> {
    match wanted {
        Some(wanted) if wanted != location.kind => Err(other_kind(path, location.kind, wanted)),
        _ => Ok(location),
    }
}

fn other_kind(path: &Path, found: DatabaseKind, expected: DatabaseKind) -> ChainDatabaseError {
    ChainDatabaseError::OtherKind { path: path.to_owned(), found, expected }
}

fn not_a_database(path: &Path) -> ChainDatabaseError {
    ChainDatabaseError::NotADatabase {
        path: path.to_owned(),
        expected:
            "db/full/CURRENT (RocksDB) or paritydb/full/metadata (ParityDB) in it, in its parent, or below chains/<id>"
                .into(),
    }
}
