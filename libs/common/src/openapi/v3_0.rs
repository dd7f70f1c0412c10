//! Converts a 3.1 document to 3.0.3, for tools without support for 3.1.
//!
//! What 3.0 cannot express is omitted; nothing is added that the 3.1 document does not say.

use serde_json::{Map, Value, json};

use super::walk;

/// Keywords of schemas without a counterpart in 3.0.
const UNKNOWN: [&str; 20] = [
    "$schema",
    "$id",
    "$anchor",
    "$comment",
    "$defs",
    "contains",
    "minContains",
    "maxContains",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependentRequired",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
    "examples",
];

/// The same document in `OpenAPI` 3.0.3.
#[must_use]
pub fn to_3_0(document: &Value) -> Value {
    let mut document = document.clone();
    walk::schemas(&mut document, &mut schema);
    document["openapi"] = "3.0.3".into();
    remove(&mut document, "", &["jsonSchemaDialect", "webhooks"]);
    remove(&mut document, "/info", &["summary"]);
    license_url(&mut document);
    remove(&mut document, "/components", &["pathItems"]);
    plain_references(&mut document);
    document
}

fn remove(document: &mut Value, pointer: &str, names: &[&str]) {
    let keys = document.pointer_mut(pointer).and_then(Value::as_object_mut);
    if let Some(keys) = keys {
        keys.retain(|key, _| !names.contains(&key.as_str()));
    }
}

/// 3.1 names the license by its SPDX expression, 3.0 by a URL.
fn license_url(document: &mut Value) {
    let license = document
        .pointer_mut("/info/license")
        .and_then(Value::as_object_mut);
    if let Some(license) = license
        && license.remove("identifier").is_some()
    {
        license.insert("url".into(), super::LICENSE_URL.into());
    }
}

/// Outside schemas, a reference has no description of its own in 3.0.
fn plain_references(value: &mut Value) {
    match value {
        Value::Object(keys) => {
            if keys.get("$ref").is_some_and(Value::is_string) {
                keys.retain(|key, _| key == "$ref");
            }
            for (key, value) in keys.iter_mut() {
                if !matches!(key.as_str(), "example" | "examples" | "schema" | "schemas") {
                    plain_references(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_references),
        _ => {}
    }
}

fn schema(schema: &mut Value) {
    match schema {
        Value::Bool(true) => *schema = json!({}),
        Value::Bool(false) => *schema = json!({"not": {}}),
        Value::Object(keys) => {
            null_of_types(keys);
            null_of_choices(keys, "oneOf");
            null_of_choices(keys, "anyOf");
            constants(keys);
            limit(keys, "minimum", "exclusiveMinimum");
            limit(keys, "maximum", "exclusiveMaximum");
            contents(keys);
            nothing_else(keys);
            if keys.get("type").is_some_and(|kind| kind == "array") {
                keys.entry("items").or_insert_with(|| json!({}));
            }
            keys.retain(|key, _| !UNKNOWN.contains(&key.as_str()));
            reference_with_others(keys);
        }
        _ => {}
    }
}

/// `type: [string, null]` becomes `nullable`, several other types become `anyOf`.
fn null_of_types(keys: &mut Map<String, Value>) {
    let kinds = match keys.get("type") {
        Some(Value::Array(kinds)) => kinds.clone(),
        Some(Value::String(kind)) if kind == "null" => vec!["null".into()],
        _ => return,
    };
    let (null, mut kinds): (Vec<_>, Vec<_>) = kinds.into_iter().partition(|kind| kind == "null");
    keys.remove("type");
    if !null.is_empty() {
        keys.insert("nullable".into(), true.into());
    }
    match (kinds.pop(), kinds.is_empty()) {
        (Some(kind), true) => drop(keys.insert("type".into(), kind)),
        (Some(last), false) => {
            kinds.push(last);
            let choices = kinds.into_iter().map(|kind| json!({"type": kind}));
            keys.insert("anyOf".into(), choices.collect());
        }
        (None, _) => drop(keys.insert("enum".into(), json!([null]))),
    }
}

/// `oneOf: [null, X]` becomes a nullable X.
fn null_of_choices(keys: &mut Map<String, Value>, word: &str) {
    let Some(Value::Array(choices)) = keys.get_mut(word) else {
        return;
    };
    let before = choices.len();
    // Inner schemas are converted first, so null has its 3.0 form here.
    choices.retain(|choice| choice.get("enum") != Some(&json!([null])));
    if choices.len() == before {
        return;
    }
    if let [only] = choices.as_slice() {
        let only = only.clone();
        keys.remove(word);
        if only.get("$ref").is_some() {
            keys.insert("allOf".into(), json!([only]));
        } else if let Value::Object(only) = only {
            for (key, value) in only {
                keys.entry(key).or_insert(value);
            }
        }
    }
    keys.insert("nullable".into(), true.into());
}

fn constants(keys: &mut Map<String, Value>) {
    if let Some(value) = keys.remove("const") {
        keys.insert("enum".into(), json!([value]));
    }
    let first = match keys.get("examples") {
        Some(Value::Array(examples)) => examples.first().cloned(),
        _ => None,
    };
    if let Some(first) = first {
        keys.entry("example").or_insert(first);
    }
}

/// An exclusive limit is a number in 3.1, and a flag beside the limit in 3.0.
fn limit(keys: &mut Map<String, Value>, inclusive: &str, exclusive: &str) {
    if keys.get(exclusive).is_some_and(Value::is_number)
        && let Some(number) = keys.insert(exclusive.into(), true.into())
    {
        keys.insert(inclusive.into(), number);
    }
}

fn contents(keys: &mut Map<String, Value>) {
    let encoding = keys.remove("contentEncoding");
    let kind = keys.remove("contentMediaType");
    let format = match (encoding, kind) {
        (Some(encoding), _) if encoding == "base64" => "byte",
        (None, Some(kind)) if kind == "application/octet-stream" => "binary",
        _ => return,
    };
    keys.entry("format").or_insert_with(|| format.into());
}

/// Here 3.0 allows `false`. From a schema that matches nothing, generators would make a map of any value.
fn nothing_else(keys: &mut Map<String, Value>) {
    if keys.get("additionalProperties") == Some(&json!({"not": {}})) {
        keys.insert("additionalProperties".into(), false.into());
    }
}

/// In 3.0, keywords beside a reference are ignored.
fn reference_with_others(keys: &mut Map<String, Value>) {
    if keys.len() > 1
        && let Some(target) = keys.remove("$ref")
    {
        keys.insert("allOf".into(), json!([{"$ref": target}]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn becomes(new: Value, old: Value) {
        let mut found = new;
        walk::below(&mut found, &mut schema);
        assert_eq!(found, old);
    }

    #[test]
    fn null_becomes_nullable() {
        becomes(
            json!({"type": ["string", "null"], "format": "uri"}),
            json!({"type": "string", "format": "uri", "nullable": true}),
        );
        becomes(
            json!({"oneOf": [{"type": "null"}, {"$ref": "#/x"}], "description": "d"}),
            json!({"allOf": [{"$ref": "#/x"}], "nullable": true, "description": "d"}),
        );
        becomes(
            json!({"anyOf": [{"type": "null"}, {"type": "string"}, {"type": "integer"}]}),
            json!({"anyOf": [{"type": "string"}, {"type": "integer"}], "nullable": true}),
        );
        becomes(
            json!({"type": ["string", "integer"]}),
            json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        );
    }

    #[test]
    fn keywords_are_converted() {
        becomes(json!({"const": "a"}), json!({"enum": ["a"]}));
        becomes(
            json!({"type": "string", "examples": ["a", "b"]}),
            json!({"type": "string", "example": "a"}),
        );
        becomes(
            json!({"type": "number", "exclusiveMinimum": 1}),
            json!({"type": "number", "minimum": 1, "exclusiveMinimum": true}),
        );
        becomes(
            json!({"$ref": "#/x", "description": "d"}),
            json!({"allOf": [{"$ref": "#/x"}], "description": "d"}),
        );
        becomes(json!({"$ref": "#/x"}), json!({"$ref": "#/x"}));
        becomes(
            json!({"type": "string", "contentMediaType": "application/octet-stream"}),
            json!({"type": "string", "format": "binary"}),
        );
        becomes(
            json!({"type": "array"}),
            json!({"type": "array", "items": {}}),
        );
        becomes(
            json!({"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": true}),
            json!({"type": "object", "additionalProperties": {}}),
        );
        becomes(
            json!({"type": "object", "additionalProperties": false}),
            json!({"type": "object", "additionalProperties": false}),
        );
    }

    #[test]
    fn examples_are_not_schemas() {
        let document = json!({
            "openapi": "3.1.0",
            "info": {"license": {"name": "MIT", "identifier": "MIT"}},
            "webhooks": {},
            "paths": {"/a": {"get": {"responses": {"200": {"content": {"application/json": {
                "schema": {"type": "object", "properties": {"type": {"type": ["string", "null"]}}},
                "examples": {"one": {"value": {"type": ["string", "null"], "const": 1}}},
            }}}}}}},
        });
        let old = to_3_0(&document);
        let media = &old["paths"]["/a"]["get"]["responses"]["200"]["content"]["application/json"];
        let kind = &media["schema"]["properties"]["type"];
        assert_eq!(*kind, json!({"type": "string", "nullable": true}));
        let example = &media["examples"]["one"]["value"];
        assert_eq!(*example, json!({"type": ["string", "null"], "const": 1}));
        assert_eq!(old["openapi"], "3.0.3");
        assert_eq!(old["info"]["license"]["name"], "MIT");
        assert!(old["info"]["license"].get("identifier").is_none());
        assert!(old.get("webhooks").is_none());
    }
}
