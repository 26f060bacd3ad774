//! What a restore says of itself while it works.

use std::time::Duration;

/// Hears of progress. Calls come from one task and at most every [`INTERVAL`], but for changes of the phase, which always come.
pub trait Progress: Send + Sync {
    /// Takes one report.
    fn update(&self, update: &Update);
}

/// The shortest time between two reports of the same phase.
pub const INTERVAL: Duration = Duration::from_millis(100);

/// One report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// What is being done.
    pub phase: Phase,
    /// How much of it is done: bytes of the archive, or files where [`Phase::counts_bytes`] is false.
    pub done: u64,
    /// How much there is to do; 0 where that is not known.
    pub total: u64,
    /// How much of `done` was done by an earlier, interrupted run.
    pub resumed: u64,
}

impl Update {
    /// The first report of a phase of which nothing is known yet.
    pub fn start(phase: Phase) -> Self {
        Self { phase, done: 0, total: 0, resumed: 0 }
    }
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Finding the snapshot and checking its signature.
    Resolve,
    /// Removing the database that the new one replaces.
    Remove,
    /// Making folders and empty files; counts files.
    Prepare,
    /// Reading what is there and comparing it with the snapshot; counts bytes.
    Compare,
    /// Fetching, verifying, decompressing and writing; counts compressed bytes.
    Transfer,
    /// Reading and checking the artifacts of a snapshot; counts their bytes.
    Verify,
    /// Making one database of the old one and of what was fetched; counts files.
    Switch,
    /// Making everything durable; counts files.
    Finish,
}

impl Phase {
    /// A word for it, as JSON lines carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Remove => "remove",
            Self::Prepare => "prepare",
            Self::Compare => "compare",
            Self::Transfer => "transfer",
            Self::Verify => "verify",
            Self::Switch => "switch",
            Self::Finish => "finish",
        }
    }

    /// True where `done` and `total` are bytes.
    pub fn counts_bytes(self) -> bool {
        matches!(self, Self::Compare | Self::Transfer | Self::Verify)
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn update(&self, _: &Update) {}
}
