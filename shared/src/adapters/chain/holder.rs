//! Finds the process that has a chain database open.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::ids::DatabaseKind;
use crate::ports::chain_database::DatabaseLocation;

/// A process that has a chain database open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id; 0 where it runs in another container or on another host and has no id here.
    pub pid: u32,
    /// Its name, as `ps` shows it.
    pub name: String,
}

/// The process that holds the database's lock, `None` where nobody does.
///
/// Takes and releases no lock. A holder in another container is only seen for RocksDB: there the kernel can be asked
/// about the lock itself; ParityDB's kind of lock is only visible through its holder.
pub fn live_holder(location: &DatabaseLocation) -> Option<Holder> {
    let (file_name, class) = match location.kind {
        DatabaseKind::RocksDb => ("LOCK", "POSIX"),
        DatabaseKind::ParityDb => ("lock", "FLOCK"),
    };
    let path = location.full_dir().join(file_name);
    let metadata = std::fs::metadata(&path).ok()?;
    let file = FileId { device: metadata.dev(), inode: metadata.ino() };
    if let Some(pid) = listed_holder(file, class) {
        return Some(Holder { pid, name: process_name(pid) });
    }
    match location.kind {
        DatabaseKind::RocksDb => asked_holder(&path),
        DatabaseKind::ParityDb => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// The holder according to `/proc/locks`, which shows our own locks too.
fn listed_holder(file: FileId, class: &str) -> Option<u32> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().filter_map(parse).find(|lock| lock.class == class && lock.is_on(file)).map(|lock| lock.pid)
}

#[derive(Debug, PartialEq, Eq)]
struct Lock<'a> {
    class: &'a str,
    pid: u32,
    device: u64,
    inode: u64,
}

/// Parses a line like `3: POSIX  ADVISORY  WRITE 4711 fe:00:1312 0 EOF`; requests that wait (`->`) hold nothing.
fn parse(line: &str) -> Option<Lock<'_>> {
    let mut words = line.split_whitespace().skip(1);
    let class = words.next()?;
    let pid = words.nth(2)?.parse().ok()?;
    let mut file = words.next()?.split(':');
    let major = u32::from_str_radix(file.next()?, 16).ok()?;
    let minor = u32::from_str_radix(file.next()?, 16).ok()?;
    let inode = file.next()?.parse().ok()?;
    Some(Lock { class, pid, device: rustix::fs::makedev(major, minor), inode })
}

impl Lock<'_> {
    /// Btrfs and overlays show another device here than in the file's metadata, so the inode decides, and among files of
    /// the same inode the holder's open files do.
    fn is_on(&self, file: FileId) -> bool {
        self.inode == file.inode && (self.device == file.device || has_open(self.pid, file))
    }
}

/// True where the process has the file open, or where nobody may see what it has open.
fn has_open(pid: u32, file: FileId) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return true };
    descriptors
        .flatten()
        .filter_map(|descriptor| std::fs::metadata(descriptor.path()).ok())
        .any(|metadata| FileId { device: metadata.dev(), inode: metadata.ino() } == file)
}

fn process_name(pid: u32) -> String {
    let name = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/comm")));
    name.map_or_else(|_| "unknown".into(), |name| name.trim_end().to_owned())
}

/// The holder according to the kernel, for the kind of lock that can be asked for (`F_GETLK`).
///
/// Closing the file would release this process's own lock on it; but then [`listed_holder`] has answered already.
fn asked_holder(path: &Path) -> Option<Holder> {
    let file = File::open(path).ok()?;
    let blocking = fcntl_getlk(&file, &Flock::from(FlockType::ReadLock)).ok()??;
    let visible = blocking.pid.and_then(|pid| u32::try_from(pid.as_raw_pid()).ok());
    match visible {
        Some(pid) => Some(Holder { pid, name: process_name(pid) }),
        None => Some(Holder { pid: 0, name: "a process of another container or host".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_locks_is_parsed_and_a_waiting_request_is_not() {
        let lock = parse("3: POSIX  ADVISORY  WRITE 4711 fe:10:1312 0 EOF").expect("a lock");
        let device = rustix::fs::makedev(0xfe, 0x10);
        assert_eq!(lock, Lock { class: "POSIX", pid: 4711, device, inode: 1312 });
        assert_eq!(parse("3: -> POSIX  ADVISORY  WRITE 4712 fe:10:1312 0 EOF"), None);
        assert_eq!(parse(""), None);
    }
}
