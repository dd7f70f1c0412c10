//! Schemas that allow only the properties that they declare.

use std::collections::BTreeSet;

use serde_json::Value;

/// The components with every object closed, so that an undocumented property is an error. Parts of
/// an `allOf` stay open.
pub(super) fn closed(components: &Value) -> Value {
    let mut components = components.clone();
    let mut parts = BTreeSet::new();
    find_parts(&components, &mut parts);
    if let Some(schemas) = components["schemas"].as_object_mut() {
        for (name, schema) in schemas {
            if !parts.contains(name) {
                close(schema);
            }
        }
    }
    components
}

fn find_parts(value: &Value, parts: &mut BTreeSet<String>) {
    match value {
        Value::Object(keys) => {
            for (key, inner) in keys {
                if key == "allOf" {
                    parts.extend(inner.as_array().into_iter().flatten().filter_map(|part| {
                        part["$ref"].as_str()?.rsplit('/').next().map(str::to_owned)
                    }));
                }
                find_parts(inner, parts);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| find_parts(item, parts)),
        _ => {}
    }
}

fn close(schema: &mut Value) {
    let Some(keys) = schema.as_object_mut() else {
        return;
    };
    if keys.contains_key("allOf") {
        return;
    }
    if let Some(properties) = keys.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(close);
        if !keys.contains_key("additionalProperties") {
            keys.insert("additionalProperties".into(), false.into());
        }
    }
    for key in ["items", "oneOf", "anyOf"] {
        match keys.get_mut(key) {
            Some(Value::Array(items)) => items.iter_mut().for_each(close),
            Some(item) => close(item),
            None => {}
        }
    }
}
