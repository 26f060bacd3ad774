//! `polkashots check`: what a person or a pipeline calls.

use std::io;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::plan::Plan;
use super::{Code, Finding, Tree, check, check_overlay};
use crate::output::{self, CommandError, Exit};

/// Checks a checkout; changes nothing.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The top of the checkout
    #[arg(default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// What `terraform show -json` says of a saved plan: checks what it will apply, too; can be given again
    #[arg(long, env = "POLKASHOTS_CHECK_PLAN", value_name = "FILE")]
    pub plan: Vec<PathBuf>,
    /// What `kubectl kustomize` prints of an overlay: checks that, too; can be given again
    #[arg(long, env = "POLKASHOTS_CHECK_OVERLAY", value_name = "FILE")]
    pub overlay: Vec<PathBuf>,
    /// Print JSON: files, findings [{file, line, what, expected, fix}]
    #[arg(long)]
    pub json: bool,
}

/// An overlay could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read the overlay {path}: expected what `kubectl kustomize DIR` prints")]
struct Unreadable {
    path: PathBuf,
    source: io::Error,
}

/// What `check --json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    files: usize,
    findings: Vec<Finding>,
}

/// Runs the command.
pub fn run(args: &CheckArgs) -> Result<(), CommandError> {
    let tree = Tree::read(&args.dir).map_err(|error| CommandError::new(Exit::NotFound, error))?;
    let code = Code::declared();
    let mut findings = check(&tree, &code);
    for path in &args.plan {
        let plan = Plan::read(path).map_err(CommandError::usage)?;
        findings.extend(plan.check(&tree));
    }
    for path in &args.overlay {
        let yaml = std::fs::read_to_string(path).map_err(|source| Unreadable { path: path.clone(), source });
        let yaml = yaml.map_err(|error| CommandError::new(Exit::NotFound, error))?;
        findings.extend(check_overlay(&path.display().to_string(), yaml, &tree, &code));
    }
    let found = findings.len();
    if args.json {
        output::json(&Answer { files: tree.len(), findings })?;
    } else {
        findings.iter().for_each(output::line);
        output::line(format_args!("{} files checked, {found} findings", tree.len()));
    }
    if found == 0 {
        return Ok(());
    }
    Err(CommandError::failed(format!("{found} inconsistencies")).hint("each line above says what to change"))
}
