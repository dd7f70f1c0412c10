//! One log line per request. The field names are stable; see `docs/logging.md`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::Method;

use crate::trace::TraceContext;

/// What the access log says about a request.
#[derive(Debug)]
pub(crate) struct AccessLine<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) duration: Duration,
    pub(crate) request_id: &'a str,
    pub(crate) trace: TraceContext,
    /// The path pattern, or `unmatched`.
    pub(crate) route: &'a str,
    pub(crate) caller_id: Option<&'a str>,
    pub(crate) client_ip: Option<IpAddr>,
    pub(crate) upstream: Option<SocketAddr>,
    /// Until the head of the upstream's response.
    pub(crate) upstream_duration: Option<Duration>,
    /// Of the response body.
    pub(crate) bytes: usize,
    pub(crate) code: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
}

impl AccessLine<'_> {
    pub(crate) fn write(&self) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "quartet",
                    method = self.method.as_str(),
                    path = self.path,
                    status = self.status,
                    duration_ms = milliseconds(self.duration),
                    request_id = self.request_id,
                    trace_id = format_args!("{:032x}", self.trace.trace_id),
                    span_id = format_args!("{:016x}", self.trace.span_id),
                    route = self.route,
                    caller_id = self.caller_id,
                    client = self.client_ip.map(tracing::field::display),
                    upstream = self.upstream.map(tracing::field::display),
                    upstream_ms = self.upstream_duration.map(milliseconds),
                    bytes = self.bytes,
                    code = self.code,
                    error = self.error,
                    "request"
                )
            };
        }
        if self.status >= 500 {
            line!(error);
        } else {
            line!(info);
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
