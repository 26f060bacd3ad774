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
    let mut folders: HashSet<&str> = HashSet::from([top]);
    for folder in &index.directories {
        check_path(folder, top)?;
        folders.insert(folder);
        folders.extend(parents(folder));
    }
    if let Some(repeated) = first_repeated(index.directories.iter().map(String::as_str)) {
        return Err(format!("folder {repeated:?} is listed twice"));
    }
    for file in &index.files {
        check_path(&file.path, top)?;
        if !file.path.contains('/') {
            return Err(format!("file {:?} has the name of the top folder", file.path));
        }
        folders.extend(parents(&file.path));
    }
    let files: Vec<&str> = index.files.iter().map(|file| file.path.as_str()).collect();
    if let Some(repeated) = first_repeated(files.iter().copied()) {
        return Err(format!("file {repeated:?} is listed twice"));
    }
    if let Some(both) = files.iter().find(|path| folders.contains(*path)) {
        return Err(format!("{both:?} is a file and a folder"));
    }
    check_case(folders.iter().copied().chain(files))?;
    let mut sorted: Vec<String> = folders.into_iter().map(str::to_owned).collect();
    sorted.sort_unstable();
    Ok(sorted)
}

fn check_path(path: &str, top: &str) -> Result<(), String> {
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
    if depth > MAX_DEPTH {
        return refuse("is too deep");
    }
    if path.split('/').next() != Some(top) {
        return Err(format!("path {path:?} is not inside {top}/"));
    }
    Ok(())
}

fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

fn first_repeated<'a>(paths: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    paths.into_iter().find(|path| !seen.insert(*path))
}

/// Refuses two paths that a filesystem which ignores case would take for one.
fn check_case<'a>(paths: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for path in paths {
        if !seen.insert(path.to_lowercase()) {
            return Err(format!("path {path:?} differs from another one by upper and lower case only"));
        }
    }
    Ok(())
}
