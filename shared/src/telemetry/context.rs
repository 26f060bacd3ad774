//! W3C trace context, from the event that is handled to those that tell of it.
//!
//! Without OpenTelemetry an event's context is handed on as it came.

use tracing::Span;

/// Makes `span` a part of the trace that `traceparent` names; before anything else enters it.
#[cfg(feature = "service")]
pub(crate) fn adopt(span: &Span, traceparent: Option<&String>) {
    use opentelemetry::propagation::TextMapPropagator;
    use opentelemetry::trace::TraceContextExt;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    let Some(traceparent) = traceparent else { return };
    let carried = std::collections::HashMap::from([(TRACEPARENT.to_owned(), traceparent.clone())]);
    let parent = TraceContextPropagator::new().extract(&carried);
    if parent.span().span_context().is_valid() {
        // Nobody records spans where this fails.
        let _unrecorded = span.set_parent(parent);
    }
}

/// The `traceparent` of what happens in `span`; none where nobody records it.
#[cfg(feature = "service")]
pub(crate) fn traceparent(span: &Span) -> Option<String> {
    use opentelemetry::propagation::TextMapPropagator;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    let mut carried = std::collections::HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carried);
    carried.remove(TRACEPARENT)
}

#[cfg(feature = "service")]
const TRACEPARENT: &str = "traceparent";

/// Nobody records spans in this build.
#[cfg(not(feature = "service"))]
pub(crate) fn adopt(_span: &Span, _traceparent: Option<&String>) {}

/// Nobody records spans in this build.
#[cfg(not(feature = "service"))]
pub(crate) fn traceparent(_span: &Span) -> Option<String> {
    None
}
