//! A directory that a web server serves: a symbolic link that one rename points to the new site.
//!
//! `<path>` is the link; the sites lie beside it in `.<name>.sites/<digest>/`. The newest two stay, so that a visitor whose
//! request began before the swap still reads whole files. `_site.json` in the site's root holds redirects and headers.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use polkashots_shared::ids::Sha256;
use tracing::{info, warn};

use crate::host::{HostError, SiteHost};
use crate::site::RenderedSite;

/// The file in the site's root that tells a server of redirects and headers; not to be served itself.
pub const SITE_FILE: &str = "_site.json";
/// What a killed deploy left is removed at this age.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);
/// What the folder of an unfinished deploy starts with.
const UNFINISHED: &str = ".new-";

/// Serves the site from a directory.
#[derive(Debug, Clone)]
pub struct DirectoryHost {
    link: PathBuf,
    sites: PathBuf,
}

impl DirectoryHost {
    /// A host that serves at `path`, which must be free, an empty directory, or a link of an earlier deploy.
    pub fn open(path: &Path) -> Result<Self, HostError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(permanent("open site directory", path, "expected a path with a name, as in /srv/site"));
        };
        let host = Self { link: path.to_owned(), sites: parent.join(format!(".{}.sites", name.to_string_lossy())) };
        fs::create_dir_all(&host.sites).map_err(|error| io("create", &host.sites, error))?;
        host.make_way()?;
        Ok(host)
    }

    /// The directory that a web server serves.
    pub fn path(&self) -> &Path {
        &self.link
    }

    /// Removes an empty directory where the link will be; refuses anything else that is not a link.
    fn make_way(&self) -> Result<(), HostError> {
        let Ok(found) = fs::symlink_metadata(&self.link) else { return Ok(()) };
        if found.is_symlink() {
            return Ok(());
        }
        fs::remove_dir(&self.link).map_err(|error| {
            let reason = format!("expected nothing, an empty directory or a link of an earlier deploy: {error}");
            permanent("open site directory", &self.link, &reason)
        })
    }

    fn current_now(&self) -> Result<Option<Sha256>, HostError> {
        let target = match fs::read_link(&self.link) {
            Ok(target) => target,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("read link", &self.link, error)),
        };
        if !self.link.join(SITE_FILE).is_file() {
            return Ok(None);
        }
        Ok(target.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()))
    }

    fn deploy_now(&self, site: &RenderedSite) -> Result<(), HostError> {
        let digest = site.digest().to_string();
        let folder = self.sites.join(&digest);
        if !folder.join(SITE_FILE).is_file() {
            self.write_site(site, &folder)?;
        }
        self.point_to(&digest)?;
        info!(path = %self.link.display(), files = site.files.len(), digest, "site deployed");
        self.clean(&digest);
        Ok(())
    }

    /// Writes a whole site under a temporary name, makes it durable, then gives it its name.
    fn write_site(&self, site: &RenderedSite, folder: &Path) -> Result<(), HostError> {
        let unfinished = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(&self.sites)
            .map_err(|error| io("create in", &self.sites, error))?;
        for (path, bytes) in &site.files {
            write_durably(&unfinished.path().join(path), bytes)?;
        }
        write_durably(&unfinished.path().join(SITE_FILE), &site.site_json())?;
        match fs::rename(unfinished.path(), folder) {
            Ok(()) => sync_directory(&self.sites),
            // Another deploy of the same site was faster.
            Err(_) if folder.join(SITE_FILE).is_file() => Ok(()),
            Err(error) => Err(io("rename to", folder, error)),
        }
    }

    fn point_to(&self, digest: &str) -> Result<(), HostError> {
        let parent = self.link.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let sites = Path::new(self.sites.file_name().unwrap_or_default());
        let staging = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.sites)
            .map_err(|error| io("create in", &self.sites, error))?;
        let new_link = staging.path().join("link");
        symlink(sites.join(digest), &new_link).map_err(|error| io("link", &new_link, error))?;
        fs::rename(&new_link, &self.link).map_err(|error| io("rename to", &self.link, error))?;
        sync_directory(parent)
    }

    /// Removes all sites but the current and the newest other; what cannot be removed waits for the next deploy.
    fn clean(&self, current: &str) {
        let Ok(entries) = fs::read_dir(&self.sites) else { return };
        let mut old = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let modified = entry.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let leftover = name.starts_with(UNFINISHED);
            let young = modified.elapsed().is_ok_and(|age| age < LEFTOVER_AGE);
            if name != current && !(leftover && young) {
                old.push((leftover, modified, entry.path()));
            }
        }
        old.sort();
        if old.last().is_some_and(|(leftover, ..)| !leftover) {
            old.sort_by_key(|(leftover, modified, _)| (!leftover, *modified));
            old.pop();
        }
        for (_, _, path) in old {
            if let Err(error) = fs::remove_dir_all(&path) {
                warn!(path = %path.display(), %error, "old site not removed");
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        let host = self.clone();
        match tokio::task::spawn_blocking(move || work(&host)).await {
            Ok(done) => done,
            Err(error) => Err(permanent("deploy", &self.link, &error.to_string())),
        }
    }
}

#[async_trait]
impl SiteHost for DirectoryHost {
    async fn current(&self) -> Result<Option<Sha256>, HostError> {
        self.blocking(Self::current_now).await
    }

    async fn deploy(&self, site: &RenderedSite) -> Result<(), HostError> {
        let site = site.clone();
        self.blocking(move |host| host.deploy_now(&site)).await
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), HostError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| io("create", parent, error))?;
    }
    let written = fs::File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| io("write", path, error))
}

fn sync_directory(path: &Path) -> Result<(), HostError> {
    fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(|error| io("sync", path, error))
}

fn io(operation: &'static str, path: &Path, error: std::io::Error) -> HostError {
    let subject = path.display().to_string();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            HostError::Permanent { operation, subject, source: error.into() }
        }
        _ => HostError::Transient { operation, subject, source: error.into() },
    }
}

fn permanent(operation: &'static str, path: &Path, reason: &str) -> HostError {
    HostError::Permanent { operation, subject: path.display().to_string(), source: reason.into() }
}
