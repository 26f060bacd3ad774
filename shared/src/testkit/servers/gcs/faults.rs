//! What goes wrong on purpose.

use std::fmt;
use std::time::Duration;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// An object in one request, or a chunk of a resumable upload.
    Write,
    /// The bytes of an object.
    Read,
    /// What is known of an object.
    Get,
    /// A listing.
    List,
    /// An object out of others.
    Compose,
    /// A deletion.
    Delete,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What it asks for.
    pub operation: Operation,
    /// The object it names; the prefix of a listing.
    pub key: String,
}

/// One way in which a request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this HTTP status, or the gRPC code that stands for it, and does nothing.
    Status(u16),
    /// Breaks the connection, having done nothing.
    Reset,
    /// Does what was asked and breaks the connection before the answer.
    LoseAnswer,
    /// Changes a byte of what arrived.
    FlipBit,
    /// Does what was asked and reports another checksum.
    ReportWrongCrc,
}

type Applies = Box<dyn Fn(&Call) -> bool + Send>;

/// The faults to come.
#[derive(Default)]
pub struct Faults {
    nth: u64,
    cycle: Vec<Fault>,
    next: Vec<(Fault, Applies)>,
    seen: u64,
    injected: u64,
    delay: Duration,
}

impl Faults {
    /// Every `nth` request from now on gets one of `faults` in turn.
    pub fn every(&mut self, nth: u64, faults: &[Fault]) {
        (self.nth, self.cycle, self.seen) = (nth, faults.to_vec(), 0);
    }

    /// One request gets `fault`.
    pub fn next(&mut self, fault: Fault, applies: Applies) {
        self.next.push((fault, applies));
    }

    /// Delays every answer.
    pub fn slow_down(&mut self, by: Duration) {
        self.delay = by;
    }

    /// How long every answer is delayed.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// How many faults there were.
    pub fn injected(&self) -> u64 {
        self.injected
    }

    /// What goes wrong with this call, if anything.
    pub fn of(&mut self, call: &Call) -> Option<Fault> {
        let fault = self.of_next(call).or_else(|| self.of_cycle());
        self.injected += u64::from(fault.is_some());
        fault
    }

    fn of_next(&mut self, call: &Call) -> Option<Fault> {
        let at = self.next.iter().position(|(_, applies)| applies(call))?;
        Some(self.next.remove(at).0)
    }

    fn of_cycle(&mut self) -> Option<Fault> {
        self.seen += 1;
        if self.cycle.is_empty() || !self.seen.is_multiple_of(self.nth) {
            return None;
        }
        let turn = (self.seen / self.nth - 1) % self.cycle.len() as u64;
        usize::try_from(turn).ok().and_then(|turn| self.cycle.get(turn).copied())
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("cycle", &self.cycle).field("injected", &self.injected).finish_non_exhaustive()
    }
}
