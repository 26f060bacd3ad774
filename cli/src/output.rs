//! What the command says: lines on standard output, errors with a hint on standard error, exit codes.

use std::error::Error;
use std::fmt::{self, Display};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use polkashots_shared::worker::error_chain;
use serde::Serialize;

/// Why the command ends; the numbers are documented in `--help` and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It failed for a reason of the machine, the network or the data.
    Failed = 1,
    /// The command line or the config file is wrong.
    Usage = 2,
    /// A signature, a hash, a genesis, a height or an age was refused.
    Refused = 3,
    /// The target, the snapshot or the database does not exist.
    NotFound = 4,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct CommandError {
    exit: Exit,
    doing: Option<String>,
    source: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl CommandError {
    /// An error that ends the command with `exit`.
    pub fn new(exit: Exit, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, doing: None, source: source.into(), hint: None }
    }

    /// A failure of the machine, the network or the data.
    pub fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Failed, source)
    }

    /// A wrong command line or config file.
    pub fn usage(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Usage, source)
    }

    /// Says what was being done.
    #[must_use]
    pub fn doing(mut self, what: impl Display) -> Self {
        self.doing = Some(what.to_string());
        self
    }

    /// Says what the person can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Writes `error: ...` and `hint: ...` on standard error, and gives the code to end with.
    pub fn report(&self) -> ExitCode {
        let mut err = std::io::stderr().lock();
        // Nobody is left to tell where standard error is gone.
        let _ = writeln!(err, "error: {self}");
        if let Some(hint) = &self.hint {
            let _ = writeln!(err, "hint: {hint}");
        }
        ExitCode::from(self.exit as u8)
    }
}

impl Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(doing) = &self.doing {
            write!(f, "{doing}: ")?;
        }
        f.write_str(&error_chain(self.source.as_ref()))
    }
}

impl Error for CommandError {}

/// Writes one line on standard output. A reader that went away (`| head`) ends the command quietly.
pub fn line(text: impl Display) {
    if writeln!(std::io::stdout().lock(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Writes a value as JSON, on several lines.
pub fn json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value).map_err(CommandError::failed)?;
    line(text);
    Ok(())
}

/// True where a person watches standard error.
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// A number of bytes as people read it: `12.3 MiB`.
pub fn bytes(count: u64) -> impl Display {
    indicatif::BinaryBytes(count)
}
