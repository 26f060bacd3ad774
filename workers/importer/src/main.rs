//! `polkashots-importer`: a restore as an init container runs it.

use std::process::ExitCode;

use polkashots_importer::binary::{ImporterSettings, run};

fn main() -> ExitCode {
    match polkashots_shared::settings::parse::<ImporterSettings>() {
        Ok(settings) => run(&settings),
        Err(exit) => exit,
    }
}
