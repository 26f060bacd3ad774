//! `polkashots-publisher rollback`: the site as it was before the last deploy.

use std::error::Error;
use std::ffi::OsStr;
use std::io::Write;
use std::process::ExitCode;

use polkashots_shared::settings::{Parsed, Settings, parse_from};
use polkashots_shared::worker::error_chain;

use super::settings::{ROLLBACK_COMMAND, RollbackSettings, SiteHostLocation};
use super::wiring::firebase;
use crate::adapters::firebase::DEFAULT_KEEP;

type BoxError = Box<dyn Error + Send + Sync>;

/// Rolls back where the process's command line asks for it; `None` where it asks for something else.
pub fn rollback_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.peek().map(|word| word.as_os_str()) != Some(OsStr::new(ROLLBACK_COMMAND)) {
        return None;
    }
    Some(match parse_from::<RollbackSettings>(arguments) {
        Parsed::Print(text) => end(ExitCode::SUCCESS, &text),
        Parsed::Wrong(text) => end(ExitCode::from(2), &text),
        Parsed::Run(settings) => match rollback(&settings) {
            Ok(version) => end(ExitCode::SUCCESS, &format!("live now: {version}\n")),
            Err(error) => {
                end(ExitCode::FAILURE, &format!("{}: {}\n", RollbackSettings::NAME, error_chain(error.as_ref())))
            }
        },
    })
}

fn rollback(settings: &RollbackSettings) -> Result<String, BoxError> {
    let SiteHostLocation::Firebase { site } = &settings.site_host else {
        let host = &settings.site_host;
        return Err(format!("{host} keeps no releases: expected firebase:SITE, or publish an older site again").into());
    };
    let host = firebase(site, settings.firebase_endpoint.as_ref(), DEFAULT_KEEP)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(host.rollback())?)
}

/// Says `text` where it belongs: success on standard output, everything else on standard error.
fn end(code: ExitCode, text: &str) -> ExitCode {
    // A reader that went away changes nothing about what was done.
    let _told = match code == ExitCode::SUCCESS {
        true => std::io::stdout().lock().write_all(text.as_bytes()),
        false => std::io::stderr().lock().write_all(text.as_bytes()),
    };
    code
}
