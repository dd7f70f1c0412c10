//! Each rule by an example: a change to a document, and the rules that it meets.

use serde_json::{Value, json};

use super::openapi;

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "paths": {"/things/{id}": {"put": {
            "operationId": "put_thing",
            "security": [],
            "parameters": [
                {"in": "path", "name": "id", "required": true, "schema": {"type": "string"}},
                {"in": "query", "name": "kind", "schema": {"$ref": "#/components/schemas/Kind"}},
            ],
            "requestBody": {"required": true, "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}},
                "text/plain": {"schema": {"type": "string"}},
            }},
            "responses": {
                "200": {
                    "headers": {"ETag": {"required": true, "schema": {"type": "string"}}},
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                },
                "404": {"x-problem-codes": ["not_found"]},
            },
        }}},
        "components": {"schemas": {
            "Kind": {"type": "string", "enum": ["a", "b"]},
            "Thing": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "maxLength": 10, "format": "email"},
                    "size": {"type": "integer", "minimum": 1},
                    "inner": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Thing"}]},
                },
            },
        }},
    })
}

/// The rules that a change meets, with a mark on those that break clients.
fn rules(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let (old, mut new) = (document(), document());
    change(&mut new);
    let changes = openapi::compare(&old, &new).into_iter();
    let mut rules: Vec<String> = changes
        .map(|change| format!("{}{}", if change.breaking { "!" } else { "" }, change.rule))
        .collect();
    rules.sort();
    rules.dedup();
    rules
}

const PUT: &str = "/paths/~1things~1{id}/put";
const THING: &str = "/components/schemas/Thing";

/// Sets a value at a pointer whose parent exists; null removes it.
fn set(document: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/");
    let parent = document.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items.push(value),
        parent if value.is_null() => drop(parent.as_object_mut().unwrap().remove(&name)),
        parent => parent[name.as_str()] = value,
    }
}

#[test]
fn equal_documents_have_no_changes() {
    assert!(rules(|_| {}).is_empty());
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of changes")]
fn every_rule_classifies_its_change() {
    let gone = Value::Null;
    let required = json!({"in": "query", "name": "q", "required": true, "schema": {}});
    let optional = json!({"in": "query", "name": "q", "schema": {}});
    let cases: Vec<(&str, Value, &[&str])> = vec![
        // Operations.
        (
            "/paths/~1things~1{id}",
            gone.clone(),
            &["!operation-removed"],
        ),
        ("/paths/~1more", json!({"get": {}}), &["operation-added"]),
        (
            "PUT/operationId",
            json!("set_thing"),
            &["!operation-id-changed"],
        ),
        (
            "PUT/security",
            json!([{"bearer": []}]),
            &["!security-added"],
        ),
        // Parameters.
        ("PUT/parameters/-", required, &["!required-parameter-added"]),
        ("PUT/parameters/-", optional, &["parameter-added"]),
        (
            "PUT/parameters/1/required",
            json!(true),
            &["!parameter-required"],
        ),
        (
            "PUT/parameters/0/schema/type",
            json!(["string", "null"]),
            &[],
        ),
        ("PUT/parameters", json!([]), &["!parameter-removed"]),
        (
            "/components/schemas/Kind/enum",
            json!(["a"]),
            &["!enum-value-removed"],
        ),
        (
            "/components/schemas/Kind/enum",
            json!(["a", "b", "c"]),
            &["enum-value-added"],
        ),
        // Bodies.
        ("PUT/requestBody/required", json!(false), &["body-optional"]),
        (
            "PUT/requestBody/content/text~1plain",
            gone.clone(),
            &["!media-type-removed"],
        ),
        (
            "PUT/requestBody/content/text~1html",
            json!({}),
            &["media-type-added"],
        ),
        // Responses.
        ("PUT/responses/201", json!({}), &["!status-added"]),
        ("PUT/responses/409", json!({}), &["status-added"]),
        ("PUT/responses/404", gone.clone(), &["status-removed"]),
        ("PUT/responses/200", gone.clone(), &["!status-removed"]),
        (
            "PUT/responses/200/headers/ETag",
            gone.clone(),
            &["!header-removed"],
        ),
        (
            "PUT/responses/200/headers/ETag/required",
            json!(false),
            &["!header-optional"],
        ),
        (
            "PUT/responses/404/x-problem-codes",
            json!(["no_route"]),
            &["code-added", "code-removed"],
        ),
        // A schema that both sides write: what is narrower for one is wider for the other.
        (
            "THING/properties/name/type",
            json!("integer"),
            &[
                "!type-narrowed",
                "!type-widened",
                "type-narrowed",
                "type-widened",
            ],
        ),
        (
            "THING/properties/name/type",
            json!(["string", "null"]),
            &["!type-widened", "type-widened"],
        ),
        (
            "THING/properties/name/maxLength",
            json!(5),
            &["!limit-narrowed", "limit-narrowed"],
        ),
        (
            "THING/properties/name/maxLength",
            json!(50),
            &["!limit-widened", "limit-widened"],
        ),
        (
            "THING/properties/size/minimum",
            json!(0),
            &["!limit-widened", "limit-widened"],
        ),
        (
            "THING/properties/size/minimum",
            json!(2),
            &["!limit-narrowed", "limit-narrowed"],
        ),
        (
            "THING/properties/name/format",
            gone.clone(),
            &["!format-widened", "format-widened"],
        ),
        (
            "THING/properties/name/format",
            json!("uri"),
            &["!format-narrowed"],
        ),
        (
            "THING/properties/size/format",
            json!("int64"),
            &["!format-narrowed", "format-narrowed"],
        ),
        (
            "THING/properties/name/pattern",
            json!("a"),
            &["!pattern-narrowed", "pattern-narrowed"],
        ),
        (
            "THING/properties/size",
            gone.clone(),
            &["!property-removed"],
        ),
        ("THING/properties/more", json!({}), &["property-added"]),
        (
            "THING/required",
            json!(["name", "size"]),
            &["!property-required", "property-required"],
        ),
        (
            "THING/required",
            json!([]),
            &["!property-optional", "property-optional"],
        ),
        (
            "THING/additionalProperties",
            json!(false),
            &["!members-closed", "members-closed"],
        ),
        (
            "THING/properties/inner/oneOf",
            json!([{"type": "null"}]),
            &["!choice-removed", "choice-removed"],
        ),
        (
            "THING/properties/size/type",
            json!("number"),
            &["!type-widened", "type-widened"],
        ),
    ];
    for (pointer, value, expected) in cases {
        let place = pointer.replace("PUT", PUT).replace("THING", THING);
        let found = rules(|document| set(document, &place, value.clone()));
        assert_eq!(found, expected, "{pointer} = {value}");
    }
}

#[test]
fn a_new_required_property_of_a_request_breaks_clients() {
    let found = rules(|document| {
        set(
            document,
            "/components/schemas/Thing/properties/more",
            json!({}),
        );
        set(
            document,
            "/components/schemas/Thing/required",
            json!(["name", "more"]),
        );
    });
    assert_eq!(found, ["!required-property-added", "property-added"]);
}
