//! Each rule by an example: the old document, a change to it, and what is said of it.

use serde_json::{Value, json};

use super::{Change, graphql, openapi};

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

/// Rules that a change meets, with a mark on those that break.
fn rules(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let (old, mut new) = (document(), document());
    change(&mut new);
    told(openapi::compare(&old, &new))
}

fn told(changes: Vec<Change>) -> Vec<String> {
    let mut told: Vec<String> = changes
        .iter()
        .map(|change| format!("{}{}", if change.breaking { "!" } else { "" }, change.rule))
        .collect();
    told.sort();
    told.dedup();
    told
}

const PUT: &str = "/paths/~1things~1{id}/put";
const THING: &str = "/components/schemas/Thing";

/// Puts a value where the pointer leads; its parent is there.
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
fn the_same_is_no_change() {
    assert!(rules(|_| {}).is_empty());
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of changes")]
fn each_change_of_a_document_is_judged() {
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
        // Schemas that both sides write: what one may, the other must bear.
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
    ];
    for (pointer, value, expected) in cases {
        let place = pointer.replace("PUT", PUT).replace("THING", THING);
        let found = rules(|document| set(document, &place, value.clone()));
        assert_eq!(found, expected, "{pointer} = {value}");
    }
}

#[test]
fn a_new_property_that_clients_must_send_breaks_them() {
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

#[test]
fn each_change_of_a_graphql_schema_is_judged() {
    let old = "
        type Query { thing(id: ID!, kind: Kind = A): Thing things: [Thing!]! }
        type Thing implements Node { id: ID! name: String kind: Kind! }
        interface Node { id: ID! }
        enum Kind { A B }
        enum Order { ASC }
        input Wish { name: String! size: Int order: Order }
        union Any = Thing
        scalar Time";
    let cases: &[(&str, &str, &[&str])] = &[
        ("", "", &[]),
        ("scalar Time", "", &["!type-removed"]),
        ("scalar Time", "scalar Time scalar Date", &["type-added"]),
        ("scalar Time", "enum Time { NOW }", &["!kind-changed"]),
        ("name: String kind", "kind", &["!field-removed"]),
        (
            "name: String kind",
            "name: String title: String kind",
            &["field-added"],
        ),
        (
            "name: String kind",
            "name: String! kind",
            &["field-type-changed"],
        ),
        (
            "things: [Thing!]!",
            "things: [Thing]!",
            &["!field-type-changed"],
        ),
        ("id: ID!, kind", "kind", &["!input-removed"]),
        ("id: ID!, kind", "id: ID, kind", &["input-type-changed"]),
        (
            "kind: Kind = A",
            "kind: Kind! = A",
            &["!input-type-changed"],
        ),
        ("kind: Kind = A", "kind: Kind = B", &["!default-changed"]),
        ("kind: Kind = A", "kind: Kind = A, n: Int", &["input-added"]),
        (
            "kind: Kind = A",
            "kind: Kind = A, n: Int!",
            &["!required-input-added"],
        ),
        ("size: Int", "size: Int!", &["!input-type-changed"]),
        ("size: Int", "", &["!input-removed"]),
        (
            "size: Int",
            "size: Int more: Int!",
            &["!required-input-added"],
        ),
        ("{ A B }", "{ A }", &["!enum-value-removed"]),
        // One that answers hold, and one that only clients write.
        ("{ A B }", "{ A B C }", &["!enum-value-added"]),
        ("{ ASC }", "{ ASC DESC }", &["enum-value-added"]),
        (
            "union Any = Thing",
            "union Any = Thing | Query",
            &["!union-changed"],
        ),
        ("implements Node", "", &["!interface-removed"]),
    ];
    for (from, to, expected) in cases {
        let new = if from.is_empty() {
            old.to_owned()
        } else {
            old.replacen(from, to, 1)
        };
        let found = told(graphql::compare(old, &new).unwrap());
        assert_eq!(found, *expected, "{from} -> {to}");
    }
}

#[test]
fn a_schema_that_could_not_be_read_breaks_nobody_and_one_that_cannot_is_an_error() {
    let (good, bad) = ("type Query { a: Int }", "type Query { \"\\\" a: Int }");
    assert_eq!(
        told(graphql::compare(bad, good).unwrap()),
        ["schema-mended"]
    );
    assert!(graphql::compare(good, bad).is_err());
}
