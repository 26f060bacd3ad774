//! What the system's errors mean for a store.

use std::io;

use rustix::io::Errno;

use crate::ports::object_store::StoreError;

/// The store's error for the system's: permanent where a person must act first, with what that is.
pub(super) fn failed(operation: &'static str, key: &str, error: io::Error) -> StoreError {
    let errno = Errno::from_io_error(&error);
    let key = key.to_owned();
    let Some(hint) = errno.and_then(hint) else {
        return StoreError::Transient { operation, key, source: error.into() };
    };
    let source = format!("{error}: {}", hint.text).into();
    if hint.passes {
        return StoreError::Transient { operation, key, source };
    }
    StoreError::Permanent { operation, key, source }
}

struct Hint {
    text: &'static str,
    /// True where redelivery finds it mended: a full disk is a state of the machine, not of the message.
    passes: bool,
}

fn hint(errno: Errno) -> Option<Hint> {
    let (text, passes) = match errno {
        Errno::NOSPC => ("the disk of the store is full: free space there, or keep fewer snapshots", true),
        Errno::DQUOT => ("the disk quota is used up: raise it, or keep fewer snapshots", true),
        Errno::MFILE | Errno::NFILE => ("too many open files: raise the limit (ulimit -n)", true),
        Errno::ACCESS | Errno::PERM => ("the user that runs this needs read and write access to the store", false),
        Errno::ROFS => ("the store is mounted read-only: mount it writable", false),
        Errno::NAMETOOLONG => ("a segment of the key is longer than the file system takes: shorten it", false),
        Errno::NOTDIR | Errno::LOOP => ("a file or a symbolic link is where a folder is needed: move it away", false),
        Errno::ISDIR => ("a folder is where the object belongs: move it away", false),
        Errno::OPNOTSUPP | Errno::NOLCK => {
            ("the file system lacks what the store needs: use ext4, XFS or btrfs", false)
        }
        _ => return None,
    };
    Some(Hint { text, passes })
}
