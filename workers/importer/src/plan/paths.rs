//! Which paths may be restored: those of a chain database, and nothing that could mean another place.

use std::collections::HashSet;

use polkashots_shared::frames::FramesIndex;

const MAX_PATH_BYTES: usize = 1024;
const MAX_NAME_BYTES: usize = 255;
const MAX_DEPTH: usize = 32;
/// Folders of a node that no database has.
const FOREIGN: [&str; 2] = ["keystore", "network"];

/// Checks every path; gives all folders, those that only files imply included, parents first.
pub fn check(index: &FramesIndex, top: &str) -> Result<Vec<String>, String> {
    let mut paths = Paths::new(top);
    for folder in &index.directories {
        paths.add_folder(folder)?;
    }
    for file in &index.files {
        paths.add_file(&file.path)?;
    }
    paths.folders.insert(top.to_owned());
    let mut sorted: Vec<String> = paths.folders.into_iter().collect();
    sorted.sort_unstable();
    Ok(sorted)
}

/// The paths of one database, each checked by itself and against all before it.
#[derive(Debug)]
pub struct Paths {
    top: String,
    folders: HashSet<String>,
    /// The folders that were named, not only implied by what is in them.
    named: HashSet<String>,
    files: HashSet<String>,
    /// Every path in lower case.
    lower: HashSet<String>,
}

impl Paths {
    /// No paths yet, all to be inside the folder `top`.
    pub fn new(top: &str) -> Self {
        let (folders, named, files, lower) = Default::default();
        Self { top: top.to_owned(), folders, named, files, lower }
    }

    /// Takes a folder; gives those that are new with it, parents first, itself last.
    pub fn add_folder(&mut self, path: &str) -> Result<Vec<String>, String> {
        check_path(path, &self.top)?;
        if !self.named.insert(path.to_owned()) {
            return Err(format!("folder {path:?} is listed twice"));
        }
        self.enter(parents(path).chain([path]))
    }

    /// Takes a file; gives the folders that are new with it, parents first.
    pub fn add_file(&mut self, path: &str) -> Result<Vec<String>, String> {
        check_path(path, &self.top)?;
        if !path.contains('/') {
            return Err(format!("file {path:?} has the name of the top folder"));
        }
        if self.folders.contains(path) {
            return Err(format!("{path:?} is a file and a folder"));
        }
        if !self.files.insert(path.to_owned()) {
            return Err(format!("file {path:?} is listed twice"));
        }
        let folders = self.enter(parents(path))?;
        self.check_case(path)?;
        Ok(folders)
    }

    /// The folders, in no order.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.folders.iter().map(String::as_str)
    }

    /// The files, in no order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// True where that file was taken.
    pub fn has_file(&self, path: &str) -> bool {
        self.files.contains(path)
    }

    fn enter<'a>(&mut self, folders: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
        let mut new = Vec::new();
        for folder in folders.filter(|folder| !self.folders.contains(*folder)).collect::<Vec<_>>() {
            if self.files.contains(folder) {
                return Err(format!("{folder:?} is a file and a folder"));
            }
            self.check_case(folder)?;
            self.folders.insert(folder.to_owned());
            new.push(folder.to_owned());
        }
        Ok(new)
    }

    /// Refuses a path that a filesystem which ignores case would take for another one.
    fn check_case(&mut self, path: &str) -> Result<(), String> {
        match self.lower.insert(path.to_lowercase()) {
            true => Ok(()),
            false => Err(format!("path {path:?} differs from another one by upper and lower case only")),
        }
    }
}

fn check_path(path: &str, top: &str) -> Result<(), String> {
    check_form(path)?;
    match path.split('/').next() == Some(top) {
        true => Ok(()),
        false => Err(format!("path {path:?} is not inside {top}/")),
    }
}

/// Refuses a path that could mean another place, or one that no database has, wherever it starts.
pub fn check_form(path: &str) -> Result<(), String> {
    let refuse = |reason: &str| Err(format!("path {:?} {reason}", path.chars().take(120).collect::<String>()));
    if path.len() > MAX_PATH_BYTES {
        return refuse("is too long");
    }
    if path.chars().any(|c| c.is_control() || c == '\\') {
        return refuse("has a control character or a backslash");
    }
    if path.starts_with('/') {
        return refuse("is absolute");
    }
    let mut depth = 0;
    for segment in path.split('/') {
        depth += 1;
        match segment {
            "" | "." | ".." => return refuse("has an empty, . or .. segment"),
            name if name.len() > MAX_NAME_BYTES => return refuse("has a segment that is too long"),
            name if FOREIGN.iter().any(|foreign| foreign.eq_ignore_ascii_case(name)) => {
                return refuse("is inside a keystore or network folder, which no database has");
            }
            _ => {}
        }
    }
    match depth > MAX_DEPTH {
        true => refuse("is too deep"),
        false => Ok(()),
    }
}

fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}
