//! Log lines as Cloud Logging reads them: one JSON object a line.
//!
//! Source of the format: <https://cloud.google.com/logging/docs/structured-logging>. `severity`, `message` and `time` are
//! its own fields; a `traceparent` on an event or a span around it becomes its trace fields. All other fields stand
//! beside them by their own names, inner spans' over outer spans' and the event's over all.

use std::fmt;
use std::io::Write;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Writes each event as one line of JSON.
pub(super) struct CloudLogging<W> {
    writer: W,
}

impl<W> CloudLogging<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<S, W> Layer<S> for CloudLogging<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend(of_span.0.clone());
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        let mut line = to_line(*metadata.level(), metadata.target(), Utc::now(), fields.0).to_string();
        line.push('\n');
        // A log line that cannot be written has nobody to be told to.
        let _lost = self.writer.make_writer_for(metadata).write_all(line.as_bytes());
    }
}

fn to_line(level: Level, logger: &str, time: DateTime<Utc>, mut fields: Map<String, Value>) -> Value {
    fields.insert("severity".into(), severity(level).into());
    fields.insert("time".into(), time.to_rfc3339_opts(SecondsFormat::Micros, true).into());
    let logger = fields.remove("log.target").unwrap_or_else(|| logger.into());
    fields.insert("logger".into(), logger);
    fields.retain(|name, _| !name.starts_with("log."));
    let traceparent = fields.get("traceparent").and_then(Value::as_str).and_then(parse_traceparent);
    if let Some((trace, span, sampled)) = traceparent {
        fields.insert("logging.googleapis.com/trace".into(), trace.into());
        fields.insert("logging.googleapis.com/spanId".into(), span.into());
        fields.insert("logging.googleapis.com/trace_sampled".into(), sampled.into());
    }
    fields.into()
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

/// Trace id, span id and the sampled flag of a W3C `traceparent` of version 00.
fn parse_traceparent(text: &str) -> Option<(String, String, bool)> {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts.as_slice() else { return None };
    let hexadecimal = |part: &str, digits| part.len() == digits && part.chars().all(|c| c.is_ascii_hexdigit());
    if *version != "00" || !hexadecimal(trace, 32) || !hexadecimal(span, 16) || !hexadecimal(flags, 2) {
        return None;
    }
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    Some(((*trace).to_owned(), (*span).to_owned(), sampled))
}

/// The fields of a span or an event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(work: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry().with(CloudLogging::new(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, work);
        let bytes = lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = String::from_utf8(bytes).expect("JSON is UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    #[test]
    fn a_line_has_cloud_loggings_fields_and_those_of_its_spans() {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let lines = logged(|| {
            let span =
                tracing::info_span!("event", attempt = 2, size_bytes = 1, traceparent, late = tracing::field::Empty);
            let _entered = span.enter();
            span.record("late", "yes");
            tracing::warn!(size_bytes = 7u64, error = %"disk \"full\"\nreally", "not handled");
        });
        let [line] = lines.as_slice() else { panic!("expected one line, found {lines:?}") };
        let expected = [
            ("severity", json!("WARNING")),
            ("message", json!("not handled")),
            ("attempt", json!(2)),
            ("size_bytes", json!(7)),
            ("late", json!("yes")),
            ("error", json!("disk \"full\"\nreally")),
            ("logging.googleapis.com/trace", json!("0af7651916cd43dd8448eb211c80319c")),
            ("logging.googleapis.com/spanId", json!("b7ad6b7169203331")),
            ("logging.googleapis.com/trace_sampled", json!(true)),
        ];
        for (name, value) in expected {
            assert_eq!(line.get(name), Some(&value), "{name} in {line}");
        }
        let time = line["time"].as_str().expect("time is text");
        assert!(DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
    }

    #[test]
    fn a_malformed_traceparent_is_no_trace() {
        let zeros = "0".repeat(32);
        for bad in ["", "00", "zz", &format!("01-{zeros}-0000000000000000-01"), &format!("00-{zeros}-0000-01")] {
            assert_eq!(parse_traceparent(bad), None, "{bad} was accepted");
        }
    }
}
