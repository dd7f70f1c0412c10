//! The committed OpenAPI documents, and the check that responses are what they promise.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use http::Method;
use jsonschema::Validator;
use quartet_devstack::workspace;
use serde_json::{Map, Value, json};

const SERVICES: [&str; 3] = ["core", "media", "links"];
const PROBLEM: &str = "application/problem+json";
/// What the gateway itself may answer on any route.
const GATEWAY_STATUSES: [u16; 9] = [400, 401, 408, 413, 429, 431, 502, 503, 504];

static SPECS: LazyLock<Specs> = LazyLock::new(Specs::load);

/// One operation of one service's document.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) service: &'static str,
    pub(crate) id: String,
    pub(crate) method: Method,
    /// Path with `{parameters}`.
    pub(crate) path: String,
    /// Whether a token is needed.
    pub(crate) secured: bool,
    /// The operation object with shared path parameters added.
    pub(crate) value: Value,
}

/// All operations of the three services.
pub(crate) struct Specs {
    operations: Vec<Operation>,
    documents: HashMap<&'static str, Value>,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Operation {
    /// The names of the parameters in the path, in order.
    pub(crate) fn path_parameters(&self) -> Vec<&str> {
        self.path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .collect()
    }

    /// The path with each parameter replaced by what `value` gives for its name.
    pub(crate) fn fill(&self, value: impl Fn(&str) -> String) -> String {
        let mut path = self.path.clone();
        for name in self.path_parameters() {
            path = path.replace(&format!("{{{name}}}"), &value(name));
        }
        path
    }

    fn fits(&self, method: &Method, path: &str) -> bool {
        let same_method =
            self.method == *method || (self.method == Method::GET && *method == Method::HEAD);
        let (wanted, given): (Vec<_>, Vec<_>) =
            (self.path.split('/').collect(), path.split('/').collect());
        same_method
            && wanted.len() == given.len()
            && wanted
                .iter()
                .zip(&given)
                .all(|(w, g)| w.starts_with('{') || w == g)
    }
}

/// Every operation that the committed documents describe.
pub(crate) fn operations() -> &'static [Operation] {
    &SPECS.operations
}

/// The committed document of one service.
pub(crate) fn document(service: &str) -> &'static Value {
    &SPECS.documents[service]
}

/// Fails unless the response to this request is documented and its body fits the schema.
///
/// Paths that no document describes (redirects, `/health`) are only held to the rule for errors.
pub(crate) fn check(
    method: &Method,
    path: &str,
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
) {
    let path = path.split('?').next().unwrap_or_default();
    let described = ["/v1/", "/s/", "/.well-known/"];
    if !described.iter().any(|start| path.starts_with(start)) {
        return;
    }
    // A literal segment is more exact than a parameter.
    let operation = SPECS
        .operations
        .iter()
        .filter(|operation| operation.fits(method, path))
        .min_by_key(|operation| operation.path_parameters().len());
    let Some(operation) = operation else { return };
    let seen = format!("{method} {path} -> {status}");
    let response = operation.value["responses"].get(status.to_string());
    let Some(response) = response.map(|response| SPECS.resolve(operation.service, response)) else {
        assert!(
            GATEWAY_STATUSES.contains(&status),
            "{seen}: status not in {}",
            operation.id
        );
        return;
    };
    let empty = Map::new();
    let content = response["content"].as_object().unwrap_or(&empty);
    if *method == Method::HEAD || (content.is_empty() && body.is_empty()) {
        return;
    }
    let kind = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if kind == PROBLEM && GATEWAY_STATUSES.contains(&status) && !content.contains_key(kind) {
        // The gateway's own, where the service would have answered in another way.
        return;
    }
    let Some(media) = content.get(kind) else {
        let known: BTreeSet<_> = content.keys().collect();
        panic!(
            "{seen}: content type `{kind}` not in {} ({known:?})",
            operation.id
        );
    };
    if !kind.ends_with("json") || media.get("schema").is_none() {
        return;
    }
    let value: Value = serde_json::from_slice(body)
        .unwrap_or_else(|error| panic!("{seen}: not JSON ({error}): {body:?}"));
    let key = format!("{} {status} {kind}", operation.id);
    let validator = SPECS.validator(operation.service, &key, &media["schema"]);
    let errors: Vec<String> = validator
        .iter_errors(&value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(
        errors.is_empty(),
        "{seen}: not what {key} promises: {errors:#?}\n{value:#}"
    );
}

impl Specs {
    fn load() -> Self {
        let mut operations = Vec::new();
        let mut documents = HashMap::new();
        for service in SERVICES {
            let path = workspace::root().join(format!("services/{service}/openapi.json"));
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let document: Value = serde_json::from_str(&text).unwrap();
            operations.extend(operations_of(service, &document));
            documents.insert(service, document);
        }
        Self {
            operations,
            documents,
            validators: Mutex::default(),
        }
    }

    fn resolve<'a>(&'a self, service: &str, value: &'a Value) -> &'a Value {
        match value["$ref"]
            .as_str()
            .and_then(|text| text.strip_prefix('#'))
        {
            Some(pointer) => self.documents[service]
                .pointer(pointer)
                .expect("references point somewhere"),
            None => value,
        }
    }

    fn validator(&self, service: &str, key: &str, schema: &Value) -> Arc<Validator> {
        let mut validators = self
            .validators
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let made = validators.entry(key.to_owned()).or_insert_with(|| {
            let root = json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "components": closed(&self.documents[service]["components"]),
                "allOf": [schema],
            });
            let validator = jsonschema::options()
                .should_validate_formats(true)
                .build(&root)
                .unwrap_or_else(|error| panic!("schema of {key}: {error}"));
            Arc::new(validator)
        });
        Arc::clone(made)
    }
}

/// Reads the operations of any OpenAPI document.
pub(crate) fn operations_of(service: &'static str, document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("a document has paths") {
        for (name, value) in item.as_object().expect("a path item is an object") {
            let Ok(method) = name.to_uppercase().parse::<Method>() else {
                continue;
            };
            if !["get", "put", "post", "delete", "patch", "head", "options"]
                .contains(&name.as_str())
            {
                continue;
            }
            let security = value.get("security").or_else(|| document.get("security"));
            let choices = security
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let open = choices
                .iter()
                .any(|choice| choice.as_object().is_some_and(Map::is_empty));
            found.push(Operation {
                service,
                id: value["operationId"]
                    .as_str()
                    .unwrap_or("(no operationId)")
                    .to_owned(),
                method,
                path: path.clone(),
                secured: !choices.is_empty() && !open,
                value: value.clone(),
            });
        }
    }
    found
}

/// The components with every plain object closed, so that a field that the document
/// does not name is found. What is put together by `allOf` stays open.
fn closed(components: &Value) -> Value {
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
        Value::Object(map) => {
            for (key, inner) in map {
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
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    if map.contains_key("allOf") {
        return;
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(close);
        if !map.contains_key("additionalProperties") {
            map.insert("additionalProperties".into(), Value::Bool(false));
        }
    }
    for key in ["items", "oneOf", "anyOf"] {
        match map.get_mut(key) {
            Some(Value::Array(items)) => items.iter_mut().for_each(close),
            Some(item) => close(item),
            None => {}
        }
    }
}

/// Operation ids by path and method, for comparing documents.
pub(crate) fn summary(operations: &[Operation]) -> BTreeMap<String, bool> {
    operations
        .iter()
        .map(|operation| {
            (
                format!("{} {} {}", operation.id, operation.method, operation.path),
                operation.secured,
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::check;

    fn jwks(status: u16, body: &Value) {
        let body = body.to_string();
        let kind = Some("application/json");
        check(
            &Method::GET,
            "/.well-known/jwks.json",
            status,
            kind,
            body.as_bytes(),
        );
    }

    #[test]
    fn what_is_promised_passes() {
        jwks(200, &json!({ "keys": [] }));
    }

    #[test]
    #[should_panic(expected = "not what get_jwks")]
    fn a_missing_member_is_found() {
        jwks(200, &json!({}));
    }

    #[test]
    #[should_panic(expected = "not what get_jwks")]
    fn a_member_that_is_not_described_is_found() {
        jwks(200, &json!({ "keys": [], "private": true }));
    }

    #[test]
    #[should_panic(expected = "status not in get_jwks")]
    fn a_status_that_is_not_described_is_found() {
        jwks(202, &json!({ "keys": [] }));
    }
}
