//! What is wrong with a config file, said so that a person can mend it: file, line, key, value, what was expected.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Says why a config file is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not valid; every problem is on its own line.
    #[error("{}", Lines(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong in a config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; 0 where the problem has no place in the text.
    pub line: usize,
    /// Key, value, and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.path.display(), self.message);
        }
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// Turns places in a text into lines.
pub(super) struct Positions<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> Positions<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text }
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        self.path
    }

    /// A problem at a span of the text.
    pub(super) fn problem(&self, span: Option<Range<usize>>, message: impl Into<String>) -> Problem {
        let line = span.map_or(0, |span| self.line_of(span.start));
        Problem { path: self.path.to_owned(), line, message: message.into() }
    }

    /// The line of the text in which a span starts, without its comment and the blanks around it.
    pub(super) fn text_of_line(&self, span: &Range<usize>) -> &'a str {
        let line = self.text.lines().nth(self.line_of(span.start).saturating_sub(1)).unwrap_or_default();
        line.trim()
    }

    fn line_of(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// The known name that is nearest to `name`, if it is near enough to be a slip of the fingers.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = name.chars().count().div_ceil(3);
    known
        .into_iter()
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed || candidate.replace('_', "-") == name)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many single-character edits turn one word into the other (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let known = ["schedule", "store_dir", "state_dir", "keep"];
        assert_eq!(nearest("scedule", known), Some("schedule"));
        assert_eq!(nearest("store-dir", known), Some("store_dir"));
        assert_eq!(nearest("colour", known), None);
    }
}
