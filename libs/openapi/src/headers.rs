//! Headers with the same meaning in all operations: described here, referenced by the operations.

use serde_json::{Map, Value, json};

use quartet_common::openapi::walk;

const REQUEST_ID: &str = "X-Request-Id";
const REPLAYED: &str = "Idempotency-Replayed";
const RETRY_PERHAPS: &str = "Retry-After-Perhaps";
const RETRY_AFTER: &str = "Retry-After";
const CHALLENGE: &str = "WWW-Authenticate";

/// Request headers. These descriptions replace those of the operations.
fn parameters() -> [(&'static str, Value); 3] {
    let tag = |description: &str, example: &str| {
        json!({
            "in": "header",
            "required": false,
            "description": description,
            "schema": {"type": "string"},
            "example": example,
        })
    };
    [
        (
            "Idempotency-Key",
            json!({
                "in": "header",
                "required": false,
                "description": "Makes retries safe: for 24 hours, the same key with the same body returns the \
                    same response. 1 to 255 visible ASCII characters; use a new key for each different request.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
                "example": "7f1c9a52-6c1e-4a53-9b0e-0d6f7a1f3c55",
            }),
        ),
        (
            "If-Match",
            tag(
                "Entity tags of the versions that the request applies to, or `*`. If the current version is not \
                 among them, the request fails with 412.",
                "\"usr_01jd6x8rv3fq4t2m8n5k7c9e1z.3\"",
            ),
        ),
        (
            "If-None-Match",
            tag(
                "Entity tags that the client has cached. If the current version is among them, the response is 304.",
                "\"usr_01jd6x8rv3fq4t2m8n5k7c9e1z.3\"",
            ),
        ),
    ]
}

/// Response headers, which are referenced.
fn components() -> Value {
    json!({
        REQUEST_ID: {
            "description": "Identifies the request in the logs; include it when you report a problem",
            "required": true,
            "schema": {"type": "string", "minLength": 1, "maxLength": 128},
            "example": "019a2f6e-7d64-7c30-9d5e-2f1f3a1f9f10",
        },
        REPLAYED: {
            "description": "`true` if this is the stored response of the idempotency key",
            "schema": {"type": "string", "enum": ["true"]},
        },
        RETRY_AFTER: {
            "description": "Seconds after which the request may be sent again",
            "required": true,
            "schema": {"type": "integer", "format": "int64", "minimum": 1},
            "example": 1,
        },
        // Not every problem with this status is temporary.
        RETRY_PERHAPS: {
            "description": "Seconds after which the request may be sent again, if that can help",
            "schema": {"type": "integer", "format": "int64", "minimum": 1},
            "example": 1,
        },
        CHALLENGE: {
            "description": "How to authenticate (RFC 6750); `error=\"invalid_token\"` if a token was sent",
            "required": true,
            "schema": {"type": "string"},
            "example": "Bearer error=\"invalid_token\"",
        },
    })
}

/// Adds the shared headers to every operation. Problems must have been added before.
pub(super) fn add(document: &mut Value) {
    document["components"]["headers"] = components();
    walk::operations(document, |_, _, operation| {
        let takes_key = replace_parameters(operation);
        let Some(responses) = operation
            .get_mut("responses")
            .and_then(Value::as_object_mut)
        else {
            return;
        };
        keep_tag_when_unchanged(responses);
        for (status, response) in responses {
            require_own(response);
            add_to(status, response);
            if takes_key && status.starts_with('2') {
                refer(response, REPLAYED);
            }
        }
    });
}

/// Adds the headers of every response with this status.
pub fn add_to(status: &str, response: &mut Value) {
    refer(response, REQUEST_ID);
    match status {
        "401" => refer(response, CHALLENGE),
        "429" | "503" => refer(response, RETRY_AFTER),
        _ => {}
    }
}

/// Adds an optional `Retry-After`.
pub(super) fn may_retry(response: &mut Value) {
    response["headers"][RETRY_AFTER] =
        json!({"$ref": format!("#/components/headers/{RETRY_PERHAPS}")});
}

/// Removes the headers that no response of this document refers to.
pub(super) fn drop_unused(document: &mut Value) {
    let text = document["paths"].to_string();
    let headers = document["components"]["headers"].as_object_mut();
    if let Some(headers) = headers {
        headers.retain(|name, _| text.contains(&format!("\"#/components/headers/{name}\"")));
    }
}

/// Adds a reference to a header to a response, unless it has a header of this name.
pub fn refer(response: &mut Value, name: &str) {
    if response["headers"].is_null() {
        response["headers"] = json!({});
    }
    if let Some(headers) = response["headers"].as_object_mut()
        && !headers.keys().any(|known| known.eq_ignore_ascii_case(name))
    {
        headers.insert(
            name.to_owned(),
            json!({"$ref": format!("#/components/headers/{name}")}),
        );
    }
}

/// Replaces the shared parameters. Returns whether there is an `Idempotency-Key`.
fn replace_parameters(operation: &mut Map<String, Value>) -> bool {
    let shared = parameters();
    let mut takes_key = false;
    let own = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in own.into_iter().flatten() {
        for (name, description) in &shared {
            if parameter["in"] == "header" && parameter["name"] == *name {
                takes_key |= *name == "Idempotency-Key";
                *parameter = description.clone();
                parameter["name"] = (*name).into();
            }
        }
    }
    takes_key
}

/// 304 has the entity tag of 200.
fn keep_tag_when_unchanged(responses: &mut Map<String, Value>) {
    let tag = responses
        .get("200")
        .and_then(|response| response["headers"].get("ETag"))
        .cloned();
    if let (Some(tag), Some(unchanged)) = (tag, responses.get_mut("304")) {
        unchanged["headers"]["ETag"] = tag;
    }
}

/// Headers that an operation declares itself are always sent.
fn require_own(response: &mut Value) {
    let headers = response.get_mut("headers").and_then(Value::as_object_mut);
    for header in headers.into_iter().flat_map(Map::values_mut) {
        if header.get("$ref").is_none() {
            header["required"] = true.into();
        }
    }
}
