//! The queue file: its tables, its version, and what SQLite's errors mean for a person.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::ports::queue::QueueError;

/// `PRAGMA application_id`: "PSHQ".
const APPLICATION_ID: i64 = 0x5053_4851;
/// `PRAGMA user_version` of this layout.
const VERSION: i64 = 1;
/// How long a transaction waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Times are microseconds since 1970. `span_us` is how long the copy was to stay invisible when that was last decided.
/// `receipt` is there while a lease lasts. Attributes are a JSON object of strings.
const TABLES: &str = "
    CREATE TABLE subscriptions (
        name TEXT PRIMARY KEY,
        topic TEXT NOT NULL,
        target TEXT
    ) STRICT;
    CREATE TABLE messages (
        copy_id INTEGER PRIMARY KEY AUTOINCREMENT,
        subscription TEXT NOT NULL REFERENCES subscriptions (name) ON DELETE CASCADE,
        message_id TEXT NOT NULL,
        attributes TEXT NOT NULL,
        data BLOB NOT NULL,
        published_at_us INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        visible_at_us INTEGER NOT NULL,
        span_us INTEGER NOT NULL DEFAULT 0,
        receipt TEXT
    ) STRICT;
    CREATE INDEX messages_by_visibility ON messages (subscription, visible_at_us);
    CREATE TABLE dead_letters (
        letter_id INTEGER PRIMARY KEY AUTOINCREMENT,
        subscription TEXT NOT NULL,
        topic TEXT NOT NULL,
        message_id TEXT NOT NULL,
        attributes TEXT NOT NULL,
        data BLOB NOT NULL,
        published_at_us INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        reason TEXT NOT NULL,
        died_at_us INTEGER NOT NULL
    ) STRICT;
";

/// Opens the queue file and brings an empty one to the present layout.
pub(super) fn open(path: &Path) -> Result<Connection, QueueError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|error| failed(path, error))?;
    prepare(&mut connection).map_err(|error| failed(path, error))?.map_err(|reason| permanent(path, reason))?;
    Ok(connection)
}

/// Makes or checks the tables; the inner error is a file of another kind or version.
fn prepare(connection: &mut Connection) -> rusqlite::Result<Result<(), String>> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let application: i64 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables == 0 => {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        (APPLICATION_ID, VERSION) => {}
        (APPLICATION_ID, newer) if newer > VERSION => {
            return Ok(Err(format!("queue of version {newer}, expected {VERSION} or older: update polkashots")));
        }
        _ => return Ok(Err("a database of something else, expected a polkashots queue: set another path".into())),
    }
    transaction.commit()?;
    // Only now, so that a file of something else is left as it was.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    Ok(Ok(()))
}

/// The queue's error for SQLite's, with the file's name and what a person can do.
pub(super) fn failed(path: &Path, error: rusqlite::Error) -> QueueError {
    let code = error.sqlite_error_code();
    let Some((hint, passes)) = code.and_then(hint) else { return permanent(path, error.to_string()) };
    let reason = if hint.is_empty() { error.to_string() } else { format!("{error}: {hint}") };
    if passes {
        return QueueError::Transient { queue: path.display().to_string(), source: reason.into() };
    }
    permanent(path, reason)
}

fn permanent(path: &Path, reason: String) -> QueueError {
    QueueError::Permanent { queue: path.display().to_string(), source: reason.into() }
}

/// What a person can do, and whether a later call may succeed without it.
fn hint(code: ErrorCode) -> Option<(&'static str, bool)> {
    Some(match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            ("another process holds the file locked: end it if it is no polkashots", true)
        }
        ErrorCode::DiskFull => ("free space on its disk", true),
        ErrorCode::SystemIoFailure => ("check its disk", true),
        ErrorCode::OutOfMemory | ErrorCode::OperationInterrupted => ("", true),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            ("the user that runs this needs write access to the file and its folder", false)
        }
        ErrorCode::CannotOpen => ("expected an existing folder that this user may write to", false),
        ErrorCode::DatabaseCorrupt => {
            ("the file is damaged: stop, move it and its -wal away, start, and trigger what is missing", false)
        }
        ErrorCode::NotADatabase => ("expected a polkashots queue: set another path", false),
        _ => return None,
    })
}
