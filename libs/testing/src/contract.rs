//! Checks responses against a published document: status, media type, headers, body, problem code.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, Method};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::closed::closed;
use quartet_common::openapi::{CODES, GRAPHQL_CODES, PROBLEM, walk};

/// Undocumented paths: probes, metrics, HTML pages, events between the services.
const UNLISTED: [&str; 5] = ["/health", "/ready", "/metrics", "/docs", "/internal"];

/// A document with its operations and schemas.
#[derive(Debug)]
pub struct Contract {
    document: Value,
    operations: Vec<Operation>,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// One operation of a document.
#[derive(Clone, Debug)]
pub struct Operation {
    pub id: String,
    pub method: Method,
    /// Path with `{parameters}`.
    pub path: String,
    /// Whether a token is required.
    pub secured: bool,
    /// The operation in the document.
    pub value: Value,
}

/// A response, and the request that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    pub method: &'a Method,
    /// With or without a query.
    pub path: &'a str,
    pub status: u16,
    pub headers: &'a HeaderMap,
    /// `None` for a stream, whose body is not read.
    pub body: Option<&'a [u8]>,
}

impl Operation {
    /// The names of the parameters in the path, in order.
    pub fn path_parameters(&self) -> Vec<&str> {
        self.path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .collect()
    }

    /// The path with each parameter replaced by `value(name)`.
    #[must_use]
    pub fn fill(&self, value: impl Fn(&str) -> String) -> String {
        let mut path = self.path.clone();
        for name in self.path_parameters() {
            path = path.replace(&format!("{{{name}}}"), &value(name));
        }
        path
    }

    fn fits(&self, method: &Method, path: &str) -> bool {
        let wanted: Vec<_> = self.path.split('/').collect();
        let given: Vec<_> = path.split('/').collect();
        self.method == *method
            && wanted.len() == given.len()
            && wanted
                .iter()
                .zip(&given)
                .all(|(wanted, given)| wanted.starts_with('{') || wanted == given)
    }
}

impl Contract {
    /// # Panics
    /// When the text is not a JSON document.
    pub fn new(document: &str) -> Self {
        let mut document: Value = serde_json::from_str(document).expect("a document is JSON");
        let operations = operations_of(&mut document);
        Self {
            document,
            operations,
            validators: Mutex::default(),
        }
    }

    pub fn document(&self) -> &Value {
        &self.document
    }

    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// # Errors
    /// What differs from the document.
    pub fn check(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        let path = exchange.path.split('?').next().unwrap_or_default();
        // A service that answers with a slash at the end does so as without it.
        let path = path.strip_suffix('/').unwrap_or(path);
        let seen = format!("{} {path} -> {}", exchange.method, exchange.status);
        self.compare(exchange, path)
            .map_err(|what| format!("{seen}: {what}"))
    }

    fn compare(&self, exchange: &Exchange<'_>, path: &str) -> Result<(), String> {
        let Some(operation) = self.find(exchange.method, path) else {
            let unlisted = UNLISTED.iter().any(|start| path.starts_with(start));
            let refused = exchange.status >= 400 && self.problem_of(exchange)?.is_some();
            let fits = unlisted || refused || *exchange.method == Method::HEAD;
            return if fits {
                Ok(())
            } else {
                Err("no operation is described, and this is not a problem".into())
            };
        };
        let id = &operation.id;
        let response = operation.value["responses"]
            .get(exchange.status.to_string())
            .ok_or_else(|| format!("{id} has no such status"))?;
        self.compare_headers(exchange, response)?;
        let empty = Map::new();
        let content = response["content"].as_object().unwrap_or(&empty);
        let kind = media_type(exchange.headers);
        if *exchange.method == Method::HEAD {
            return Ok(());
        }
        if content.is_empty() && exchange.body.is_none_or(<[u8]>::is_empty) {
            return Ok(());
        }
        let Some(body) = exchange.body else {
            return known(content, &kind).map(|_| ());
        };
        let media = known(content, &kind)?;
        if !kind.ends_with("json") {
            return Ok(());
        }
        let key = format!("{id} {} {kind}", exchange.status);
        let value = self.compare_body(&key, &media["schema"], body)?;
        if kind == PROBLEM {
            self.problem_of(exchange)?;
            return listed(&value["code"], &response[CODES], "problem code");
        }
        let mut errors = value["errors"].as_array().into_iter().flatten();
        match operation.value.get(GRAPHQL_CODES) {
            Some(codes) => errors
                .try_for_each(|error| listed(&error["extensions"]["code"], codes, "error code")),
            None => Ok(()),
        }
    }

    /// The most specific operation: a literal segment takes precedence over a parameter. An undocumented
    /// HEAD is GET without a body.
    fn find(&self, method: &Method, path: &str) -> Option<&Operation> {
        let fitting = |method: &Method| {
            let operations = self.operations.iter();
            operations
                .filter(|operation| operation.fits(method, path))
                .min_by_key(|operation| operation.path_parameters().len())
        };
        fitting(method).or_else(|| {
            (*method == Method::HEAD)
                .then(|| fitting(&Method::GET))
                .flatten()
        })
    }

    fn compare_headers(&self, exchange: &Exchange<'_>, response: &Value) -> Result<(), String> {
        let headers = response["headers"].as_object();
        for (name, header) in headers.into_iter().flatten() {
            let header = self.resolve(header);
            let sent = exchange.headers.get(name.as_str());
            if sent.is_none() && header["required"] == true {
                return Err(format!("the header {name} is missing"));
            }
        }
        Ok(())
    }

    fn compare_body(&self, key: &str, schema: &Value, body: &[u8]) -> Result<Value, String> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
        self.fits(key, schema, &value)?;
        Ok(value)
    }

    /// # Errors
    /// What the schema does not allow. `key` identifies the schema in the cache.
    pub(super) fn fits(&self, key: &str, schema: &Value, value: &Value) -> Result<(), String> {
        let errors: Vec<String> = self
            .validator(key, schema)
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        if errors.is_empty() {
            return Ok(());
        }
        Err(format!("not what {key} promises: {errors:#?}\n{value:#}"))
    }

    /// The examples of a body.
    pub(super) fn examples<'a>(&'a self, media: &'a Value) -> Vec<&'a Value> {
        let named = media["examples"].as_object();
        let named = named.into_iter().flat_map(Map::values);
        let named = named.map(|example| &self.resolve(example)["value"]);
        media.get("example").into_iter().chain(named).collect()
    }

    /// The problem in a response, which must agree with its status and headers.
    fn problem_of(&self, exchange: &Exchange<'_>) -> Result<Option<Value>, String> {
        let (Some(body), PROBLEM) = (exchange.body, &*media_type(exchange.headers)) else {
            return Ok(None);
        };
        if *exchange.method == Method::HEAD {
            return Ok(None);
        }
        let schema = json!({"$ref": "#/components/schemas/Problem"});
        let problem = self.compare_body("a problem", &schema, body)?;
        let id = exchange.headers.get("x-request-id");
        let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
        let code = problem["code"].as_str().unwrap_or_default();
        let agrees = problem["status"] == exchange.status
            && problem["request_id"] == id
            && problem["type"] == format!("urn:quartet:problem:{code}");
        if agrees {
            Ok(Some(problem))
        } else {
            Err(format!("head and problem differ: {problem:#}"))
        }
    }

    pub(super) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let pointer = value["$ref"].as_str();
        pointer
            .and_then(|pointer| self.document.pointer(pointer.strip_prefix('#')?))
            .unwrap_or(value)
    }

    /// A validator that also rejects undocumented properties.
    fn validator(&self, key: &str, schema: &Value) -> Arc<Validator> {
        let mut validators = self
            .validators
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let made = validators
            .entry(key.to_owned())
            .or_insert_with(|| Arc::new(self.compile(schema)));
        Arc::clone(made)
    }

    /// # Panics
    /// When the schema is not valid.
    fn compile(&self, schema: &Value) -> Validator {
        let root = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": closed(&self.document["components"]),
            "allOf": [schema],
        });
        jsonschema::options()
            .should_validate_formats(true)
            .build(&root)
            .unwrap_or_else(|error| panic!("{schema}: {error}"))
    }
}

fn operations_of(document: &mut Value) -> Vec<Operation> {
    let mut found = Vec::new();
    walk::operations(document, |path, method, operation| {
        let security = operation.get("security").and_then(Value::as_array);
        let choices: Vec<&Value> = security.into_iter().flatten().collect();
        let open = choices
            .iter()
            .any(|choice| choice.as_object().is_some_and(Map::is_empty));
        found.push(Operation {
            id: operation["operationId"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            method: method
                .to_uppercase()
                .parse()
                .expect("a method of a document"),
            path: path.to_owned(),
            secured: !choices.is_empty() && !open,
            value: Value::Object(operation.clone()),
        });
    });
    found
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = value.unwrap_or_default().split(';').next();
    kind.unwrap_or_default().trim().to_owned()
}

fn known<'a>(content: &'a Map<String, Value>, kind: &str) -> Result<&'a Value, String> {
    content.get(kind).ok_or_else(|| {
        let known: BTreeSet<_> = content.keys().collect();
        format!("the media type `{kind}` is not among {known:?}")
    })
}

fn listed(code: &Value, codes: &Value, what: &str) -> Result<(), String> {
    let is_listed = codes.as_array().is_some_and(|codes| codes.contains(code));
    if is_listed {
        Ok(())
    } else {
        Err(format!("the {what} {code} is not among {codes}"))
    }
}
