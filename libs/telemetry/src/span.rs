//! Spans, which exist only where an OTLP endpoint is configured: without one they would cost an
//! allocation and several locks per request, for no reader.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderName, Method};
use opentelemetry::{propagation::Extractor, trace::TraceContextExt};
use tracing::{Instrument, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::trace_context::TraceContext;

static ENABLED: AtomicBool = AtomicBool::new(false);

/// Whether spans are exported. Code that makes a span by hand asks first.
pub fn spans_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

pub(crate) fn enable() {
    ENABLED.store(true, Ordering::Relaxed);
}

/// Does `work` in a span of this name, such as `s3.put_object` or `db.links.insert`. An error
/// marks the span as failed; the error itself is not recorded.
///
/// # Errors
/// What `work` returns.
pub async fn span<T, E>(name: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    if !spans_enabled() {
        return work.await;
    }
    let span = tracing::info_span!(
        target: "quartet",
        "operation",
        otel.name = name,
        otel.kind = "client",
        otel.status_code = field::Empty,
    );
    let result = work.instrument(span.clone()).await;
    if result.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    result
}

/// The place of a request in its trace, and its server span where spans are exported.
#[derive(Debug, Default)]
pub struct ServerTrace {
    context: TraceContext,
    continued: bool,
    span: Option<Span>,
}

impl ServerTrace {
    /// Continues the trace of the `traceparent` header, or starts one.
    pub fn start(headers: &HeaderMap, method: &Method, request_id: &str) -> Self {
        let continued = TraceContext::parent(headers).is_some();
        if !spans_enabled() {
            return Self {
                context: TraceContext::from_headers(headers),
                continued,
                span: None,
            };
        }
        let span = tracing::info_span!(
            target: "quartet",
            "http.server",
            otel.kind = "server",
            http.request.method = %method,
            http.route = field::Empty,
            http.response.status_code = field::Empty,
            error.type = field::Empty,
            request_id,
        );
        let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.extract(&HeaderExtractor(headers))
        });
        let _ = span.set_parent(parent);
        let entered = span.context();
        let own = entered.span().span_context().clone();
        // The log filter may disable spans.
        let context = if own.is_valid() {
            TraceContext {
                trace_id: u128::from_be_bytes(own.trace_id().to_bytes()),
                span_id: u64::from_be_bytes(own.span_id().to_bytes()),
                flags: own.trace_flags().to_u8() & 1,
            }
        } else {
            TraceContext::from_headers(headers)
        };
        Self {
            context,
            continued,
            span: Some(span),
        }
    }

    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Whether the trace is that of the caller.
    pub fn is_continued(&self) -> bool {
        self.continued
    }

    /// The span for `Instrument::instrument`; a disabled one where spans are not exported.
    pub fn span(&self) -> Span {
        self.span.clone().unwrap_or_else(Span::none)
    }

    /// Names the span `METHOD /route`, records the result, and ends it. Further calls do nothing.
    pub fn finish(&mut self, method: &Method, route: &str, status: u16, code: Option<&str>) {
        let Some(span) = self.span.take() else { return };
        // The field `otel.name` cannot rename a span that has started.
        span.context()
            .span()
            .update_name(format!("{method} {route}"));
        span.record("http.route", route);
        span.record("http.response.status_code", status);
        if let Some(code) = code {
            span.record("error.type", code);
        }
    }
}

struct HeaderExtractor<'a>(&'a HeaderMap);

impl Extractor for HeaderExtractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
