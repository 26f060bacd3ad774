//! Listing: a walk over the folders that a prefix allows.

use std::os::fd::OwnedFd;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::error::failed;
use super::root::{self, Root};
use crate::ports::object_store::{ObjectMeta, StoreError, check_key};

/// Every object whose key starts with `prefix`, ordered by key.
pub(super) fn list(root: &Root, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
    let mut objects = Vec::new();
    walk("", &root.dir("list")?, prefix, &mut objects)?;
    objects.sort_unstable_by(|a: &ObjectMeta, b: &ObjectMeta| a.key.cmp(&b.key));
    Ok(objects)
}

/// Collects what lies in the folder whose keys start with `path`; open folders are as many as a key has segments.
fn walk(path: &str, folder: &OwnedFd, prefix: &str, objects: &mut Vec<ObjectMeta>) -> Result<(), StoreError> {
    let report = |error: Errno| failed("list", if path.is_empty() { prefix } else { path }, error.into());
    for name in root::names(folder).map_err(report)? {
        let key = format!("{path}{name}");
        let Some(stat) = root::stat(folder, &name).map_err(report)? else { continue };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if key.starts_with(prefix) && check_key(&key).is_ok() => {
                objects.push(root::meta(&key, &stat));
            }
            FileType::Directory if key != root::UPLOADS && check_key(&key).is_ok() => {
                let below = format!("{key}/");
                if !below.starts_with(prefix) && !prefix.starts_with(&below) {
                    continue;
                }
                if let Some(folder) = root::sub_folder(folder, &name).map_err(report)? {
                    walk(&below, &folder, prefix, objects)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
