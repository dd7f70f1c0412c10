//! Which problems an operation may answer with, and how documents tell it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{About, BEARER, PROBLEM, headers, walk};
use quartet_common::problem::{FieldError, Kind, Problem, kinds};

/// Codes of problems: what an operation itself may answer with, and then each response's.
pub const CODES: &str = "x-problem-codes";
/// Codes that errors of GraphQL hold; such an operation reads its parameters itself.
pub const GRAPHQL_CODES: &str = "x-graphql-error-codes";

/// Adds the problems of every operation: what it names, and what follows from its form.
pub(super) fn add(document: &mut Value, about: &About) {
    let mut all: Vec<&'static Kind> = Vec::new();
    walk::operations(document, |_, method, operation| {
        let named = operation.remove(CODES);
        let named = named.as_ref().and_then(Value::as_array);
        let named = named.into_iter().flatten().map(|code| {
            let code = code.as_str().unwrap_or_default();
            find(code, about.kinds)
                .unwrap_or_else(|| panic!("no kind of problem has the code `{code}`"))
        });
        let kinds: Vec<&'static Kind> = named
            .chain(about.everywhere.iter().copied())
            .chain(shared(operation))
            .collect();
        describe(method, operation, &kinds);
        all.extend(kinds);
    });
    show(document, &all);
}

/// Adds these kinds to the responses of an operation, beside those that are there.
///
/// # Panics
/// When a response is no object.
pub fn describe(method: &str, operation: &mut Map<String, Value>, list: &[&'static Kind]) {
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    let mut by_status: BTreeMap<String, BTreeMap<&str, &Kind>> = BTreeMap::new();
    for kind in list {
        let status = by_status.entry(kind.status.as_str().to_owned());
        status.or_default().insert(kind.code, kind);
    }
    for (status, some) in by_status {
        let response = &mut responses[&status];
        if response.is_null() {
            *response = json!({"description": ""});
        }
        for kind in some.values() {
            tell(response, kind);
            if method != "head" {
                let content = &mut response["content"][PROBLEM];
                content["schema"] = json!({"$ref": "#/components/schemas/Problem"});
                let example = format!("#/components/examples/{}", kind.code);
                content["examples"][kind.code] = json!({"$ref": example});
            }
        }
        if some.contains_key(kinds::REQUEST_IN_FLIGHT.code) {
            headers::may_retry(response);
        }
        headers::add_to(&status, response);
    }
}

/// Puts an example of each kind into the components.
///
/// # Panics
/// When the document has components that are no objects.
pub fn show(document: &mut Value, kinds: &[&'static Kind]) {
    for kind in kinds {
        document["components"]["examples"][kind.code] = json!({
            "summary": kind.title,
            "description": format!("When {}. Then: {}.", kind.when, kind.then),
            "value": example(kind),
        });
    }
}

fn find(code: &str, own: &'static [&'static Kind]) -> Option<&'static Kind> {
    let mut all = own.iter().chain(kinds::ALL);
    all.find(|kind| kind.code == code).copied()
}

/// What the parameters, the body and the security of an operation bring along.
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
        // Everything else is told in the form of GraphQL.
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
    // A token that comes with a key is looked at even where none is needed: keys belong to callers.
    if secured || keyed {
        found.extend([&kinds::UNAUTHENTICATED, &kinds::UNAVAILABLE]);
    }
    if takes("header", "If-Match") {
        found.push(&kinds::PRECONDITION_FAILED);
    }
    // What takes neither reads nothing of anybody's.
    if secured || has_body || takes("path", "") {
        found.push(&kinds::DATABASE_UNAVAILABLE);
    }
    found
}

/// One line for each code, below what the operation says itself.
fn tell(response: &mut Value, kind: &Kind) {
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
            "must be one address, such as ada@example.com",
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
    fn the_form_of_an_operation_tells_its_problems() {
        assert!(codes(json!({"security": []})).is_empty());
        let listed = codes(json!({
            "security": [{"bearer": []}],
            "parameters": [{"in": "query", "name": "limit"}],
        }));
        let expected = [
            "database_unavailable",
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
    fn a_response_tells_each_code_once_whoever_adds_it() {
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
