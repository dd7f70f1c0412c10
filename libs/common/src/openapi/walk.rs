//! Visits the schemas and operations of an OpenAPI document. An example with a member `type`, or a
//! property called `schema`, is not mistaken for a schema.

use serde_json::{Map, Value};

/// Keywords whose value is a schema.
const ONE: [&str; 9] = [
    "items",
    "additionalProperties",
    "propertyNames",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedProperties",
];
/// Keywords whose value is a list of schemas.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value is a map of schemas.
const NAMED: [&str; 4] = [
    "properties",
    "patternProperties",
    "$defs",
    "dependentSchemas",
];
/// Keys of a document whose values are arbitrary data.
const DATA: [&str; 4] = ["example", "examples", "default", "value"];

/// Calls `change` with every schema of the document, the inner ones first.
pub fn schemas(document: &mut Value, change: &mut impl FnMut(&mut Value)) {
    if let Some(named) = document.pointer_mut("/components/schemas") {
        each_value(named, &mut |schema| below(schema, change));
    }
    outside(document, change);
}

/// Calls `change` with the schema and every schema in it, the inner ones first.
pub fn below(schema: &mut Value, change: &mut impl FnMut(&mut Value)) {
    if let Some(keys) = schema.as_object_mut() {
        for (key, value) in keys.iter_mut() {
            match key.as_str() {
                key if ONE.contains(&key) => below(value, change),
                key if LIST.contains(&key) => value
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                    .for_each(|item| below(item, change)),
                key if NAMED.contains(&key) => each_value(value, &mut |item| below(item, change)),
                _ => {}
            }
        }
    }
    change(schema);
}

/// Calls `visit` with every operation: path, method in lower case, and the operation.
pub fn operations(
    document: &mut Value,
    mut visit: impl FnMut(&str, &str, &mut Map<String, Value>),
) {
    const METHODS: [&str; 8] = [
        "get", "put", "post", "delete", "options", "head", "patch", "trace",
    ];
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for (path, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if let (true, Some(operation)) = (
                METHODS.contains(&method.as_str()),
                operation.as_object_mut(),
            ) {
                visit(path, method, operation);
            }
        }
    }
}

fn outside(value: &mut Value, change: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Object(keys) => {
            for (key, value) in keys.iter_mut() {
                match key.as_str() {
                    "schema" => below(value, change),
                    // Those of the components; done already.
                    "schemas" => {}
                    key if DATA.contains(&key) || key.starts_with("x-") => {}
                    _ => outside(value, change),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| outside(item, change)),
        _ => {}
    }
}

fn each_value(named: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    for value in named.as_object_mut().into_iter().flat_map(Map::values_mut) {
        visit(value);
    }
}
