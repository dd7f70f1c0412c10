//! Every problem that the gateway itself answers with.

use http::{HeaderValue, Method, header};
use quartet_common::problem::{Problem, kinds as common};

pub(crate) mod kinds;

use crate::config::Limit;

/// 400: the head is not HTTP, or can be read in two ways.
pub(crate) fn malformed(detail: &'static str) -> Problem {
    Problem::new(&kinds::MALFORMED_REQUEST).detail(detail)
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
    Problem::new(&kinds::UPGRADE_REFUSED)
}

pub(crate) fn no_route() -> Problem {
    Problem::new(&common::NO_ROUTE)
}

pub(crate) fn wrong_method(allowed: &[Method]) -> Problem {
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
pub(crate) fn too_slow(what: &'static str) -> Problem {
    Problem::new(&common::REQUEST_TIMEOUT).detail(what)
}

pub(crate) fn body_too_large(limit_bytes: u64) -> Problem {
    Problem::new(&common::BODY_TOO_LARGE)
        .detail(format!("at most {limit_bytes} bytes are accepted here"))
}

pub(crate) fn headers_too_large(limit_bytes: usize, limit_count: usize) -> Problem {
    Problem::new(&kinds::HEADERS_TOO_LARGE).detail(format!(
        "at most {limit_bytes} bytes and {limit_count} headers are accepted"
    ))
}

pub(crate) fn rate_limited(limit: &Limit, retry_seconds: u64) -> Problem {
    Problem::new(&kinds::RATE_LIMITED)
        .detail(format!(
            "at most {} requests in {} s",
            limit.requests,
            limit.window.as_secs()
        ))
        .retry_after(retry_seconds)
}

/// 502: a replica answered with something that is not HTTP, or broke off.
pub(crate) fn bad_gateway() -> Problem {
    Problem::new(&kinds::BAD_GATEWAY)
}

/// 503: no replica can be reached.
pub(crate) fn unreachable() -> Problem {
    Problem::new(&kinds::UPSTREAM_UNREACHABLE).retry_after(1)
}

/// 504: a replica took too long.
pub(crate) fn upstream_timeout() -> Problem {
    Problem::new(&kinds::UPSTREAM_TIMEOUT)
}

pub(crate) fn internal() -> Problem {
    Problem::new(&common::INTERNAL)
}
