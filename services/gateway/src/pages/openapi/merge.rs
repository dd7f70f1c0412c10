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

/// Merges paths, tags and components. Equal components are shared; components that differ, by
/// themselves or in what they refer to, get the name of the service as a prefix. If two documents
/// have a path, the first one keeps it.
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
    let mut equal = Vec::new();
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
            if let Some(other) = known.get(name) {
                let reference = format!("#/components/{section}/{name}");
                let renaming = format!("#/components/{section}/{service}_{name}");
                if other == value {
                    equal.push((reference, renaming, value));
                } else {
                    renamed.insert(reference, renaming);
                }
            }
        }
    }
    // One that refers to another that is renamed differs as well, although its text does not.
    loop {
        let before = renamed.len();
        equal.retain(|(reference, renaming, value)| {
            let differs = refers_to(value, &renamed);
            if differs {
                renamed.insert(reference.clone(), renaming.clone());
            }
            !differs
        });
        if renamed.len() == before {
            return renamed;
        }
    }
}

fn refers_to(value: &Value, renamed: &HashMap<String, String>) -> bool {
    match value {
        Value::String(text) => renamed.contains_key(text),
        Value::Array(items) => items.iter().any(|item| refers_to(item, renamed)),
        Value::Object(fields) => fields.values().any(|field| refers_to(field, renamed)),
        _ => false,
    }
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

    /// Equal by text, through any number of references.
    #[test]
    fn components_that_refer_to_renamed_ones_are_renamed() {
        let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
        let document = |path: &str, leaf: &str| {
            json!({
                "paths": { path: { "get": { "schema": reference("Top") } } },
                "components": { "schemas": {
                    "Top": { "items": reference("Middle") },
                    "Middle": { "items": reference("Leaf") },
                    "Leaf": { "type": leaf },
                    "Cycle": { "items": reference("Cycle") },
                } },
            })
        };
        let (core, media) = (document("/a", "string"), document("/b", "integer"));
        let merged = merge(&[("core", &core), ("media", &media)]);
        let schemas = &merged["components"]["schemas"];
        assert_eq!(schemas["Middle"]["items"], reference("Leaf"));
        assert_eq!(schemas["Leaf"]["type"], "string");
        assert_eq!(
            merged["paths"]["/b"]["get"]["schema"],
            reference("media_Top")
        );
        assert_eq!(schemas["media_Top"]["items"], reference("media_Middle"));
        assert_eq!(schemas["media_Middle"]["items"], reference("media_Leaf"));
        assert_eq!(schemas["media_Leaf"]["type"], "integer");
        assert_eq!(schemas.get("media_Cycle"), None);
    }

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
