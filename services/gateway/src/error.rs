//! Every problem that the gateway itself answers with.

use http::{HeaderValue, Method, StatusCode, header};
use quartet_common::problem::Problem;

use crate::config::Limit;

/// 400: the head is not HTTP, or can be read in two ways.
pub(crate) fn malformed(detail: &'static str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "malformed_request",
        "The request is not valid HTTP",
    )
    .detail(detail)
}

/// 400: upstreams might read the path differently.
pub(crate) fn ambiguous_path() -> Problem {
    Problem::invalid_parameter(
        "path",
        "ambiguous_path",
        "must be valid UTF-8 or percent-encoded and hold no `.` or `..` segment",
    )
}

/// 400: the route does not let connections change their protocol.
pub(crate) fn upgrade_refused() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "upgrade_refused",
        "Connections to this path cannot change their protocol",
    )
}

pub(crate) fn no_route() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_route",
        "There is nothing at this path",
    )
}

pub(crate) fn wrong_method(allowed: &[Method]) -> Problem {
    let mut names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    if names.contains(&"GET") && !names.contains(&"HEAD") {
        names.push("HEAD");
    }
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This path does not know that method",
    );
    match HeaderValue::from_str(&names.join(", ")) {
        Ok(value) => problem.header(header::ALLOW, value),
        Err(_) => problem,
    }
}

/// 408: the client was too slow.
pub(crate) fn too_slow(what: &'static str) -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "request_timeout",
        "The request took too long",
    )
    .detail(what)
}

pub(crate) fn body_too_large(limit_bytes: u64) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        "The request body is too large",
    )
    .detail(format!("at most {limit_bytes} bytes are accepted here"))
}

pub(crate) fn headers_too_large(limit_bytes: usize, limit_count: usize) -> Problem {
    Problem::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "headers_too_large",
        "The request head is too large",
    )
    .detail(format!(
        "at most {limit_bytes} bytes and {limit_count} headers are accepted"
    ))
}

pub(crate) fn rate_limited(limit: &Limit, retry_seconds: u64) -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        "Too many requests",
    )
    .detail(format!(
        "at most {} requests in {} s",
        limit.requests,
        limit.window.as_secs()
    ))
    .retry_after(retry_seconds)
}

/// 502: a replica answered with something that is not HTTP, or broke off.
pub(crate) fn bad_gateway() -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "bad_gateway",
        "The service behind this path broke off",
    )
}

/// 503: no replica can be reached.
pub(crate) fn unreachable() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "upstream_unreachable",
        "The service behind this path cannot be reached just now",
    )
    .retry_after(1)
}

/// 504: a replica took too long.
pub(crate) fn upstream_timeout() -> Problem {
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        "upstream_timeout",
        "The service behind this path took too long",
    )
}

pub(crate) fn internal() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Something broke on our side",
    )
}
