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
    pub ORIGIN_NOT_ALLOWED = FORBIDDEN "origin_not_allowed" "Origin not allowed" {
        when: "A page of an origin that this path does not allow asks in advance (CORS) or opens a WebSocket.",
        then: "Use an origin that the operator has allowed.",
    }
    pub NETWORK_NOT_ALLOWED = FORBIDDEN "network_not_allowed" "Network not allowed" {
        when: "This path is not open to the client IP.",
        then: "Use a network that the operator has allowed.",
    }
    pub MISDIRECTED_REQUEST = MISDIRECTED_REQUEST "misdirected_request" "Misdirected request" {
        when: "The host asks for client certificates, and the connection was not opened for it: without TLS, or with the server name of another host.",
        then: "Send the request on a new TLS connection with the name of its host, and a client certificate.",
    }
    pub MAINTENANCE = SERVICE_UNAVAILABLE "maintenance" "Under maintenance" {
        when: "The path is closed for maintenance. The request had no effect.",
        then: "Retry after the time in `Retry-After`.",
    }
    pub UNSUPPORTED_CODING = UNSUPPORTED_MEDIA_TYPE "unsupported_coding" "Content coding not accepted" {
        when: "The request body has a `Content-Encoding` that this path does not accept.",
        then: "Use one of those in `Accept-Encoding` of the response.",
    }
    pub HEADERS_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE "headers_too_large"
        "Request head too large" {
        when: "The request line and headers exceed 64 KiB or 100 headers, unless configured otherwise.",
        then: "Send fewer or shorter headers.",
    }
    pub VERSION_RETIRED = GONE "version_retired" "Retired version of the API" {
        when: "The date in `Sunset` has passed, and this version of the API is no longer served.",
        then: "Use the version that the page in `Link` names. Retrying does not help.",
    }
    pub DESTINATION_NOT_FOUND = NOT_FOUND "destination_not_found" "No destination for this path" {
        when: "Nothing is known under the name in the path.",
        then: "Check the path. Retrying does not help.",
    }
    pub DESTINATION_REFUSED = BAD_GATEWAY "destination_refused" "Destination not allowed" {
        when: "What the name in the path stands for is not an address that the gateway may send requests to.",
        then: "Report it to the operator. Retrying does not help.",
    }
    pub DESTINATION_UNAVAILABLE = SERVICE_UNAVAILABLE "destination_unavailable" "Destination not known" {
        when: "It could not be looked up what the name in the path stands for. The request had no effect.",
        then: "Retry after the time in `Retry-After`.",
    }
    pub RATE_LIMITED = TOO_MANY_REQUESTS "rate_limited" "Too many requests" {
        when: "The user, or what else the limit in `RateLimit-Policy` counts by, such as the client IP, has used it up.",
        then: "Wait for the time in `Retry-After`.",
    }
    pub INSUFFICIENT_SCOPE = FORBIDDEN "insufficient_scope" "Insufficient scope" {
        when: "The access token is valid, but lacks a scope, role or claim that this path requires.",
        then: "Get a token with the scopes in `WWW-Authenticate`, or ask for the missing role.",
    }
    pub CROSS_SITE_REQUEST = FORBIDDEN "cross_site_request" "Request from another site" {
        when: "The access token or the session is in a cookie, and the request may change something, but neither `Sec-Fetch-Site` nor `Origin` says that it comes from a page of the same origin. At the admin listener: a page of another site sends the request, or `Host` is not an address of this machine.",
        then: "Send the token in `Authorization: Bearer`.",
    }
    pub LOGIN_REQUIRED = UNAUTHORIZED "login_required" "Login required" {
        when: "The path needs a session in a cookie, and the request has none that is valid. Browsers that open a page are sent to the login instead.",
        then: "Log in: open `/auth/login` in a browser, or whatever path the operator has chosen.",
    }
    pub LOGIN_EXPIRED = BAD_REQUEST "login_expired" "Login no longer valid" {
        when: "The browser comes back from the login service with a login that is unknown, too old, used, or of another browser.",
        then: "Log in again.",
    }
    pub LOGIN_REFUSED = FORBIDDEN "login_refused" "Login refused" {
        when: "The login service has refused the login, or the user is none of those who may log in here.",
        then: "Use another account, or ask the operator for access.",
    }
    pub LOGIN_FAILED = BAD_GATEWAY "login_failed" "Login failed" {
        when: "The login service has sent a response that cannot be accepted, such as a token for another login, or its clock is off.",
        then: "Log in again, then report `request_id`.",
    }
    pub LOGIN_UNAVAILABLE = SERVICE_UNAVAILABLE "login_unavailable" "Login unavailable" {
        when: "The login service, or the store of the sessions, does not respond.",
        then: "Retry after the time in `Retry-After`.",
    }
    pub CONFIGURATION_REFUSED = UNPROCESSABLE_ENTITY "configuration_refused" "Configuration refused" {
        when: "A reload at the admin listener found a configuration that is not valid; `errors` has the place and the rule of each error.",
        then: "Fix the file and reload again. The configuration before stays in force.",
    }
    pub CONFIGURATION_CHANGING = CONFLICT "configuration_changing" "Configuration being written" {
        when: "A reload at the admin listener found other files each time it read them.",
        then: "Reload again when they are written.",
    }
    pub BAD_GATEWAY = BAD_GATEWAY "bad_gateway" "Bad gateway" {
        when: "A replica closed the connection early or sent an invalid response. The request may have taken effect.",
        then: "Retry, with the same `Idempotency-Key` if the request had one.",
    }
    pub UPSTREAM_UNREACHABLE = SERVICE_UNAVAILABLE "upstream_unreachable" "Upstream unreachable" {
        when: "No replica of the service can be reached. The request had no effect.",
        then: "Retry after the time in `Retry-After`.",
    }
    pub UPSTREAM_OVERLOADED = SERVICE_UNAVAILABLE "upstream_overloaded" "Upstream overloaded" {
        when: "The service has as many requests in flight as it may have, and too many wait already or the wait took too long. The request had no effect.",
        then: "Retry after the time in `Retry-After`.",
    }
    pub CIRCUIT_OPEN = SERVICE_UNAVAILABLE "circuit_open" "Upstream suspended" {
        when: "Too many requests to the service have failed, so none is sent to it for a while. The request had no effect.",
        then: "Retry after the time in `Retry-After`.",
    }
    pub TOO_MANY_CONNECTIONS = SERVICE_UNAVAILABLE "too_many_connections" "Too many connections" {
        when: "The gateway, or this client IP, has as many open connections as are allowed.",
        then: "Reuse connections, and retry after the time in `Retry-After`.",
    }
    pub NOT_CACHED = GATEWAY_TIMEOUT "not_cached" "Not in the cache" {
        when: "The request has `Cache-Control: only-if-cached`, and no stored response answers it.",
        then: "Send it without `only-if-cached`.",
    }
    pub NO_BACKEND = INTERNAL_SERVER_ERROR "no_backend" "No valid backend" {
        when: "The route is from an object of Kubernetes, and refers to a Service that does not exist, or that it may not refer to.",
        then: "Report it to the operator; the conditions of the HTTPRoute say what is wrong. Retrying does not help.",
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

/// 401: what was sent is no token, or not one.
pub(crate) fn invalid_token(detail: &str) -> Problem {
    Problem::unauthenticated(detail).header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer error=\"invalid_token\""),
    )
}

/// 403 with the challenge of RFC 6750, 3.1.
pub(crate) fn insufficient_scope(detail: &str, challenge: HeaderValue) -> Problem {
    Problem::new(&INSUFFICIENT_SCOPE)
        .detail(detail)
        .header(header::WWW_AUTHENTICATE, challenge)
}

/// 403: a browser may have added the token to the request of another site.
pub(crate) fn cross_site_request() -> Problem {
    Problem::new(&CROSS_SITE_REQUEST)
}

/// 401: there is no session.
pub(crate) fn login_required() -> Problem {
    Problem::new(&LOGIN_REQUIRED)
}

/// 403: the user is not one of those who may.
pub(crate) fn login_refused() -> Problem {
    Problem::new(&LOGIN_REFUSED)
}

/// 400: the route does not allow protocol upgrades.
pub(crate) fn upgrade_refused() -> Problem {
    Problem::new(&UPGRADE_REFUSED)
}

/// 403: the page is of an origin that is not allowed.
pub(crate) fn origin_not_allowed() -> Problem {
    Problem::new(&ORIGIN_NOT_ALLOWED)
}

/// 403: the client IP is not in an allowed network.
pub(crate) fn network_not_allowed() -> Problem {
    Problem::new(&NETWORK_NOT_ALLOWED)
}

/// 421: the host asks for client certificates, which this connection was not asked for.
pub(crate) fn misdirected() -> Problem {
    Problem::new(&MISDIRECTED_REQUEST)
}

/// 503 with `Retry-After`: the route is being worked on.
pub(crate) fn maintenance(text: Option<&str>, retry_seconds: u64) -> Problem {
    let problem = Problem::new(&MAINTENANCE).retry_after(retry_seconds);
    match text {
        Some(text) => problem.detail(text.to_owned()),
        None => problem,
    }
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

/// 410: the route has ended.
pub(crate) fn version_retired() -> Problem {
    Problem::new(&VERSION_RETIRED)
}

/// 404: a lookup knows nothing of the name.
pub(crate) fn destination_not_found() -> Problem {
    Problem::new(&DESTINATION_NOT_FOUND)
}

/// 502: a lookup found an address that is not allowed.
pub(crate) fn destination_refused() -> Problem {
    Problem::new(&DESTINATION_REFUSED)
}

/// 503: a lookup failed.
pub(crate) fn destination_unavailable() -> Problem {
    Problem::not_now(&DESTINATION_UNAVAILABLE)
}

/// 503: the service that decides about the request has not. What is not allowed is refused.
pub(crate) fn authorization_unavailable(
    source: impl std::error::Error + Send + Sync + 'static,
) -> Problem {
    Problem::unavailable(source).detail("it cannot be checked whether the request is allowed")
}

/// 503: the files of a site cannot be read.
pub(crate) fn site_unavailable(source: impl std::error::Error + Send + Sync + 'static) -> Problem {
    Problem::unavailable(source).detail("the files of the site cannot be read")
}

/// 415 with the codings that are accepted (RFC 9110, 12.5.3).
pub(crate) fn unsupported_coding(accepted: HeaderValue) -> Problem {
    Problem::new(&UNSUPPORTED_CODING).header(header::ACCEPT_ENCODING, accepted)
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

/// 503: whether a limit is used up cannot be known, and its route does not do without.
pub(crate) fn limits_unavailable() -> Problem {
    Problem::not_now(&common::UNAVAILABLE).detail("the rate limits cannot be checked")
}

/// 503: there is no OpenAPI document to check the request against, or it cannot be used.
pub(crate) fn document_unavailable() -> Problem {
    Problem::not_now(&common::UNAVAILABLE)
        .detail("the request cannot be checked without the OpenAPI document of the service")
}

/// 503: the bodies that are being checked take as much memory as they may.
pub(crate) fn validation_overloaded() -> Problem {
    Problem::not_now(&common::UNAVAILABLE).detail("too many request bodies are being checked")
}

/// 400: the body is not JSON.
pub(crate) fn malformed_json(line: usize, column: usize) -> Problem {
    let detail = format!("syntax error or early end at line {line} column {column}");
    Problem::new(&common::MALFORMED_JSON).detail(detail)
}

/// 502: a replica closed the connection early, or its response is not HTTP.
pub(crate) fn bad_gateway() -> Problem {
    Problem::new(&BAD_GATEWAY)
}

/// 503: no replica can be reached.
pub(crate) fn upstream_unreachable() -> Problem {
    Problem::new(&UPSTREAM_UNREACHABLE).retry_after(1)
}

/// 503: the upstream has as many requests as it may have.
pub(crate) fn upstream_overloaded(retry_seconds: u64) -> Problem {
    Problem::new(&UPSTREAM_OVERLOADED).retry_after(retry_seconds)
}

/// 503: the circuit breaker of the upstream is open.
pub(crate) fn circuit_open(retry_seconds: u64) -> Problem {
    Problem::new(&CIRCUIT_OPEN).retry_after(retry_seconds.max(1))
}

/// 503: the connection is one too many.
pub(crate) fn too_many_connections() -> Problem {
    Problem::new(&TOO_MANY_CONNECTIONS).retry_after(1)
}

/// 504: the client wants a stored response, and there is none (RFC 9111, 5.2.1.7).
pub(crate) fn not_cached() -> Problem {
    Problem::new(&NOT_CACHED)
}

/// 504: a replica did not respond in time.
pub(crate) fn upstream_timeout() -> Problem {
    Problem::new(&UPSTREAM_TIMEOUT)
}

/// 500: the route is to reach a service that does not exist, or that it may not reach.
pub(crate) fn no_backend() -> Problem {
    Problem::new(&NO_BACKEND)
}

/// 500 without a cause.
pub(crate) fn internal() -> Problem {
    Problem::new(&common::INTERNAL)
}
