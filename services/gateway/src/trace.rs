//! W3C trace context: continued from the client, or started here.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use opentelemetry::{propagation::Extractor, trace::TraceContextExt};
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub(crate) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace of a request, and the gateway's span in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) flags: u8,
}

impl TraceContext {
    /// A new trace, marked as sampled.
    pub(crate) fn begin() -> Self {
        Self {
            trace_id: not_zero(rand::random),
            span_id: not_zero(rand::random),
            flags: 1,
        }
    }

    /// A new span in the trace of the `traceparent` header; `None` if that is missing or invalid.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let text = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(text).map(|parent| Self {
            span_id: not_zero(rand::random),
            ..parent
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower_hex = |part: &str, length: usize| {
            part.len() == length
                && part
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let is_valid = lower_hex(version, 2)
            && version != "ff"
            && lower_hex(trace, 32)
            && lower_hex(span, 16)
            && lower_hex(flags, 2)
            // Version 00 has four parts; later ones may have more.
            && (version != "00" || parts.next().is_none());
        if !is_valid {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|&id| id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|&id| id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()? & 1;
        Some(Self {
            trace_id,
            span_id,
            flags,
        })
    }

    pub(crate) fn header(&self) -> HeaderValue {
        let text = format!(
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id, self.span_id, self.flags
        );
        HeaderValue::from_str(&text).expect("hexadecimal digits and dashes are ASCII")
    }
}

/// A request's place in its trace, and the span that is exported when it ends.
#[derive(Debug, Default)]
pub(crate) struct RequestTrace {
    pub(crate) context: TraceContext,
    span: Option<Span>,
}

impl RequestTrace {
    /// `exported`: spans go to a collector. Otherwise ids are enough, and cost less.
    pub(crate) fn start(
        headers: &HeaderMap,
        method: &Method,
        request_id: &str,
        exported: bool,
    ) -> Self {
        let context = || TraceContext::from_headers(headers).unwrap_or_else(TraceContext::begin);
        if !exported {
            return Self {
                context: context(),
                span: None,
            };
        }
        let span = tracing::info_span!(
            target: "quartet",
            "http.server",
            otel.name = field::Empty,
            otel.kind = "server",
            http.request.method = %method,
            http.route = field::Empty,
            http.response.status_code = field::Empty,
            error.type = field::Empty,
            request_id,
        );
        let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.extract(&Headers(headers))
        });
        let _ = span.set_parent(parent);
        let entered = span.context();
        let own = entered.span().span_context().clone();
        let context = if own.is_valid() {
            TraceContext {
                trace_id: u128::from_be_bytes(own.trace_id().to_bytes()),
                span_id: u64::from_be_bytes(own.span_id().to_bytes()),
                flags: own.trace_flags().to_u8() & 1,
            }
        } else {
            context()
        };
        Self {
            context,
            span: Some(span),
        }
    }

    /// Records the outcome in the span, and ends it.
    pub(crate) fn finish(&mut self, method: &Method, route: &str, status: u16, code: Option<&str>) {
        let Some(span) = self.span.take() else { return };
        span.record("otel.name", format!("{method} {route}"));
        span.record("http.route", route);
        span.record("http.response.status_code", status);
        if let Some(code) = code {
            span.record("error.type", code);
        }
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// All zeros mean "none" in the protocol.
fn not_zero<T: Default + PartialEq>(mut random: impl FnMut() -> T) -> T {
    loop {
        let id = random();
        if id != T::default() {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_traceparents_are_ignored() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parsed = TraceContext::parse(good).unwrap();
        assert_eq!(parsed.header(), good);
        assert!(TraceContext::parse(&format!("cc{}-more", &good[2..])).is_some());
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
