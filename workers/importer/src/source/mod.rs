//! Reading published files, over the web or from this machine, with limits on everything.

mod file;
mod http;
mod location;
mod retry;

use std::ops::Range;

use bytes::Bytes;
use futures::stream::BoxStream;

pub use location::Location;
pub use retry::Attempts;

use crate::request::Transfer;

/// Reads published files.
#[derive(Debug)]
pub struct Source {
    http: http::Http,
    transfer: Transfer,
}

/// A small file, and where it was found in the end.
#[derive(Debug)]
pub struct Fetched {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Its address after all redirects.
    pub location: Location,
}

/// Part of a file, as it comes in.
pub struct Body {
    /// False where the server sends the whole file whatever range it was asked for.
    pub ranged: bool,
    /// The bytes, in chunks of any size.
    pub chunks: BoxStream<'static, Result<Bytes, SourceError>>,
}

/// A file of unknown size, as it comes in.
pub struct Whole {
    /// Which byte comes first: the one asked for, or 0 where the server sends everything.
    pub start: u64,
    /// All bytes of the file, where the server says how many those are.
    pub size: Option<u64>,
    /// What says that a file is still the same one; `None` where the server says nothing of the kind.
    pub validator: Option<String>,
    /// The bytes, in chunks of any size.
    pub chunks: BoxStream<'static, Result<Bytes, SourceError>>,
}

impl Source {
    /// A reader that follows `transfer`.
    pub fn new(transfer: Transfer) -> Self {
        Self { http: http::Http::new(&transfer), transfer }
    }

    /// A new series of attempts, as the settings have it.
    pub fn attempts(&self) -> Attempts {
        Attempts::new(&self.transfer)
    }

    /// Reads a file whole, of at most `max_bytes`.
    pub async fn get(&self, location: &Location, max_bytes: u64) -> Result<Fetched, SourceError> {
        let mut attempts = self.attempts();
        loop {
            let result = match location {
                Location::File(path) => file::get(path, max_bytes).await,
                Location::Http(url) => self.http.get(url, max_bytes).await,
            };
            match result {
                Ok(fetched) => return Ok(fetched),
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// Starts to read `range` of a file of `size` bytes; once, without another attempt.
    pub async fn open(&self, location: &Location, range: Range<u64>, size: u64) -> Result<Body, SourceError> {
        match location {
            Location::File(path) => file::open(path, range, size).await,
            Location::Http(url) => self.http.open(url, range, size).await,
        }
    }

    /// Starts to read a file from byte `from` to its end; once, without another attempt.
    ///
    /// Whoever goes on in the middle says by `validator` of which file that is.
    pub async fn open_whole(
        &self,
        location: &Location,
        from: u64,
        validator: Option<&str>,
    ) -> Result<Whole, SourceError> {
        match location {
            Location::File(path) => file::open_whole(path, from).await,
            Location::Http(url) => self.http.open_whole(url, from, validator).await,
        }
    }
}

/// Says why a published file was not read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address cannot be used.
    #[error("address {address:?}: {reason}: expected http://, https://, file:// or a path")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such file.
    #[error("{location}: not found")]
    NotFound {
        /// The address.
        location: String,
    },
    /// The file is larger than such a file may be.
    #[error("{location}: larger than {max_bytes} bytes, the most that is read of such a file")]
    TooLarge {
        /// The address.
        location: String,
        /// The limit.
        max_bytes: u64,
    },
    /// The file is not as large as the signed manifest says.
    #[error("{location}: has {found_bytes} bytes, the signed manifest says {expected_bytes}")]
    WrongSize {
        /// The address.
        location: String,
        /// The size that the manifest states.
        expected_bytes: u64,
        /// The size found.
        found_bytes: u64,
    },
    /// A redirect leads where none may lead.
    #[error("{location}: redirect refused: {reason}")]
    Redirect {
        /// The address.
        location: String,
        /// Why.
        reason: String,
    },
    /// The server refused, and would again.
    #[error("{location}: server answers {status}")]
    Refused {
        /// The address.
        location: String,
        /// The status line.
        status: String,
    },
    /// The server's answer contradicts itself or the question.
    #[error("{location}: {reason}")]
    Protocol {
        /// The address.
        location: String,
        /// What was expected and found.
        reason: String,
    },
    /// A later attempt may succeed.
    #[error("{location}: {reason}")]
    Transient {
        /// The address.
        location: String,
        /// What went wrong.
        reason: String,
        /// How long the server asked to be left alone.
        retry_after: Option<std::time::Duration>,
    },
    /// Too few bytes came in too long a time; a later attempt may do better.
    #[error("{location}: only {bytes} bytes came in {seconds} s")]
    Stalled {
        /// The address.
        location: String,
        /// The bytes.
        bytes: u64,
        /// The time.
        seconds: u64,
    },
    /// No attempt succeeded.
    #[error("{attempts} attempts without progress, the last: {last}")]
    GivenUp {
        /// How many.
        attempts: u32,
        /// What went wrong at the last one.
        last: Box<SourceError>,
    },
    /// The file is on this machine and cannot be read.
    #[error("{location}: {source}")]
    Io {
        /// The path.
        location: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The web client cannot be made.
    #[error("make the web client: {0}: are the system's CA certificates installed (package ca-certificates)?")]
    Client(String),
}

impl SourceError {
    /// True where the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. } | Self::Stalled { .. })
    }

    /// True where the network or the server is to blame, not what was published.
    pub fn is_network(&self) -> bool {
        matches!(
            self,
            Self::Transient { .. }
                | Self::Stalled { .. }
                | Self::GivenUp { .. }
                | Self::Refused { .. }
                | Self::NotFound { .. }
                | Self::Client(_)
        )
    }
}
