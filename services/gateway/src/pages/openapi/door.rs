//! What the gateway adds to every operation: its own answers, and the headers of its limits.

use quartet_common::problem::kinds as common;
use quartet_openapi as openapi;
use quartet_openapi::{headers, problems, walk};
use serde_json::{Map, Value, json};

use crate::error::kinds;

/// Answers that are given before a limit has counted.
const BEFORE_LIMITS: [&str; 4] = ["400", "408", "413", "431"];
/// The one route that is shipped without a limit.
const UNLIMITED: &str = "/health";
const LIMIT: &str = "RateLimit";
const POLICY: &str = "RateLimit-Policy";

/// Adds to a merged document what clients of the gateway meet beside the services' answers.
pub(super) fn add(document: &mut Value) {
    let headers = &mut document["components"]["headers"];
    headers[LIMIT] = json!({
        "description": "What is left of the limit: `r` requests for the next `t` seconds \
            (draft-ietf-httpapi-ratelimit-headers). Left out where no limit is set.",
        "schema": {"type": "string"},
        "example": "\"core\";r=99;t=60",
    });
    headers[POLICY] = json!({
        "description": "The limit that counted: never more than `q` requests in any `w` seconds, for a user, \
            or without a token for a client's address. Left out where no limit is set.",
        "schema": {"type": "string"},
        "example": "\"core\";q=100;w=60",
    });
    let mut all = Vec::new();
    walk::operations(document, |path, method, operation| {
        let is_own =
            !path.starts_with("/v1/") && !path.starts_with("/s/") && !path.starts_with("/.");
        let is_limited = path != UNLIMITED;
        let mut kinds = answers(operation, is_own);
        if is_limited {
            kinds.push(&kinds::RATE_LIMITED);
        }
        problems::describe(method, operation, &kinds);
        all.extend(kinds);
        if is_limited {
            tell_limits(operation);
        }
    });
    problems::show(document, &all);
}

fn answers(
    operation: &Map<String, Value>,
    is_own: bool,
) -> Vec<&'static quartet_common::problem::Kind> {
    let mut found = vec![
        &kinds::MALFORMED_REQUEST,
        &kinds::HEADERS_TOO_LARGE,
        &common::REQUEST_TIMEOUT,
        &common::INTERNAL,
    ];
    if !is_own {
        found.extend([
            &kinds::BAD_GATEWAY,
            &kinds::UPSTREAM_UNREACHABLE,
            &kinds::UPSTREAM_TIMEOUT,
        ]);
    }
    if operation["responses"].get("101").is_none() {
        found.push(&kinds::UPGRADE_REFUSED);
    }
    if operation.contains_key("requestBody") {
        found.push(&common::BODY_TOO_LARGE);
    }
    let security = operation.get("security").and_then(Value::as_array);
    if security.is_some_and(|all| all.iter().any(|one| one.get(openapi::BEARER).is_some())) {
        found.extend([&common::UNAUTHENTICATED, &common::UNAVAILABLE]);
    }
    found
}

fn tell_limits(operation: &mut Map<String, Value>) {
    let responses = operation
        .get_mut("responses")
        .and_then(Value::as_object_mut);
    for (status, response) in responses.into_iter().flatten() {
        if !BEFORE_LIMITS.contains(&status.as_str()) {
            headers::refer(response, LIMIT);
            headers::refer(response, POLICY);
        }
    }
}
