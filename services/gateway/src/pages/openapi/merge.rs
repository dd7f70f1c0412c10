//! Merges OpenAPI documents.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// The sections of `components`.
const SECTIONS: [&str; 9] = [
    "schemas",
    "responses",
    "parameters",
    "examples",
    "requestBodies",
    "headers",
    "securitySchemes",
    "links",
    "callbacks",
];

/// Merges paths, tags and components. Equal components are shared; components that differ get the
/// name of the service as a prefix. If two documents have a path, the first one keeps it.
pub(crate) fn merge(documents: &[(&str, &Value)]) -> Value {
    let mut components: Map<String, Value> = Map::new();
    let mut paths = Map::new();
    let mut tags: Vec<Value> = Vec::new();
    let mut operations: Vec<String> = Vec::new();
    for (service, document) in documents {
        let mut document = (*document).clone();
        let renamed = conflicts(&components, &document, service);
        rename(&mut document, &renamed);
        unique_operations(&mut document, service, &mut operations);
        for section in SECTIONS {
            let pointer = format!("/components/{section}");
            let Some(Value::Object(named)) = document.pointer_mut(&pointer).map(Value::take) else {
                continue;
            };
            let into = components.entry(section).or_insert_with(|| json!({}));
            for (name, value) in named {
                if let Some(into) = into.as_object_mut() {
                    into.entry(name).or_insert(value);
                }
            }
        }
        if let Some(Value::Object(own)) = document.get_mut("paths").map(Value::take) {
            for (path, item) in own {
                paths.entry(path).or_insert(item);
            }
        }
        if let Some(Value::Array(own)) = document.get_mut("tags").map(Value::take) {
            for tag in own {
                if !tags
                    .iter()
                    .any(|known| known.get("name") == tag.get("name"))
                {
                    tags.push(tag);
                }
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "tags": tags,
        "paths": paths,
        "components": components,
    })
}

/// References to components that are renamed, old to new.
fn conflicts(
    components: &Map<String, Value>,
    document: &Value,
    service: &str,
) -> HashMap<String, String> {
    let mut renamed = HashMap::new();
    // Security requirements name schemes without a reference, so schemes keep their names.
    for section in SECTIONS
        .into_iter()
        .filter(|section| *section != "securitySchemes")
    {
        let own = document
            .pointer(&format!("/components/{section}"))
            .and_then(Value::as_object);
        let known = components.get(section).and_then(Value::as_object);
        let (Some(own), Some(known)) = (own, known) else {
            continue;
        };
        for (name, value) in own {
            if known.get(name).is_some_and(|other| other != value) {
                renamed.insert(
                    format!("#/components/{section}/{name}"),
                    format!("#/components/{section}/{service}_{name}"),
                );
            }
        }
    }
    renamed
}

fn rename(document: &mut Value, renamed: &HashMap<String, String>) {
    if renamed.is_empty() {
        return;
    }
    for section in SECTIONS {
        let pointer = format!("/components/{section}");
        if let Some(Value::Object(named)) = document.pointer_mut(&pointer) {
            *named = std::mem::take(named)
                .into_iter()
                .map(|(name, value)| {
                    let new = renamed
                        .get(&format!("#/components/{section}/{name}"))
                        .and_then(|reference| reference.rsplit('/').next())
                        .map_or(name, str::to_owned);
                    (new, value)
                })
                .collect();
        }
    }
    rename_references(document, renamed);
}

/// Replaces references in `$ref` and in discriminator mappings, which are both whole strings.
fn rename_references(value: &mut Value, renamed: &HashMap<String, String>) {
    match value {
        Value::String(text) => {
            if let Some(new) = renamed.get(text) {
                text.clone_from(new);
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| rename_references(item, renamed)),
        Value::Object(fields) => {
            fields
                .values_mut()
                .for_each(|field| rename_references(field, renamed));
        }
        _ => {}
    }
}

/// Makes operation ids unique: client generators create one function for each.
fn unique_operations(document: &mut Value, service: &str, known: &mut Vec<String>) {
    let Some(Value::Object(paths)) = document.get_mut("paths") else {
        return;
    };
    for operation in paths
        .values_mut()
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut)
    {
        let Some(Value::String(id)) = operation.get_mut("operationId") else {
            continue;
        };
        if known.contains(id) {
            *id = format!("{service}_{id}");
        }
        known.push(id.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_components_are_shared_and_different_ones_renamed() {
        let page = json!({ "$ref": "#/components/schemas/Page" });
        let document = |path: &str, page_type: &str| {
            json!({
                "openapi": "3.1.0",
                "paths": { path: { "get": { "operationId": "list_things", "schema": page } } },
                "tags": [{ "name": "things" }],
                "components": { "schemas": {
                    "Problem": { "type": "object" },
                    "Page": { "type": page_type, "items": { "$ref": "#/components/schemas/Page" } },
                }, "securitySchemes": { "bearer": { "type": "http" } } },
            })
        };
        let (core, media) = (
            document("/v1/core/a", "object"),
            document("/v1/media/a", "array"),
        );
        let merged = merge(&[("core", &core), ("media", &media)]);
        let schemas = &merged["components"]["schemas"];
        assert_eq!(schemas["Page"]["type"], "object");
        assert_eq!(schemas["media_Page"]["type"], "array");
        assert_eq!(
            schemas["media_Page"]["items"]["$ref"],
            "#/components/schemas/media_Page"
        );
        assert!(schemas.get("media_Problem").is_none());
        let media = &merged["paths"]["/v1/media/a"]["get"];
        assert_eq!(media["schema"]["$ref"], "#/components/schemas/media_Page");
        assert_eq!(media["operationId"], "media_list_things");
        assert_eq!(merged["tags"], json!([{ "name": "things" }]));
        assert_eq!(
            merged["components"]["securitySchemes"]["bearer"]["type"],
            "http"
        );
    }
}
