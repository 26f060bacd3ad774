//! Logs for a person on a terminal and for Cloud Logging elsewhere, and traces where a collector is named.

mod cloud_logging;
pub(crate) mod context;
#[cfg(feature = "service")]
mod traces;

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use cloud_logging::CloudLogging;
#[cfg(feature = "service")]
pub use traces::Traces;

/// How log lines look. All go to standard error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text for a person.
    Text,
    /// One JSON object a line, with the fields of Cloud Logging.
    Json,
}

/// Says why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error(
        "log level \"{filter}\": {reason}: expected error, warn, info, debug, trace or off, or for some modules \
             another one: info,polkashots_engine=debug"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Starts logging what `level` lets through: `info`, or `info,polkashots_engine=debug`.
///
/// A second call checks its level and otherwise changes nothing: the first one stays.
pub fn init(format: LogFormat, level: &str) -> Result<(), TelemetryError> {
    start(format, level, None)
}

/// As [`init`], and has spans recorded too.
#[cfg(feature = "service")]
pub fn init_with_traces(format: LogFormat, level: &str, traces: Option<&Traces>) -> Result<(), TelemetryError> {
    start(format, level, traces.map(|traces| traces.layer().boxed()))
}

type Recorder = Box<dyn Layer<Registry> + Send + Sync>;

fn start(format: LogFormat, level: &str, recorder: Option<Recorder>) -> Result<(), TelemetryError> {
    let filter = parse_filter(level)?;
    let on_terminal = io::stderr().is_terminal();
    let as_text = match format {
        LogFormat::Auto => on_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let text = as_text.then(|| fmt::layer().with_writer(io::stderr).with_ansi(on_terminal));
    let json = (!as_text).then(|| CloudLogging::new(io::stderr));
    let started = tracing_subscriber::registry()
        .with(recorder)
        .with(text.with_filter(filter.clone()))
        .with(json.with_filter(filter));
    // The error means that another subscriber is there already, which stays.
    let _already_started = started.try_init();
    Ok(())
}

/// Unlike `EnvFilter` alone, refuses a misspelt level, which that would take for the name of a module.
fn parse_filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let refused = |reason: String| TelemetryError::Filter { filter: level.into(), reason };
    let directives: Vec<&str> = level.split(',').map(str::trim).collect();
    for directive in &directives {
        let is_level = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(directive));
        if !is_level && !directive.contains('=') {
            return Err(refused(format!("\"{directive}\" is not a level")));
        }
    }
    EnvFilter::builder().parse(directives.join(",")).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_level_is_an_error_that_names_it() {
        for bad in ["", "inof", "info,engine", "info,polkashots_engine=loud", "info;debug", "info,,debug"] {
            let error = parse_filter(bad).expect_err(bad).to_string();
            assert!(error.contains(&format!("log level \"{bad}\"")), "{error}");
        }
        for good in ["info", "INFO", "off", "warn,polkashots_engine=debug", "info, polkashots_shared::worker=trace"] {
            assert!(parse_filter(good).is_ok(), "{good} was refused");
        }
    }

    #[test]
    fn starting_twice_is_harmless() {
        assert!(init(LogFormat::Json, "off").is_ok());
        assert!(init(LogFormat::Text, "off").is_ok());
        assert!(init(LogFormat::Auto, "no such level").is_err());
    }
}
