//! One breakage: a file, a line's old text and its new one, and what must be found where.
//!
//! ```text
//! # Why it matters.
//! file: k8s/rendered/cluster.yaml
//! after: kind: StorageClass     (as often as needed: the old text is its first place after all of these)
//! old: reclaimPolicy: Delete
//! new: reclaimPolicy: Retain
//! finds: reclaimPolicy is Retain
//! at: name: polkashots          (only where the finding is not at the changed line: a part of its line)
//! ```
//!
//! `at: @FILE:TEXT` where it is in another file. A line end in `new` is written `\n`. A breakage whose old text is not there
//! any more fails: it would prove nothing.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use polkashots::check::{Code, Finding, Tree, check};

/// See the module.
#[derive(Debug, Default)]
pub struct Breakage {
    /// The file's name.
    pub name: String,
    file: String,
    after: Vec<String>,
    old: String,
    new: String,
    finds: String,
    at: Option<String>,
}

impl Breakage {
    /// Reads every breakage of a folder.
    pub fn all(folder: &Path) -> Result<Vec<Self>> {
        let mut paths: Vec<_> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        paths.sort();
        paths.iter().map(|path| Self::read(path).with_context(|| path.display().to_string())).collect()
    }

    fn read(path: &Path) -> Result<Self> {
        let mut read = Self { name: path.file_stem().unwrap_or_default().to_string_lossy().into(), ..Self::default() };
        let text = std::fs::read_to_string(path)?;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) =
                line.split_once(": ").or(line.strip_suffix(':').map(|key| (key, ""))).context("no colon")?;
            let value = value.replace("\\n", "\n");
            match key {
                "file" => read.file = value,
                "after" => read.after.push(value),
                "old" => read.old = value,
                "new" => read.new = value,
                "finds" => read.finds = value,
                "at" => read.at = Some(value),
                other => bail!("unknown key {other}"),
            }
        }
        ensure!(
            !read.file.is_empty() && !read.old.is_empty() && !read.finds.is_empty(),
            "file, old and finds are needed"
        );
        Ok(read)
    }

    /// Breaks the tree and looks for the finding.
    pub fn is_found(&self, tree: &Tree, code: &Code) -> Result<()> {
        let text = tree.text(&self.file).with_context(|| format!("{} is not there", self.file))?;
        let start = self.start(text)?;
        let broken = format!("{}{}{}", &text[..start], self.new, &text[start + self.old.len()..]);
        let line = 1 + broken[..start].matches('\n').count();
        let mut tree = tree.clone();
        tree.put(&self.file, broken);
        let findings = check(&tree, code);
        if findings.iter().any(|finding| self.fits(finding, line, &tree)) {
            return Ok(());
        }
        let all: Vec<_> = findings.iter().map(ToString::to_string).collect();
        bail!("expected at {}:{line} ({:?}) {:?}, found\n    {}", self.file, self.at, self.finds, all.join("\n    "))
    }

    fn start(&self, text: &str) -> Result<usize> {
        let mut from = 0;
        for mark in &self.after {
            let at = text[from..].find(mark.as_str()).with_context(|| format!("no {mark:?} in {}", self.file))?;
            from += at + mark.len();
        }
        let at = text[from..].find(&self.old);
        Ok(from + at.with_context(|| format!("no {:?} in {} any more: write it anew", self.old, self.file))?)
    }

    fn fits(&self, finding: &Finding, line: usize, tree: &Tree) -> bool {
        if !finding.what.contains(&self.finds) && !finding.expected.contains(&self.finds) {
            return false;
        }
        let Some(at) = &self.at else {
            return finding.file == self.file && finding.line == line;
        };
        let elsewhere = at.strip_prefix('@').and_then(|at| at.split_once(':'));
        let (file, part) = elsewhere.unwrap_or((&finding.file, at));
        let found = tree.text(&finding.file).and_then(|text| text.lines().nth(finding.line - 1));
        finding.file == file && found.is_some_and(|found| found.contains(part))
    }
}
