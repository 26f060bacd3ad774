//! One restore, told in the log.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use polkashots_shared::telemetry;
use polkashots_shared::worker::error_chain;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::settings::ImporterSettings;
use crate::{ErrorKind, Outcome, Phase, Progress, RestoreError, Update, restore};

/// Progress is logged at most this often while a phase lasts.
const LOG_INTERVAL: Duration = Duration::from_secs(15);

/// Restores what the settings ask for; a database that is there already, or no source, is success.
///
/// Exit codes are those of `polkashots restore`: 1 may succeed later, 2 is a wrong setting, 3 was refused. A signal ends
/// with 143; the next start continues where this one was.
pub fn run(settings: &ImporterSettings) -> ExitCode {
    if let Err(error) = telemetry::init(settings.log.log_format, &settings.log.log_level) {
        return report(&error, 2);
    }
    let Some(request) = settings.to_request() else {
        info!("no source is set (POLKASHOTS_SOURCE or ARCHIVE_URL): nothing to restore");
        return ExitCode::SUCCESS;
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&error, 1),
    };
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(End::Signals)?;
        let progress = Logged::default();
        tokio::select! {
            // What was written until now counts before the signal does.
            biased;
            restored = restore(&request, &progress) => restored.map_err(End::Restore),
            _ = terminate.recv() => Err(End::Terminated),
        }
    });
    match ended {
        Ok(outcome) => tell(&outcome),
        Err(End::Restore(error)) => report(&error, exit_code(&error)),
        Err(End::Signals(error)) => report(&error, 1),
        Err(End::Terminated) => {
            info!("SIGTERM: stopping, the next start continues here");
            ExitCode::from(143)
        }
    }
}

/// Why there is no outcome.
enum End {
    Restore(RestoreError),
    Signals(std::io::Error),
    Terminated,
}

fn report(error: &(dyn std::error::Error + 'static), code: u8) -> ExitCode {
    error!(error = error_chain(error), "not restored");
    ExitCode::from(code)
}

fn exit_code(error: &RestoreError) -> u8 {
    match error.kind() {
        ErrorKind::Refused => 3,
        ErrorKind::Usage => 2,
        ErrorKind::Network | ErrorKind::Space | ErrorKind::Busy | ErrorKind::Io => 1,
    }
}

fn tell(outcome: &Outcome) -> ExitCode {
    match outcome {
        Outcome::AlreadyThere(there) => {
            info!(database_dir = %there.database_dir.display(), "a database is there already, left untouched");
        }
        Outcome::Restored(restored) => info!(
            database_dir = %restored.database_dir.display(),
            target_id = %restored.manifest.target,
            version = %restored.manifest.version,
            height = restored.manifest.block.height,
            fetched_bytes = restored.fetched_bytes,
            resumed_bytes = restored.resumed_bytes,
            written_bytes = restored.written_bytes,
            "restored"
        ),
        Outcome::Unsigned(unsigned) => info!(
            database_dir = %unsigned.database_dir.display(),
            archive = unsigned.archive,
            sha256 = %unsigned.sha256,
            files = unsigned.files,
            fetched_bytes = unsigned.fetched_bytes,
            written_bytes = unsigned.written_bytes,
            "restored from an archive that nobody signed"
        ),
    }
    ExitCode::SUCCESS
}

/// Logs each phase when it begins and now and then while it lasts.
#[derive(Default)]
struct Logged {
    last: Mutex<Option<(Phase, Instant)>>,
}

impl Progress for Logged {
    fn update(&self, update: &Update) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_due = last.is_none_or(|(phase, at)| phase != update.phase || at.elapsed() >= LOG_INTERVAL);
        if is_due {
            *last = Some((update.phase, Instant::now()));
            let unit = if update.phase.counts_bytes() { "bytes" } else { "files" };
            info!(phase = update.phase.as_str(), done = update.done, total = update.total, unit, "restoring");
        }
    }
}
