//! Examples of whole bodies, composed of the examples of their fields.

use serde_json::{Map, Value, json};

use quartet_common::openapi::walk;

const TIME: &str = "2026-03-14T09:26:53.589793Z";
/// Nested schemas beyond this depth are omitted.
const DEEPEST: usize = 16;

/// Adds an example to every JSON body without one.
pub(super) fn add(document: &mut Value) {
    let components = document["components"].clone();
    walk::operations(document, |_, _, operation| {
        if let Some(body) = operation.get_mut("requestBody") {
            fill(body, &components);
        }
        let responses = operation
            .get_mut("responses")
            .and_then(Value::as_object_mut);
        responses
            .into_iter()
            .flat_map(Map::values_mut)
            .for_each(|response| fill(response, &components));
    });
}

fn fill(body: &mut Value, components: &Value) {
    let content = body.get_mut("content").and_then(Value::as_object_mut);
    for (kind, media) in content.into_iter().flatten() {
        let shown = media.get("example").or(media.get("examples")).is_some();
        if kind.ends_with("json") && !shown {
            media["example"] = compose(&media["schema"], components, DEEPEST);
        }
    }
}

/// A valid value of the schema.
fn compose(schema: &Value, components: &Value, left: usize) -> Value {
    let given = schema["examples"].get(0).or(schema.get("example"));
    if let Some(given) = given.or(schema.get("const")).or(schema["enum"].get(0)) {
        return given.clone();
    }
    if left == 0 {
        return Value::Null;
    }
    let target = schema["$ref"].as_str();
    let target = target.and_then(|target| components.pointer(target.strip_prefix("#/components")?));
    if let Some(target) = target {
        return compose(target, components, left - 1);
    }
    for word in ["oneOf", "anyOf", "allOf"] {
        let choices = schema[word].as_array().into_iter().flatten();
        let mut choices = choices.filter(|choice| choice["type"] != "null");
        if let Some(choice) = choices.next() {
            return compose(choice, components, left - 1);
        }
    }
    match kind_of(schema) {
        "object" => object(schema, components, left - 1),
        "array" => match schema.get("items") {
            Some(items) => json!([compose(items, components, left - 1)]),
            None => json!([]),
        },
        "boolean" => json!(false),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(0)),
        "string" if schema["format"] == "date-time" => TIME.into(),
        _ => Value::Null,
    }
}

fn object(schema: &Value, components: &Value, left: usize) -> Value {
    let properties = schema["properties"].as_object();
    properties
        .into_iter()
        .flatten()
        .map(|(name, property)| (name.clone(), compose(property, components, left)))
        .collect::<Map<_, _>>()
        .into()
}

/// The type beside null.
fn kind_of(schema: &Value) -> &str {
    match &schema["type"] {
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null")
            .unwrap_or_default(),
        kind => kind.as_str().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_put_together_from_its_fields() {
        let components = json!({"schemas": {
            "Id": {"type": "string", "examples": ["a_1"]},
            "Thing": {"type": "object", "properties": {
                "id": {"$ref": "#/components/schemas/Id"},
                "kind": {"type": "string", "enum": ["x", "y"]},
                "at": {"type": ["string", "null"], "format": "date-time"},
                "sizes": {"type": "array", "items": {"type": "integer", "minimum": 3}},
                "other": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Id"}]},
            }},
        }});
        let shown = compose(
            &json!({"$ref": "#/components/schemas/Thing"}),
            &components,
            DEEPEST,
        );
        let expected = json!({"id": "a_1", "kind": "x", "at": TIME, "sizes": [3], "other": "a_1"});
        assert_eq!(shown, expected);
    }
}
