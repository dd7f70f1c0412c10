//! What the gateway adds to every operation: its own responses and rate limit headers.

use quartet_common::{
    openapi::{BEARER, PROBLEM, walk},
    problem::{Kind, kinds as common},
};
use quartet_openapi::{headers, problems};
use serde_json::{Map, Value, json};

use crate::error;

/// Statuses of responses that are sent before a rate limit has counted.
const BEFORE_LIMITS: [&str; 4] = ["400", "408", "413", "431"];
/// The only default route without a rate limit.
const UNLIMITED: &str = "/health";
const LIMIT: &str = "RateLimit";
const POLICY: &str = "RateLimit-Policy";

/// Documents the responses and headers that do not come from the services.
pub(super) fn add(document: &mut Value) {
    let headers = &mut document["components"]["headers"];
    headers[LIMIT] = json!({
        "description": "The remaining quota: `r` requests in the next `t` seconds \
            (draft-ietf-httpapi-ratelimit-headers). Absent on routes without a limit.",
        "schema": {"type": "string"},
        "example": "\"core\";r=99;t=60",
    });
    headers[POLICY] = json!({
        "description": "The rate limit: at most `q` requests in any `w` seconds per user, or per client IP \
            without a token. Absent on routes without a limit.",
        "schema": {"type": "string"},
        "example": "\"core\";q=100;w=60",
    });
    let mut all = Vec::new();
    walk::operations(document, |path, method, operation| {
        if !has_responses_of_the_standard(operation) {
            return;
        }
        let is_local =
            !path.starts_with("/v1/") && !path.starts_with("/s/") && !path.starts_with("/.");
        let is_limited = path != UNLIMITED;
        let mut kinds = responses(operation, is_local);
        if is_limited {
            kinds.push(&error::RATE_LIMITED);
        }
        problems::describe(method, operation, &kinds);
        all.extend(kinds);
        if is_limited {
            add_limit_headers(operation);
        }
    });
    problems::show(document, &all);
}

/// Upstreams may serve anything. What is not an object cannot be added to.
fn has_responses_of_the_standard(operation: &Map<String, Value>) -> bool {
    let is_map = |value: Option<&Value>| value.is_none_or(Value::is_object);
    let is_response = |response: &Value| {
        let content = response.get("content");
        let problem = content.and_then(|content| content.get(PROBLEM));
        let examples = problem.and_then(|problem| problem.get("examples"));
        let headers = response.get("headers");
        response.is_object()
            && [content, problem, examples, headers]
                .into_iter()
                .all(is_map)
    };
    let responses = operation.get("responses");
    is_map(responses)
        && responses.is_none_or(|all| {
            let mut all = all.as_object().into_iter().flatten();
            all.all(|(_, response)| is_response(response))
        })
}

fn responses(operation: &Map<String, Value>, is_local: bool) -> Vec<&'static Kind> {
    let mut kinds = vec![
        &error::MALFORMED_REQUEST,
        &error::HEADERS_TOO_LARGE,
        &common::REQUEST_TIMEOUT,
        &common::INTERNAL,
    ];
    if !is_local {
        kinds.extend([
            &error::BAD_GATEWAY,
            &error::UPSTREAM_UNREACHABLE,
            &error::UPSTREAM_TIMEOUT,
        ]);
    }
    // Documents of upstreams need not have `responses` (OpenAPI 3.1).
    let described = operation.get("responses");
    if described.is_none_or(|responses| responses.get("101").is_none()) {
        kinds.push(&error::UPGRADE_REFUSED);
    }
    if operation.contains_key("requestBody") {
        kinds.push(&common::BODY_TOO_LARGE);
    }
    let security = operation.get("security").and_then(Value::as_array);
    if security.is_some_and(|all| all.iter().any(|one| one.get(BEARER).is_some())) {
        kinds.extend([&common::UNAUTHENTICATED, &common::UNAVAILABLE]);
    }
    kinds
}

fn add_limit_headers(operation: &mut Map<String, Value>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_upstreams_may_be_strange() {
        for (operation, is_extended) in [
            (json!({}), true),
            (json!({"responses": {}}), true),
            (json!({"responses": {"200": {"description": ""}}}), true),
            (json!({"responses": "none"}), false),
            (json!({"responses": {"400": "bad"}}), false),
            (json!({"responses": {"400": {"content": []}}}), false),
            (
                json!({"responses": {"400": {"content": {PROBLEM: 1}}}}),
                false,
            ),
            (
                json!({"responses": {"400": {"content": {PROBLEM: {"examples": 1}}}}}),
                false,
            ),
            (json!({"responses": {"200": {"headers": "x"}}}), false),
        ] {
            let mut document = json!({
                "components": {"headers": {}},
                "paths": {"/v1/a": {"get": operation}},
            });
            add(&mut document);
            let operation_now = &document["paths"]["/v1/a"]["get"];
            let has_limit = operation_now.pointer("/responses/429").is_some();
            assert_eq!(has_limit, is_extended, "{operation}");
        }
    }
}
