//! Changes the document before code is generated from it.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "patch", "head", "options"];
/// Bounds and patterns are checked by the server: it may widen them, and its response names
/// every invalid field at once.
const RULES: [&str; 7] = [
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
];
/// Members with secrets, which must not appear in debug output.
const SECRETS: [&str; 4] = [
    "access_token",
    "current_password",
    "password",
    "refresh_token",
];
/// Schemas whose `url` is signed, and so a secret.
const SIGNED: [&str; 2] = ["Download", "SignedUpload"];
const JSON: &str = "application/json";

/// Removes what programs do not call: redirects, documents, GraphQL (which has its own
/// schema).
pub(crate) fn keep_api(document: &mut Value) -> anyhow::Result<()> {
    let paths = object(document, "paths")?;
    paths.retain(|path, _| {
        path.starts_with("/v1/") && path != "/v1/links/graphql" && !path.contains("openapi")
    });
    Ok(())
}

/// The operations of a document, without the shared parameters of their path items.
pub(crate) fn operations(document: &Value) -> impl Iterator<Item = &Value> {
    let items = document["paths"].as_object().into_iter().flatten();
    items.flat_map(|(_, item)| METHODS.iter().filter_map(|method| item.get(method)))
}

/// Converts the document into a form that progenitor accepts.
pub(crate) fn simplify(document: &mut Value) -> anyhow::Result<()> {
    for (_, item) in object(document, "paths")? {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                simplify_operation(operation)?;
            }
        }
    }
    simplify_schema(document);
    mark_secrets(document);
    for name in SIGNED {
        document["components"]["schemas"][name]["properties"]["url"] = secret();
    }
    drop_unused(document)?;
    // The code changes with the operations, not with each release.
    document["info"]["version"] = "1".into();
    Ok(())
}

fn object<'a>(value: &'a mut Value, name: &str) -> anyhow::Result<&'a mut Map<String, Value>> {
    value[name]
        .as_object_mut()
        .with_context(|| format!("no object `{name}`"))
}

/// Keeps one content type for bodies, and one kind of error: a problem.
fn simplify_operation(operation: &mut Value) -> anyhow::Result<()> {
    if let Some(body) = operation.get_mut("requestBody") {
        object(body, "content")?.retain(|kind, _| kind == JSON);
    }
    let parameters = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        // Null cannot be sent in a URL or a header.
        object(parameter, "schema")?.remove("nullable");
    }
    let responses = object(operation, "responses")?;
    responses.retain(|status, _| status.starts_with('2'));
    let problem = json!({
        "description": "A problem",
        "content": { JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    for status in ["4XX", "5XX"] {
        responses.insert(status.into(), problem.clone());
    }
    Ok(())
}

fn simplify_schema(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.contains_key("type") {
                map.retain(|key, _| !RULES.contains(&key.as_str()));
                // A newer server may send more members.
                if map.get("additionalProperties").is_some_and(forbids) {
                    map.remove("additionalProperties");
                }
            }
            map.values_mut().for_each(simplify_schema);
        }
        Value::Array(items) => items.iter_mut().for_each(simplify_schema),
        _ => {}
    }
}

/// Removes the schemas that no operation uses anymore.
fn drop_unused(document: &mut Value) -> anyhow::Result<()> {
    let mut used = BTreeSet::new();
    let mut open = vec![&document["paths"]];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                let target = map.get("$ref").and_then(Value::as_str);
                let name = target.and_then(|it| it.strip_prefix("#/components/schemas/"));
                if let Some(name) = name
                    && used.insert(name.to_owned())
                {
                    open.push(&document["components"]["schemas"][name]);
                }
                open.extend(map.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    let schemas = object(&mut document["components"], "schemas")?;
    schemas.retain(|name, _| used.contains(name));
    Ok(())
}

/// `false`, in either spelling.
fn forbids(schema: &Value) -> bool {
    *schema == Value::Bool(false) || *schema == json!({ "not": {} })
}

/// A schema that becomes `Secret`; see the settings of progenitor.
pub(crate) fn secret() -> Value {
    json!({ "type": "string", "format": "password" })
}

fn mark_secrets(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                for (name, schema) in properties {
                    if SECRETS.contains(&name.as_str()) {
                        *schema = secret();
                    }
                }
            }
            map.values_mut().for_each(mark_secrets);
        }
        Value::Array(items) => items.iter_mut().for_each(mark_secrets),
        _ => {}
    }
}

/// Whether an operation takes the header, in lower case.
pub(crate) fn takes_header(operation: &Value, name: &str) -> bool {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters
        .filter(|parameter| parameter["in"] == "header")
        .filter_map(|parameter| parameter["name"].as_str())
        .any(|found| found.eq_ignore_ascii_case(name))
}
