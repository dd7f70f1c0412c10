//! Which problems an operation may return, and how documents describe them.
//!
//! An operation lists only the codes that are its own. The rest follows from its form: what has a
//! body may fail to parse, what is protected may be unauthenticated, what takes an idempotency key
//! may conflict.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use quartet_common::{
    openapi::{BEARER, CODES, GRAPHQL_CODES, PROBLEM, walk},
    problem::{
        FieldError, Kind, Problem,
        kinds::{self, REQUEST_IN_FLIGHT},
    },
};

use crate::{headers, origin::Origin};

/// Adds the problems of every operation: those that it lists, and those that follow from its form.
pub(super) fn add(document: &mut Value, origin: &Origin) {
    let mut all: Vec<&'static Kind> = Vec::new();
    walk::operations(document, |_, method, operation| {
        let named = operation.remove(CODES);
        let named = named.as_ref().and_then(Value::as_array);
        let named = named.into_iter().flatten().map(|code| {
            let code = code.as_str().unwrap_or_default();
            find(code, origin.kinds)
                .unwrap_or_else(|| panic!("no kind of problem has the code `{code}`"))
        });
        let kinds: Vec<&'static Kind> = named
            .chain(origin.everywhere.iter().copied())
            .chain(shared(operation))
            .collect();
        describe(method, operation, &kinds);
        all.extend(kinds);
    });
    show(document, &all);
}

/// Adds these kinds to the responses of an operation. Kinds that are there already stay.
///
/// # Panics
/// When a response is not an object.
pub fn describe(method: &str, operation: &mut Map<String, Value>, kinds: &[&'static Kind]) {
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    let mut by_status: BTreeMap<String, BTreeMap<&str, &Kind>> = BTreeMap::new();
    for kind in kinds {
        let status = by_status.entry(kind.status.as_str().to_owned());
        status.or_default().insert(kind.code, kind);
    }
    for (status, some) in by_status {
        let response = &mut responses[&status];
        if response.is_null() {
            *response = json!({"description": ""});
        }
        for kind in some.values() {
            list(response, kind);
            if method != "head" {
                let content = &mut response["content"][PROBLEM];
                content["schema"] = json!({"$ref": "#/components/schemas/Problem"});
                let example = format!("#/components/examples/{}", kind.code);
                content["examples"][kind.code] = json!({"$ref": example});
            }
        }
        if some.contains_key(REQUEST_IN_FLIGHT.code) {
            headers::may_retry(response);
        }
        headers::add_to(&status, response);
    }
}

/// Adds an example of each kind to the components.
///
/// # Panics
/// When the components are not an object.
pub fn show(document: &mut Value, kinds: &[&'static Kind]) {
    for kind in kinds {
        document["components"]["examples"][kind.code] = json!({
            "summary": kind.title,
            "description": format!("{} {}", kind.when, kind.then),
            "value": example(kind),
        });
    }
}

fn find(code: &str, own: &'static [&'static Kind]) -> Option<&'static Kind> {
    let mut all = own.iter().chain(kinds::ALL);
    all.find(|kind| kind.code == code).copied()
}

/// The problems that follow from the parameters, the body and the security of an operation.
fn shared(operation: &Map<String, Value>) -> Vec<&'static Kind> {
    let has_body = operation.contains_key("requestBody");
    let secured = operation["security"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one.get(BEARER).is_some()));
    let parameters = operation.get("parameters").and_then(Value::as_array);
    let takes = |place: &str, name: &str| {
        parameters.is_some_and(|all| {
            all.iter()
                .any(|one| one["in"] == place && (name.is_empty() || one["name"] == name))
        })
    };
    let keyed = takes("header", "Idempotency-Key");
    let mut found: Vec<&'static Kind> = Vec::new();
    if has_body {
        found.extend([
            &kinds::REQUEST_TIMEOUT,
            &kinds::BODY_TOO_LARGE,
            &kinds::UNSUPPORTED_MEDIA_TYPE,
        ]);
    }
    if operation.contains_key(GRAPHQL_CODES) {
        // All other errors are GraphQL errors in a response with status 200.
        return found;
    }
    if has_body {
        found.extend([
            &kinds::INCOMPLETE_BODY,
            &kinds::MALFORMED_JSON,
            &kinds::INVALID_BODY,
        ]);
    }
    if takes("query", "") || takes("path", "") || keyed {
        found.push(&kinds::INVALID_PARAMETER);
    }
    if keyed {
        found.extend([&kinds::REQUEST_IN_FLIGHT, &kinds::IDEMPOTENCY_KEY_REUSED]);
    }
    // Keys belong to callers, so a token sent with a key is verified even where none is required.
    if secured || keyed {
        found.extend([&kinds::UNAUTHENTICATED, &kinds::UNAVAILABLE]);
    }
    if secured {
        found.push(&kinds::FORBIDDEN);
    }
    if takes("header", "If-Match") {
        found.push(&kinds::PRECONDITION_FAILED);
    }
    // An operation without any of these reads no rows.
    if secured || has_body || takes("path", "") {
        found.push(&kinds::DATABASE_UNAVAILABLE);
    }
    found
}

/// Appends one line for the code to the description of the response.
fn list(response: &mut Value, kind: &Kind) {
    let codes = &mut response[CODES];
    if codes.is_null() {
        *codes = json!([]);
    }
    let Some(codes) = codes.as_array_mut() else {
        return;
    };
    if codes.iter().any(|known| known == kind.code) {
        return;
    }
    codes.push(kind.code.into());
    codes.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    let known = response["description"].as_str().unwrap_or_default();
    let line = format!("- `{}`: {}", kind.code, kind.title);
    let is_list = known
        .lines()
        .next_back()
        .unwrap_or_default()
        .starts_with("- ");
    let between = match (known.is_empty(), is_list) {
        (true, _) => "",
        (false, true) => "\n",
        (false, false) => "\n\n",
    };
    response["description"] = format!("{known}{between}{line}").into();
}

fn example(kind: &'static Kind) -> Value {
    let mut problem = Problem::new(kind);
    if kind == &kinds::INVALID_BODY {
        problem = problem.field(FieldError::body(
            "/email",
            "invalid_email",
            "must be an email such as ada@example.com",
        ));
    } else if kind == &kinds::INVALID_PARAMETER {
        problem = problem.field(FieldError::parameter(
            "cursor",
            "invalid_cursor",
            "must be the next_cursor of a page of this list",
        ));
    }
    let body = problem.to_body("019a2f6e-7d64-7c30-9d5e-2f1f3a1f9f10", "/v1/core/users");
    serde_json::to_value(body).expect("a problem is plain data")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(operation) => operation,
            _ => Map::new(),
        }
    }

    fn codes(value: Value) -> Vec<&'static str> {
        let mut codes: Vec<_> = shared(&operation(value)).iter().map(|k| k.code).collect();
        codes.sort_unstable();
        codes
    }

    #[test]
    fn problems_follow_from_the_form_of_an_operation() {
        assert!(codes(json!({"security": []})).is_empty());
        let listed = codes(json!({
            "security": [{"bearer": []}],
            "parameters": [{"in": "query", "name": "limit"}],
        }));
        let expected = [
            "database_unavailable",
            "forbidden",
            "invalid_parameter",
            "unauthenticated",
            "unavailable",
        ];
        assert_eq!(listed, expected);
        let graphql = codes(json!({
            "security": [{"bearer": []}], "requestBody": {}, "x-graphql-error-codes": [],
        }));
        assert!(!graphql.contains(&"invalid_body") && graphql.contains(&"body_too_large"));
    }

    #[test]
    fn a_response_lists_each_code_once() {
        let mut described = operation(json!({"responses": {"409": {"description": "Taken"}}}));
        let kinds = [&kinds::REQUEST_IN_FLIGHT];
        describe("post", &mut described, &kinds);
        describe("post", &mut described, &kinds);
        let response = &described["responses"]["409"];
        assert_eq!(response[CODES], json!(["request_in_flight"]));
        let text = response["description"].as_str().unwrap();
        assert!(
            text.starts_with("Taken\n\n- `request_in_flight`: "),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
        let examples = &response["content"][PROBLEM]["examples"];
        assert_eq!(
            examples["request_in_flight"]["$ref"],
            "#/components/examples/request_in_flight"
        );
    }
}
