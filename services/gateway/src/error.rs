//! Problems of the gateway itself, and how they are created.

use http::{HeaderValue, Method, header};
use quartet_common::{
    problem::{Problem, kinds as common},
    problem_kinds,
};

problem_kinds! {
    pub MALFORMED_REQUEST = BAD_REQUEST "malformed_request" "Invalid HTTP request" {
        when: "The request head cannot be parsed, or is ambiguous.",
        then: "Send valid HTTP/1.1.",
    }
    pub UPGRADE_REFUSED = BAD_REQUEST "upgrade_refused" "Protocol upgrade not allowed on this path" {
        when: "The request is a WebSocket handshake, but this path does not allow WebSocket connections.",
        then: "Send an ordinary request.",
    }
    pub WEBSOCKET_VERSION = UPGRADE_REQUIRED "websocket_version" "WebSocket version not supported" {
        when: "A WebSocket handshake asks for a version other than 13.",
        then: "Use version 13, the only one that was published.",
    }
    pub HEADERS_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE "headers_too_large"
        "Request head too large" {
        when: "The request line and headers exceed 64 KiB or 100 headers, unless configured otherwise.",
        then: "Send fewer or shorter headers.",
    }
    pub RATE_LIMITED = TOO_MANY_REQUESTS "rate_limited" "Too many requests" {
        when: "The user, or without a token the client IP, has used up the limit in `RateLimit-Policy`.",
        then: "Wait for the time in `Retry-After`.",
    }
    pub BAD_GATEWAY = BAD_GATEWAY "bad_gateway" "Bad gateway" {
        when: "A replica closed the connection early or sent an invalid response. The request may have taken effect.",
        then: "Retry, with the same `Idempotency-Key` if the request had one.",
    }
    pub UPSTREAM_UNREACHABLE = SERVICE_UNAVAILABLE "upstream_unreachable" "Upstream unreachable" {
        when: "No replica of the service can be reached. The request had no effect.",
        then: "Retry after the time in `Retry-After`.",
    }
    pub TOO_MANY_CONNECTIONS = SERVICE_UNAVAILABLE "too_many_connections" "Too many connections" {
        when: "The gateway, or this client IP, has as many open connections as are allowed.",
        then: "Reuse connections, and retry after the time in `Retry-After`.",
    }
    pub UPSTREAM_TIMEOUT = GATEWAY_TIMEOUT "upstream_timeout" "Upstream timeout" {
        when: "A replica did not respond within 30 seconds, unless configured otherwise. The request may have taken effect.",
        then: "Retry, with the same `Idempotency-Key` if the request had one.",
    }
}

/// 400: the head is not HTTP, or is ambiguous.
pub(crate) fn malformed(detail: &'static str) -> Problem {
    Problem::new(&MALFORMED_REQUEST).detail(detail)
}

/// 400: an upstream might read the path differently.
pub(crate) fn ambiguous_path(code: &'static str, rule: &str) -> Problem {
    Problem::invalid_parameter("path", code, rule)
}

/// 426 with the version that exists (RFC 6455, 4.2.2).
pub(crate) fn websocket_version() -> Problem {
    Problem::new(&WEBSOCKET_VERSION)
        .header(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        )
        .header(header::UPGRADE, HeaderValue::from_static("websocket"))
}

/// 400: the route does not allow protocol upgrades.
pub(crate) fn upgrade_refused() -> Problem {
    Problem::new(&UPGRADE_REFUSED)
}

/// 404: no route matches.
pub(crate) fn no_route() -> Problem {
    Problem::new(&common::NO_ROUTE)
}

/// 405 with `Allow`.
pub(crate) fn method_not_allowed(allowed: &[Method]) -> Problem {
    let mut names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    if names.contains(&"GET") && !names.contains(&"HEAD") {
        names.push("HEAD");
    }
    let problem = Problem::new(&common::METHOD_NOT_ALLOWED);
    match HeaderValue::from_str(&names.join(", ")) {
        Ok(value) => problem.header(header::ALLOW, value),
        Err(_) => problem,
    }
}

/// 408: the client was too slow.
pub(crate) fn request_timeout(detail: &'static str) -> Problem {
    Problem::new(&common::REQUEST_TIMEOUT).detail(detail)
}

/// 413 with the limit.
pub(crate) fn body_too_large(limit_bytes: u64) -> Problem {
    Problem::new(&common::BODY_TOO_LARGE).detail(format!("must be at most {limit_bytes} bytes"))
}

/// 431 with both limits.
pub(crate) fn headers_too_large(limit_bytes: usize, limit_count: usize) -> Problem {
    Problem::new(&HEADERS_TOO_LARGE).detail(format!(
        "must be at most {limit_bytes} bytes and {limit_count} headers"
    ))
}

/// 429 with `Retry-After`.
pub(crate) fn rate_limited(requests: u32, window_seconds: u64, retry_seconds: u64) -> Problem {
    Problem::new(&RATE_LIMITED)
        .detail(format!("at most {requests} requests in {window_seconds} s"))
        .retry_after(retry_seconds)
}

/// 502: a replica closed the connection early, or its response is not HTTP.
pub(crate) fn bad_gateway() -> Problem {
    Problem::new(&BAD_GATEWAY)
}

/// 503: no replica can be reached.
pub(crate) fn upstream_unreachable() -> Problem {
    Problem::new(&UPSTREAM_UNREACHABLE).retry_after(1)
}

/// 503: the connection is one too many.
pub(crate) fn too_many_connections() -> Problem {
    Problem::new(&TOO_MANY_CONNECTIONS).retry_after(1)
}

/// 504: a replica did not respond in time.
pub(crate) fn upstream_timeout() -> Problem {
    Problem::new(&UPSTREAM_TIMEOUT)
}

/// 500 without a cause.
pub(crate) fn internal() -> Problem {
    Problem::new(&common::INTERNAL)
}
