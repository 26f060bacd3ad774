//! The files that are compared, each parsed once.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dockerfile::{self, Instruction};
use super::finding::Report;
use super::{hcl, yaml};

/// The folders that are read, from the repository's top.
const FOLDERS: [&str; 4] = ["terraform", "k8s", "docker", "schemas"];
/// What lies in them and is no part of what is applied.
const LEFT_OUT: [&str; 2] = ["terraform/tests/", "terraform/.terraform/"];
/// Files outside of them that something is compared with.
const SINGLE: [&str; 1] = ["rust-toolchain.toml"];

/// Why there is nothing to check.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The folder has none of the files.
    #[error("{dir} has no {missing}/: expected the top of a checkout, with terraform/, k8s/ and docker/")]
    NotATree {
        /// What was given.
        dir: PathBuf,
        /// The first folder that is not there.
        missing: &'static str,
    },
    /// A file or folder could not be read.
    #[error("read {path}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Every file that is compared, by its path from the repository's top.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    files: BTreeMap<String, Arc<File>>,
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
    parsed: Parsed,
}

#[derive(Debug)]
enum Parsed {
    Yaml(Vec<yaml::Node>),
    Hcl(hcl::Body),
    Docker(Vec<Instruction>),
    Text,
    Broken { line: usize, problem: String, language: &'static str },
}

impl Tree {
    /// Reads `terraform/`, `k8s/`, `docker/` and `schemas/` of a checkout.
    pub fn read(dir: &Path) -> Result<Self, TreeError> {
        let mut tree = Self::default();
        for folder in FOLDERS {
            if !dir.join(folder).is_dir() {
                return Err(TreeError::NotATree { dir: dir.to_owned(), missing: folder });
            }
            tree.read_folder(dir, Path::new(folder))?;
        }
        for path in SINGLE {
            if let Ok(text) = std::fs::read_to_string(dir.join(path)) {
                tree.put(path, text);
            }
        }
        Ok(tree)
    }

    fn read_folder(&mut self, dir: &Path, folder: &Path) -> Result<(), TreeError> {
        let unreadable = |path: PathBuf| move |source| TreeError::Unreadable { path, source };
        let full = dir.join(folder);
        for entry in std::fs::read_dir(&full).map_err(unreadable(full.clone()))? {
            let entry = entry.map_err(unreadable(full.clone()))?;
            let path = folder.join(entry.file_name());
            let name = path.to_string_lossy().replace('\\', "/");
            if LEFT_OUT.iter().any(|prefix| format!("{name}/").starts_with(prefix)) {
                continue;
            }
            let kind = entry.file_type().map_err(unreadable(entry.path()))?;
            if kind.is_dir() {
                self.read_folder(dir, &path)?;
            } else if kind.is_file() {
                // What is no text is nothing that could be compared.
                match std::fs::read_to_string(entry.path()) {
                    Ok(text) => self.put(&name, text),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                    Err(source) => {
                        return Err(TreeError::Unreadable { path: entry.path(), source });
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts a text in the place of a file, or beside the others.
    pub fn put(&mut self, path: &str, text: String) {
        let parsed = parse(path, &text);
        self.files.insert(path.to_owned(), Arc::new(File { path: path.to_owned(), text, parsed }));
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(|file| file.text.as_str())
    }

    /// The files below a folder, or the one of that name.
    pub(super) fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.values().map(AsRef::as_ref).filter(move |file| file.path.starts_with(prefix))
    }

    /// The YAML files below a folder.
    pub(super) fn yaml<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [yaml::Node])> {
        self.under(prefix).filter_map(|file| match &file.parsed {
            Parsed::Yaml(documents) => Some((file.path.as_str(), documents.as_slice())),
            _ => None,
        })
    }

    /// The Terraform files below a folder.
    pub(super) fn hcl<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a hcl::Body)> {
        self.under(prefix).filter_map(|file| match &file.parsed {
            Parsed::Hcl(body) => Some((file.path.as_str(), body)),
            _ => None,
        })
    }

    /// The Dockerfiles.
    pub(super) fn dockerfiles(&self) -> impl Iterator<Item = (&str, &[Instruction])> {
        self.under("docker/").filter_map(|file| match &file.parsed {
            Parsed::Docker(instructions) => Some((file.path.as_str(), instructions.as_slice())),
            _ => None,
        })
    }

    /// Every resource of a type, with its file.
    pub(super) fn resources<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a hcl::Block)> {
        self.hcl("terraform/").flat_map(move |(path, body)| {
            body.blocks_of("resource").filter(move |block| block.label(0) == kind).map(move |block| (path, block))
        })
    }

    /// A name of a `locals` block of a folder, with its file.
    pub(super) fn local<'a>(&'a self, folder: &'a str, name: &str) -> Option<(&'a str, &'a hcl::Expr)> {
        let files = self.hcl(folder).filter(|(path, _)| path.rsplit_once('/').is_some_and(|(dir, _)| dir == folder));
        let mut found = files.flat_map(|(path, body)| {
            body.blocks_of("locals").filter_map(move |block| Some((path, block.body.get(name)?)))
        });
        found.next()
    }

    /// Reports what could not be parsed.
    pub(super) fn broken(&self, report: &mut Report) {
        for file in self.files.values() {
            if let Parsed::Broken { line, problem, language } = &file.parsed {
                report.add((&file.path, *line), problem, format!("{language} that can be parsed"), "correct the line");
            }
        }
    }
}

impl File {
    /// The number of the first line that holds a text; 1 where none does.
    pub(super) fn line_of(&self, needle: &str) -> usize {
        1 + self.text.lines().position(|line| line.contains(needle)).unwrap_or(0)
    }
}

fn parse(path: &str, text: &str) -> Parsed {
    let name = path.rsplit('/').next().unwrap_or(path);
    // A helm chart's templates are no YAML until they are filled in.
    if path.contains("/chart/") {
        return Parsed::Text;
    }
    if name.ends_with(".tf") {
        return match hcl::parse(text) {
            Ok(body) => Parsed::Hcl(body),
            Err(error) => Parsed::Broken { line: error.line, problem: error.to_string(), language: "HCL" },
        };
    }
    if name.ends_with(".yaml") || name.ends_with(".yml") {
        return match yaml::parse(text) {
            Ok(documents) => Parsed::Yaml(documents),
            Err(error) => Parsed::Broken { line: error.line, problem: error.to_string(), language: "YAML" },
        };
    }
    if name == "Dockerfile" || name.ends_with(".Dockerfile") {
        return Parsed::Docker(dockerfile::parse(text));
    }
    Parsed::Text
}
