//! What the check found, and where.

use std::fmt;

use serde::Serialize;

/// One inconsistency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file, from the repository's top.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// What is there.
    pub what: String,
    /// What should be there.
    pub expected: String,
    /// What a person can do.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, what, expected, fix } = self;
        write!(f, "{file}:{line}: {what}; expected {expected}; {fix}")
    }
}

/// Collects findings.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Adds what is wrong at a line of a file.
    pub(super) fn add(
        &mut self,
        at: (&str, usize),
        what: impl Into<String>,
        expected: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let (file, line) = at;
        self.findings.push(Finding {
            file: file.to_owned(),
            line,
            what: what.into(),
            expected: expected.into(),
            fix: fix.into(),
        });
    }

    /// Everything that was found, by file and line, each once.
    pub(super) fn into_findings(mut self) -> Vec<Finding> {
        self.findings.sort();
        self.findings.dedup();
        self.findings
    }
}
