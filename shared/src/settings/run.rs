//! How a worker runs: one message or all that come, and what it tells of itself.

use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::{BoolishValueParser, NonEmptyStringValueParser};
use clap::{ArgAction, Args};
use url::Url;

use super::duration::duration;
use crate::telemetry::LogFormat;

/// How many messages are taken, and where health and metrics are served.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Running")]
pub struct RunSettings {
    /// Take one message, see it through and exit; exit 0 as well when there is none
    #[arg(long, env = "POLKASHOTS_ONE_SHOT", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub one_shot: bool,
    /// How long to wait for a message with --one-shot
    #[arg(long, env = "POLKASHOTS_RECEIVE_WAIT", value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub receive_wait: Duration,
    /// Where /healthz, /readyz and /metrics are served without --one-shot
    #[arg(long, env = "POLKASHOTS_LISTEN", value_name = "ADDRESS:PORT", default_value = "0.0.0.0:9090")]
    pub listen: SocketAddr,
    /// Send traces by OTLP over HTTP to the collector at this address, as in http://collector:4318; without it none are made
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = collector)]
    pub otlp_endpoint: Option<Url>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the heading's text")]
    pub log: LogSettings,
}

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogSettings {
    /// How log lines look on standard error: text, JSON for Cloud Logging, or as fits a terminal
    #[arg(long, env = "POLKASHOTS_LOG_FORMAT", default_value = "auto", value_enum)]
    pub log_format: LogFormat,
    /// Which log lines are written, as in info or polkashots_engine=debug,warn
    #[arg(long, env = "POLKASHOTS_LOG", value_name = "FILTER", default_value = "info",
          value_parser = NonEmptyStringValueParser::new())]
    pub log_level: String,
}

fn collector(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| "expected an http(s) address, as in http://collector:4318".to_owned())
}
