//! Where the entries of somebody else's archive belong: the database's folder, whatever folders the archive has above it.

use polkashots_shared::ids::DatabaseKind;

use super::entries::{Entry, EntryError};
use crate::plan::{Paths, check_form};

/// Most bytes of all paths together, which are kept until the end.
const MAX_PATHS_BYTES: usize = 16 * 1024 * 1024;
const EXPECTED: &str =
    "expected one database as db/… or paritydb/…, alone or below <chain>/ or chains/<chain>/, and nothing else";

/// What an archive was seen to hold so far.
#[derive(Debug)]
pub struct Layout {
    /// The chain's folder that the archive must be of; none takes the first one.
    chain_folder: Option<String>,
    database: Option<Database>,
    paths_bytes: usize,
}

/// The one database of an archive.
#[derive(Debug)]
struct Database {
    kind: DatabaseKind,
    /// What is in front of its folder: nothing, or folders with a slash behind.
    above: String,
    paths: Paths,
}

/// What to make of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Folders to make, parents first, from the database's own folder on.
    pub folders: Vec<String>,
    /// The file to make, and its size.
    pub file: Option<(String, u64)>,
}

impl Layout {
    /// The layout of an archive that must be of the chain whose folder is `chain_folder`, if that is known.
    pub fn new(chain_folder: Option<String>) -> Self {
        Self { chain_folder, database: None, paths_bytes: 0 }
    }

    /// Finds the place of `entry`, or says why there is none.
    pub fn place(&mut self, entry: &Entry) -> Result<Placed, EntryError> {
        let refuse = |reason: String| EntryError::refused(&entry.path, reason);
        self.paths_bytes += entry.path.len();
        if self.paths_bytes > MAX_PATHS_BYTES {
            return Err(refuse(format!("brings the names to more than {MAX_PATHS_BYTES} bytes")));
        }
        if entry.path.is_empty() {
            return Ok(Placed { folders: Vec::new(), file: None });
        }
        check_form(&entry.path).map_err(refuse)?;
        let Some((above, kind)) = self.split(entry)? else {
            return Ok(Placed { folders: Vec::new(), file: None });
        };
        let path = &entry.path[above.len()..];
        let database = self.database.get_or_insert_with(|| Database {
            kind,
            above: above.to_owned(),
            paths: Paths::new(kind.folder()),
        });
        if (database.kind, database.above.as_str()) != (kind, above) {
            let first = format!("{}{}/", database.above, database.kind.folder());
            return Err(refuse(format!("is of another database than {first}, of which the archive has entries too")));
        }
        let folders = match entry.size {
            Some(_) => database.paths.add_file(path),
            None => database.paths.add_folder(path),
        };
        let file = entry.size.map(|size| (path.to_owned(), size));
        Ok(Placed { folders: folders.map_err(refuse)?, file })
    }

    /// The database's kind, once an entry of it was seen.
    pub fn kind(&self) -> Option<DatabaseKind> {
        self.database.as_ref().map(|database| database.kind)
    }

    /// The database's kind and paths, where there is one that a node can open.
    pub fn finish(self) -> Result<(DatabaseKind, Paths), EntryError> {
        let database = self.database.ok_or_else(|| EntryError::Stream(format!("has no database: {EXPECTED}")))?;
        let (kind, top) = (database.kind, database.kind.folder());
        let needed = match kind {
            DatabaseKind::RocksDb => "CURRENT",
            DatabaseKind::ParityDb => "metadata",
        };
        let places = [format!("{top}/full/{needed}"), format!("{top}/{needed}")];
        if !places.iter().any(|path| database.paths.has_file(path)) {
            let reason = format!("has neither {} nor {}: no node could open what is in it", places[0], places[1]);
            return Err(EntryError::Stream(reason));
        }
        Ok((kind, database.paths))
    }

    /// What is in front of the database's folder, and which one it is; `None` for a folder above it.
    fn split<'a>(&mut self, entry: &'a Entry) -> Result<Option<(&'a str, DatabaseKind)>, EntryError> {
        let path = entry.path.as_str();
        let mut at = 0;
        if let Some(rest) = path.strip_prefix("chains/") {
            at = path.len() - rest.len();
        } else if path == "chains" && entry.size.is_none() {
            return Ok(None);
        }
        let names: Vec<&str> = path[at..].splitn(3, '/').collect();
        if let (0, Some(kind)) = (at, kind_of(names[0])) {
            return Ok(Some(("", kind)));
        }
        let kind = names.get(1).and_then(|name| kind_of(name));
        if kind.is_none() && (names.len() > 1 || entry.size.is_some()) {
            return Err(EntryError::refused(path, format!("is no part of a database: {EXPECTED}")));
        }
        self.check_chain(path, names[0])?;
        Ok(kind.map(|kind| (&path[..at + names[0].len() + 1], kind)))
    }

    fn check_chain(&mut self, path: &str, found: &str) -> Result<(), EntryError> {
        let expected = self.chain_folder.get_or_insert_with(|| found.to_owned());
        match expected == found {
            true => Ok(()),
            false => Err(EntryError::refused(path, format!("is of the chain folder {found:?}, expected {expected:?}"))),
        }
    }
}

fn kind_of(folder: &str) -> Option<DatabaseKind> {
    DatabaseKind::ALL.into_iter().find(|kind| kind.folder() == folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(layout: &mut Layout, path: &str, size: Option<u64>) -> Result<Placed, String> {
        layout.place(&Entry { path: path.into(), size }).map_err(|error| error.to_string())
    }

    #[test]
    fn a_database_is_taken_from_any_of_the_three_places() {
        for above in ["", "ksmcc3/", "chains/ksmcc3/"] {
            let mut layout = Layout::new(Some("ksmcc3".into()));
            for folder in ["", "chains", "chains/ksmcc3", "ksmcc3"].iter().filter(|folder| above.starts_with(**folder))
            {
                let placed = place(&mut layout, folder, None).expect("a folder above the database");
                assert_eq!(placed, Placed { folders: vec![], file: None });
            }
            let placed = place(&mut layout, &format!("{above}paritydb/full/metadata"), Some(7)).expect("a file");
            assert_eq!(placed.folders, ["paritydb", "paritydb/full"]);
            assert_eq!(placed.file, Some(("paritydb/full/metadata".into(), 7)));
            let placed = place(&mut layout, &format!("{above}paritydb/parachains"), None).expect("a folder");
            assert_eq!(placed.folders, ["paritydb/parachains"]);
            assert_eq!(layout.finish().expect("a database").0, DatabaseKind::ParityDb);
        }
    }

    #[test]
    fn what_is_no_part_of_one_database_is_refused_by_name() {
        let mut layout = Layout::new(Some("polkadot".into()));
        place(&mut layout, "db/full/CURRENT", Some(1)).expect("a file");
        for (path, size, reason) in [
            ("README", Some(1), "no part of a database"),
            ("polkadot/README", Some(1), "no part of a database"),
            ("chains/polkadot/db", Some(1), "another database"),
            ("chains/ksmcc3/db/x", Some(1), "expected \"polkadot\""),
            ("polkadot/db/full/x", Some(1), "another database"),
            ("paritydb/full/metadata", Some(1), "another database"),
            ("chains", Some(1), "no part of a database"),
            ("chains/polkadot/keystore/x", Some(1), "keystore"),
            ("db", Some(1), "top folder"),
            ("", Some(0), ""),
        ] {
            match (place(&mut layout, path, size), reason) {
                (Err(error), reason) => assert!(error.contains(path) && error.contains(reason), "{path}: {error}"),
                (Ok(_), "") => {}
                (Ok(placed), _) => panic!("{path} was placed: {placed:?}"),
            }
        }
    }

    #[test]
    fn an_archive_without_what_opens_a_database_is_refused() {
        assert!(Layout::new(None).finish().is_err());
        let mut layout = Layout::new(None);
        place(&mut layout, "db/full/000007.sst", Some(1)).expect("a file");
        assert!(layout.finish().expect_err("no CURRENT").to_string().contains("db/full/CURRENT"));
    }
}
