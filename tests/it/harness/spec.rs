//! The committed documents, and the check that responses match them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::{HeaderMap, Method};
use quartet_devstack::workspace;
use quartet_testing::contract::{Contract, Exchange};
use serde_json::Value;

pub(crate) use quartet_testing::contract::Operation;

/// The document of the gateway: every operation of every service.
static MERGED: LazyLock<Contract> = LazyLock::new(|| Contract::new(&committed("gateway")));

/// All operations of the merged document.
pub(crate) fn operations() -> &'static [Operation] {
    MERGED.operations()
}

/// The committed document of one service.
pub(crate) fn document(service: &str) -> Value {
    serde_json::from_str(&committed(service)).unwrap()
}

fn committed(service: &str) -> String {
    let path = workspace::root().join(format!("services/{service}/openapi.json"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The service of an operation: `core`, `media`, `links`, or empty for the gateway.
pub(crate) fn service_of(operation: &Operation) -> &str {
    let parts: Vec<&str> = operation.path.split('/').collect();
    match parts.as_slice() {
        [_, "v1", service, ..] => service,
        [_, ".well-known", ..] => "core",
        [_, "s", ..] => "links",
        _ => "",
    }
}

/// Prefixes of documented paths. Tests add routes that are not documented.
const OWN: [&str; 5] = ["/v1/", "/s/", "/.well-known/", "/openapi", "/health"];

/// Fails unless the response matches the merged document: status, headers, media type, body, code.
pub(crate) fn check(method: &Method, path: &str, status: u16, headers: &HeaderMap, body: &[u8]) {
    if !OWN.iter().any(|start| path.starts_with(start)) {
        return;
    }
    let response = Exchange {
        method,
        path,
        status,
        headers,
        body: Some(body),
    };
    if let Err(violation) = MERGED.check(&response) {
        panic!("{violation}");
    }
}

/// Whether each operation needs a token, by id, method and path; to compare documents.
pub(crate) fn summary(document: &Value) -> BTreeMap<String, bool> {
    Contract::new(&document.to_string())
        .operations()
        .iter()
        .map(|operation| {
            (
                format!("{} {} {}", operation.id, operation.method, operation.path),
                operation.secured,
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use serde_json::{Value, json};

    use super::check;

    fn jwks(status: u16, body: &Value, header: &'static str) {
        let body = body.to_string();
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        headers.insert("x-request-id", "1".parse().unwrap());
        headers.insert(header, "\"1\"".parse().unwrap());
        let path = "/.well-known/jwks.json";
        check(&Method::GET, path, status, &headers, body.as_bytes());
    }

    fn me(status: u16, code: &str) {
        let body = json!({
            "type": format!("urn:quartet:problem:{code}"), "title": "t", "status": status,
            "code": code, "instance": "/v1/core/users/me", "request_id": "1",
        });
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/problem+json".parse().unwrap());
        headers.insert("x-request-id", "1".parse().unwrap());
        headers.insert("www-authenticate", "Bearer".parse().unwrap());
        let (path, body) = ("/v1/core/users/me", body.to_string());
        check(&Method::GET, path, status, &headers, body.as_bytes());
    }

    #[test]
    fn documented_responses_pass() {
        jwks(200, &json!({ "keys": [] }), "etag");
        me(401, "unauthenticated");
    }

    #[test]
    #[should_panic(expected = "not what get_jwks")]
    fn missing_members_fail() {
        jwks(200, &json!({}), "etag");
    }

    #[test]
    #[should_panic(expected = "not what get_jwks")]
    fn undocumented_members_fail() {
        jwks(200, &json!({ "keys": [], "private": true }), "etag");
    }

    #[test]
    #[should_panic(expected = "get_jwks has no such status")]
    fn undocumented_statuses_fail() {
        jwks(202, &json!({ "keys": [] }), "etag");
    }

    #[test]
    #[should_panic(expected = "the header ETag is missing")]
    fn missing_headers_fail() {
        jwks(200, &json!({ "keys": [] }), "x-other");
    }

    #[test]
    #[should_panic(expected = "the problem code \"invalid_credentials\" is not among")]
    fn undocumented_codes_fail() {
        me(401, "invalid_credentials");
    }
}
