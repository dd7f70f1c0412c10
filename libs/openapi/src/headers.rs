//! Headers that mean the same in every operation: described here, and named by the operations.

use serde_json::{Map, Value, json};

use super::walk;

const REQUEST_ID: &str = "X-Request-Id";
const REPLAYED: &str = "Idempotency-Replayed";
const RETRY_PERHAPS: &str = "Retry-After-Perhaps";
const RETRY_AFTER: &str = "Retry-After";
const CHALLENGE: &str = "WWW-Authenticate";

/// Headers of requests by name: what an operation says of one is replaced by this.
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
                "description": "Makes sending again harmless: the same key with the same body gives the same \
                    answer for 24 hours. 1 to 255 visible ASCII characters, new for each different request.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
                "example": "7f1c9a52-6c1e-4a53-9b0e-0d6f7a1f3c55",
            }),
        ),
        (
            "If-Match",
            tag(
                "Entity tags of the versions that the request is meant for, or `*`. If the current version is another \
                 one, nothing is done.",
                "\"usr_01jd6x8rv3fq4t2m8n5k7c9e1z.3\"",
            ),
        ),
        (
            "If-None-Match",
            tag(
                "Entity tags that the client has. If the current version is among them, it is not sent again.",
                "\"usr_01jd6x8rv3fq4t2m8n5k7c9e1z.3\"",
            ),
        ),
    ]
}

/// Headers of answers that are told by reference.
fn components() -> Value {
    json!({
        REQUEST_ID: {
            "description": "Names the request in the logs; tell it when you report a problem",
            "required": true,
            "schema": {"type": "string", "minLength": 1, "maxLength": 128},
            "example": "019a2f6e-7d64-7c30-9d5e-2f1f3a1f9f10",
        },
        REPLAYED: {
            "description": "`true` when this is the answer that was kept for the Idempotency-Key",
            "schema": {"type": "string", "enum": ["true"]},
        },
        RETRY_AFTER: {
            "description": "Seconds after which the request may be sent again",
            "required": true,
            "schema": {"type": "integer", "format": "int64", "minimum": 1},
            "example": 1,
        },
        // Not every problem with this status is one that passes.
        RETRY_PERHAPS: {
            "description": "Seconds after which the request may be sent again, where that can help",
            "schema": {"type": "integer", "format": "int64", "minimum": 1},
            "example": 1,
        },
        CHALLENGE: {
            "description": "How to authenticate (RFC 6750); `error=\"invalid_token\"` where a token was sent",
            "required": true,
            "schema": {"type": "string"},
            "example": "Bearer error=\"invalid_token\"",
        },
    })
}

/// Describes the shared headers of every operation, whose problems are known by now.
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

/// Adds what every response with this status has.
pub fn add_to(status: &str, response: &mut Value) {
    refer(response, REQUEST_ID);
    match status {
        "401" => refer(response, CHALLENGE),
        "429" | "503" => refer(response, RETRY_AFTER),
        _ => {}
    }
}

/// Says that a response may tell when to try again.
pub(super) fn may_retry(response: &mut Value) {
    response["headers"][RETRY_AFTER] =
        json!({"$ref": format!("#/components/headers/{RETRY_PERHAPS}")});
}

/// Headers that no response of this document has are not described.
pub(super) fn drop_unused(document: &mut Value) {
    let text = document["paths"].to_string();
    let headers = document["components"]["headers"].as_object_mut();
    if let Some(headers) = headers {
        headers.retain(|name, _| text.contains(&format!("\"#/components/headers/{name}\"")));
    }
}

/// Adds a header of the components to a response, unless it has one of the name.
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

/// Gives the shared parameters their description; tells whether there is an Idempotency-Key.
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

/// 304 carries the entity tag that 200 does.
fn keep_tag_when_unchanged(responses: &mut Map<String, Value>) {
    let tag = responses
        .get("200")
        .and_then(|response| response["headers"].get("ETag"))
        .cloned();
    if let (Some(tag), Some(unchanged)) = (tag, responses.get_mut("304")) {
        unchanged["headers"]["ETag"] = tag;
    }
}

/// What an operation promises of its own it always sends.
fn require_own(response: &mut Value) {
    let headers = response.get_mut("headers").and_then(Value::as_object_mut);
    for header in headers.into_iter().flat_map(Map::values_mut) {
        if header.get("$ref").is_none() {
            header["required"] = true.into();
        }
    }
}
