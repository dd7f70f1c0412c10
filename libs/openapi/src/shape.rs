//! Corrections of what the derive macros cannot express.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use quartet_common::openapi::walk;

const PREFIX: &str = "#/components/schemas/";
/// The macros call a generic list `Page_Asset`; `AssetPage` reads better in client libraries.
const PAGE: &str = "Page_";

/// Names every schema once, and makes required and nullable fields exact.
pub(super) fn tidy(document: &mut Value) {
    name_pages(document);
    put_references_back(document);
    require_what_is_always_sent(document);
    say_in_3_1(document);
    parameters_are_not_null(document);
}

fn name_pages(document: &mut Value) {
    let Some(named) = document
        .pointer_mut("/components/schemas")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    *named = std::mem::take(named)
        .into_iter()
        .map(|(name, schema)| (page_name(&name).unwrap_or(name), schema))
        .collect();
    walk::schemas(document, &mut |schema| {
        let page = schema["$ref"]
            .as_str()
            .and_then(|target| page_name(target.strip_prefix(PREFIX)?));
        if let Some(page) = page {
            schema["$ref"] = format!("{PREFIX}{page}").into();
        }
    });
}

fn page_name(name: &str) -> Option<String> {
    Some(format!("{}Page", name.strip_prefix(PAGE)?))
}

/// A generic schema contains a copy of its argument, which becomes a reference.
fn put_references_back(document: &mut Value) {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for (name, schema) in named_schemas(document) {
        if schema.get("properties").is_some() {
            known.insert(schema.to_string(), format!("{PREFIX}{name}"));
        }
    }
    let mut replace = |schema: &mut Value| {
        if let Some(target) = known.get(&schema.to_string()) {
            *schema = json!({"$ref": target});
        }
    };
    walk::schemas(document, &mut |schema| {
        // Only nested schemas, so that the named ones themselves stay.
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get_mut(key) {
                replace(inner);
            }
        }
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        properties
            .into_iter()
            .flat_map(Map::values_mut)
            .for_each(&mut replace);
    });
}

/// Responses always contain their nullable properties, as null. Only requests may omit them.
fn require_what_is_always_sent(document: &mut Value) {
    let taken = reachable_from_requests(document);
    let sent: Vec<String> = named_schemas(document)
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !taken.contains(name))
        .collect();
    for name in sent {
        walk::below(
            &mut document["components"]["schemas"][name.as_str()],
            &mut |schema| {
                let nullable: Vec<Value> = schema["properties"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(_, property)| is_nullable(property))
                    .map(|(name, _)| name.as_str().into())
                    .collect();
                if nullable.is_empty() {
                    return;
                }
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                let mut required: Vec<Value> = required.into_iter().chain(nullable).collect();
                required.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                required.dedup();
                schema["required"] = required.into();
            },
        );
    }
}

fn is_nullable(property: &Value) -> bool {
    let null = json!({"type": "null"});
    let holds = |key: &str, wanted: &Value| {
        property[key]
            .as_array()
            .is_some_and(|items| items.contains(wanted))
    };
    holds("type", &"null".into()) || holds("oneOf", &null) || holds("anyOf", &null)
}

fn reachable_from_requests(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut document = document.clone();
    let mut open: Vec<Value> = Vec::new();
    walk::operations(&mut document, |_, _, operation| {
        open.extend(operation.get("requestBody").cloned());
    });
    while let Some(value) = open.pop() {
        for name in references(&value) {
            if let Some(schema) = document["components"]["schemas"].get(&name)
                && found.insert(name)
            {
                open.push(schema.clone());
            }
        }
    }
    found
}

fn references(value: &Value) -> Vec<String> {
    let children: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Object(keys) => Box::new(keys.values()),
        Value::Array(items) => Box::new(items.iter()),
        _ => Box::new(std::iter::empty()),
    };
    let own = value["$ref"].as_str();
    let own = own.and_then(|target| target.strip_prefix(PREFIX));
    own.map(str::to_owned)
        .into_iter()
        .chain(children.flat_map(references))
        .collect()
}

/// Keywords that the macros use and 3.1 deprecates, such as `example`; and a redundant one.
fn say_in_3_1(document: &mut Value) {
    walk::schemas(document, &mut |schema| {
        let Some(keys) = schema.as_object_mut() else {
            return;
        };
        if let Some(example) = keys.remove("example") {
            keys.entry("examples").or_insert_with(|| json!([example]));
        }
        // Property names are always strings.
        if keys.get("propertyNames") == Some(&json!({"type": "string"})) {
            keys.remove("propertyNames");
        }
    });
}

/// A parameter is present or absent, never null.
fn parameters_are_not_null(document: &mut Value) {
    walk::operations(document, |_, _, operation| {
        let parameters = operation
            .get_mut("parameters")
            .and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            let schema = &mut parameter["schema"];
            if let Some([only]) = others(&schema["type"], "null".into()).as_deref() {
                schema["type"] = only.clone();
            }
            if let Some([only]) = others(&schema["oneOf"], json!({"type": "null"})).as_deref() {
                *schema = only.clone();
            }
        }
    });
}

/// The items without this one, if it is among them.
fn others(items: &Value, without: Value) -> Option<Vec<Value>> {
    let items = items.as_array()?;
    let others: Vec<Value> = items
        .iter()
        .filter(|item| **item != without)
        .cloned()
        .collect();
    (others.len() < items.len()).then_some(others)
}

fn named_schemas(document: &Value) -> Vec<(String, Value)> {
    let named = document
        .pointer("/components/schemas")
        .and_then(Value::as_object);
    named
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.clone(), schema.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_refers_to_its_items_and_answers_are_whole() {
        let item = json!({"type": "object", "properties": {
            "a": {"type": "string"}, "b": {"type": ["string", "null"]},
        }, "required": ["a"]});
        let mut document = json!({
            "paths": {"/a": {"post": {
                "requestBody": {"content": {"application/json": {
                    "schema": {"$ref": "#/components/schemas/Input"}}}},
                "responses": {"200": {"content": {"application/json": {
                    "schema": {"$ref": "#/components/schemas/Page_Item"}}}}},
            }}},
            "components": {"schemas": {
                "Item": item, "Input": item.clone(),
                "Page_Item": {"type": "object", "properties": {
                    "data": {"type": "array", "items": item}}},
            }},
        });
        document["components"]["schemas"]["Input"]["description"] = "not the same".into();
        tidy(&mut document);
        let schemas = &document["components"]["schemas"];
        let page = &schemas["ItemPage"]["properties"]["data"]["items"];
        assert_eq!(*page, json!({"$ref": "#/components/schemas/Item"}));
        let answer = &document["paths"]["/a"]["post"]["responses"]["200"]["content"];
        let answer = &answer["application/json"]["schema"]["$ref"];
        assert_eq!(answer, "#/components/schemas/ItemPage");
        assert_eq!(schemas["Item"]["required"], json!(["a", "b"]));
        assert_eq!(schemas["Input"]["required"], json!(["a"]));
        assert!(schemas.get("Page_Item").is_none());
    }
}
