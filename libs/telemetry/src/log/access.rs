//! The access log: one line per request, the same in every service.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{
    line::{Level, LogLine},
    queue,
};
use crate::trace_context::TraceContext;

/// What the access log says about a request. docs/logging.md describes each field; the names are
/// part of the contract.
#[derive(Clone, Debug)]
pub struct AccessLine<'a> {
    /// `request`, unless it ended in another way than with a response.
    pub msg: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub status: u16,
    pub duration: Duration,
    pub request_id: &'a str,
    pub trace: TraceContext,
    /// The pattern that matched, never the path.
    pub route: &'a str,
    pub caller_id: Option<&'a str>,
    pub token_kind: Option<&'a str>,
    pub client_id: Option<&'a str>,
    /// The kind of the GraphQL operation.
    pub operation: Option<&'a str>,
    pub operation_name: Option<&'a str>,
    pub client: Option<IpAddr>,
    /// Of the client's connection, such as `1.3`.
    pub tls_version: Option<&'a str>,
    pub tls_cipher: Option<&'a str>,
    /// The replica that was asked last.
    pub upstream: Option<SocketAddr>,
    pub upstream_duration: Option<Duration>,
    /// Attempts after the first one.
    pub retries: Option<u32>,
    /// What a response cache did.
    pub cache: Option<&'a str>,
    /// Of the response body.
    pub bytes: Option<u64>,
    pub db_statements: Option<u32>,
    /// Spent in them.
    pub db_duration: Option<Duration>,
    /// How the request, or the response, differs from the OpenAPI document.
    pub violation: Option<&'a str>,
    /// Of the problem.
    pub code: Option<&'a str>,
    pub error: Option<&'a str>,
}

impl Default for AccessLine<'_> {
    fn default() -> Self {
        Self {
            msg: "request",
            method: "",
            path: "",
            status: 0,
            duration: Duration::ZERO,
            request_id: "",
            trace: TraceContext::default(),
            route: "",
            caller_id: None,
            token_kind: None,
            client_id: None,
            operation: None,
            operation_name: None,
            client: None,
            tls_version: None,
            tls_cipher: None,
            upstream: None,
            upstream_duration: None,
            retries: None,
            cache: None,
            bytes: None,
            db_statements: None,
            db_duration: None,
            violation: None,
            code: None,
            error: None,
        }
    }
}

impl AccessLine<'_> {
    /// Writes the line, at level `error` for a status of 500 or more, else at level `info`. It
    /// follows the log filter as an event of the target `quartet` does. Never blocks.
    pub fn write(&self) {
        let Some(queue) = queue::queue() else { return };
        let (level, enabled) = if self.status >= 500 {
            let enabled = tracing::enabled!(target: "quartet", tracing::Level::ERROR);
            (Level::Error, enabled)
        } else {
            let enabled = tracing::enabled!(target: "quartet", tracing::Level::INFO);
            (Level::Info, enabled)
        };
        if enabled {
            queue.send(self.line(level, queue.service));
        }
    }

    fn line(&self, level: Level, service: &str) -> LogLine {
        let mut line = LogLine::start(level);
        line.text("msg", self.msg);
        line.text("method", self.method);
        line.text("path", self.path);
        line.integer("status", self.status);
        line.milliseconds("duration_ms", self.duration);
        line.text("request_id", self.request_id);
        line.text("service", service);
        line.trace(self.trace);
        line.text("route", self.route);
        line.optional_text("caller_id", self.caller_id);
        line.optional_text("token_kind", self.token_kind);
        line.optional_text("client_id", self.client_id);
        line.optional_text("operation", self.operation);
        line.optional_text("operation_name", self.operation_name);
        if let Some(client) = self.client {
            line.address("client", client, None);
        }
        line.optional_text("tls_version", self.tls_version);
        line.optional_text("tls_cipher", self.tls_cipher);
        if let Some(upstream) = self.upstream {
            line.address("upstream", upstream.ip(), Some(upstream.port()));
        }
        if let Some(duration) = self.upstream_duration {
            line.milliseconds("upstream_ms", duration);
        }
        if let Some(retries) = self.retries {
            line.integer("retries", retries);
        }
        line.optional_text("cache", self.cache);
        if let Some(bytes) = self.bytes {
            line.integer("bytes", bytes);
        }
        if let Some(statements) = self.db_statements {
            line.integer("db_statements", statements);
        }
        if let Some(duration) = self.db_duration {
            line.milliseconds("db_ms", duration);
        }
        line.optional_text("violation", self.violation);
        line.optional_text("code", self.code);
        line.optional_text("error", self.error);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_fields_in_a_fixed_order() {
        let full = AccessLine {
            method: "GET",
            path: "/v1/media/assets/\"x\"",
            status: 503,
            duration: Duration::from_micros(1250),
            request_id: "r-1",
            trace: TraceContext {
                trace_id: 0xab,
                span_id: 0xcd,
                flags: 1,
            },
            route: "/v1/media/*",
            caller_id: Some("usr_1"),
            token_kind: Some("client"),
            client_id: Some("cli"),
            operation: Some("query"),
            operation_name: Some("Mine"),
            client: Some([192, 0, 2, 7].into()),
            upstream: Some(([10, 0, 0, 1], 8082).into()),
            upstream_duration: Some(Duration::from_millis(1)),
            retries: Some(2),
            bytes: Some(17),
            db_statements: Some(3),
            db_duration: Some(Duration::from_micros(2500)),
            violation: Some("request query.limit too_large"),
            code: Some("upstream_failed"),
            error: Some("connection reset"),
            ..AccessLine::default()
        };
        let mut line = full.line(Level::Error, "gateway");
        let text = String::from_utf8(line.finish().to_vec()).unwrap();
        let (_, text) = text.split_once(',').unwrap();
        assert_eq!(
            text,
            concat!(
                r#""level":"error","msg":"request","method":"GET","path":"/v1/media/assets/\"x\"","#,
                r#""status":503,"duration_ms":1.25,"request_id":"r-1","service":"gateway","#,
                r#""trace_id":"000000000000000000000000000000ab","span_id":"00000000000000cd","#,
                r#""route":"/v1/media/*","caller_id":"usr_1","token_kind":"client","#,
                r#""client_id":"cli","operation":"query","operation_name":"Mine","#,
                r#""client":"192.0.2.7","#,
                r#""upstream":"10.0.0.1:8082","upstream_ms":1.0,"retries":2,"bytes":17,"db_statements":3,"db_ms":2.5,"#,
                r#""violation":"request query.limit too_large","#,
                r#""code":"upstream_failed","error":"connection reset"}"#,
                "\n"
            )
        );
    }
}
