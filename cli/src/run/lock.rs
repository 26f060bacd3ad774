//! One `run` per state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Held for as long as the service runs; the system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// Says why the state directory is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("state directory {} is in use by another polkashots (pid {pid})", path.display())]
    Busy {
        /// The state directory.
        path: PathBuf,
        /// The other process, as it wrote itself.
        pid: String,
    },
    /// The lock file cannot be used.
    #[error("lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The lock file's name inside the state directory.
const FILE: &str = "run.lock";

impl StateLock {
    /// Takes the state directory, which is made if it is not there.
    pub fn take(state_dir: &Path) -> Result<Self, LockError> {
        let path = state_dir.join(FILE);
        let io = |source| LockError::Io { path: path.clone(), source };
        std::fs::create_dir_all(state_dir).map_err(io)?;
        let mut file = open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Busy { path: state_dir.to_owned(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        write_pid(&mut file).map_err(io)?;
        Ok(Self { _file: file })
    }

    /// The process that holds the state directory, if one does.
    pub fn holder(state_dir: &Path) -> Option<String> {
        let mut file = File::open(state_dir.join(FILE)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read_pid(&mut file)),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_with_the_holders_pid_until_the_first_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(StateLock::holder(dir.path()), None);
        let first = StateLock::take(dir.path()).expect("free");
        let pid = std::process::id().to_string();
        assert_eq!(StateLock::holder(dir.path()), Some(pid.clone()));
        let refused = StateLock::take(dir.path()).expect_err("taken");
        assert!(matches!(&refused, LockError::Busy { pid: found, .. } if *found == pid), "{refused}");
        drop(first);
        assert!(StateLock::take(dir.path()).is_ok());
    }
}
