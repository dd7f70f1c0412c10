//! Differences between two `OpenAPI` documents: each is read into a tree of what clients rely on, and
//! the trees are compared.
//!
//! A change is judged by who writes the value that it is about: a narrower value breaks those who
//! send, a wider one those who receive.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Change;

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];
/// The codes of problems of a response.
const CODES: &str = "x-problem-codes";
/// Keywords whose greater value allows less, and those whose greater value allows more.
const LOWER: [&str; 4] = ["minimum", "exclusiveMinimum", "minLength", "minItems"];
const UPPER: [&str; 4] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems"];

/// The rules of facts that are no limits: one for less, one for more. What has no such fact allows
/// more.
const RULES: [(&str, &str, &str); 8] = [
    (
        "operationId",
        "operation-id-changed",
        "operation-id-changed",
    ),
    ("security", "security-added", "security-removed"),
    ("required", "required", "optional"),
    ("type", "type-narrowed", "type-widened"),
    ("enum", "enum-added", "enum-removed"),
    ("format", "format-narrowed", "format-widened"),
    ("pattern", "pattern-narrowed", "pattern-widened"),
    ("closed", "members-closed", "members-opened"),
];

pub(super) fn compare(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    Reader::document(old).compare("", &Reader::document(new), &mut changes);
    changes
}

/// Who writes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The client, as text: null has no meaning.
    Parameter,
    /// The client: what was accepted must stay accepted.
    Request,
    /// The service: what could not be sent must not be sent.
    Response,
}

#[derive(Clone, Copy)]
enum Effect {
    Narrower,
    Wider,
    /// Which one allows more cannot be decided: it breaks either side.
    Unclear,
}

/// An operation, a parameter, a response, a schema and so on.
struct Node {
    kind: &'static str,
    side: Side,
    facts: BTreeMap<&'static str, Value>,
    parts: BTreeMap<String, Node>,
}

impl Node {
    fn new(kind: &'static str, side: Side) -> Self {
        Self {
            kind,
            side,
            facts: BTreeMap::new(),
            parts: BTreeMap::new(),
        }
    }

    fn state(&mut self, name: &'static str, value: Option<Value>) {
        let value = value.filter(|value| !value.is_null() && value != false);
        self.facts.extend(value.map(|value| (name, value)));
    }

    fn compare(&self, pointer: &str, new: &Self, changes: &mut Vec<Change>) {
        for (name, before, after) in pairs(&self.facts, &new.facts) {
            for (effect, rule, what) in judge(name, before, after) {
                let rule = match rule {
                    "required" | "optional" => format!("{}-{rule}", self.kind),
                    rule => rule.to_owned(),
                };
                // Readers ignore members that are not described.
                let breaking = self.breaks(effect) && rule != "members-opened";
                changes.push(Change::new(breaking, pointer, &rule, &what));
            }
        }
        for (name, was, is) in pairs(&self.parts, &new.parts) {
            let pointer = format!("{pointer}/{name}");
            let pointer = pointer.trim_start_matches('/');
            match (was, is) {
                (Some(was), Some(is)) => was.compare(pointer, is, changes),
                (Some(gone), None) => changes.extend(gone.existence(pointer, name, false)),
                (None, is) => changes.extend(is.and_then(|it| it.existence(pointer, name, true))),
            }
        }
    }

    fn breaks(&self, effect: Effect) -> bool {
        match effect {
            Effect::Narrower => self.side != Side::Response,
            Effect::Wider => self.side == Side::Response,
            Effect::Unclear => true,
        }
    }

    /// The change of a part that is new or has been removed.
    fn existence(&self, pointer: &str, name: &str, is_new: bool) -> Option<Change> {
        let (wider, narrower) = (Effect::Wider, Effect::Narrower);
        let is_required =
            is_new && self.side != Side::Response && self.facts.contains_key("required");
        let breaking = match self.kind {
            "any" => return None,
            "choice" => self.breaks(if is_new { wider } else { narrower }),
            "part" => self.breaks(if is_new { narrower } else { wider }),
            // Clients treat unknown codes by their status, and errors of any status; they know every
            // success.
            "code" => false,
            "status" => !name.starts_with(['4', '5']) && name != "default",
            _ => !is_new || is_required,
        };
        let required = if is_required { "required-" } else { "" };
        let (end, what) = if is_new {
            ("added", "new")
        } else {
            ("removed", "removed")
        };
        let rule = format!("{required}{}-{end}", self.kind);
        Some(Change::new(breaking, pointer, &rule, what))
    }
}

/// The changes of one fact: effect, rule, description.
fn judge(
    name: &str,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Vec<(Effect, &'static str, String)> {
    let rules = RULES.iter().find(|(fact, ..)| *fact == name);
    let (less, more) = rules.map_or(("limit-narrowed", "limit-widened"), |it| (it.1, it.2));
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (None, _) => return vec![(Effect::Narrower, less, format!("{name} added"))],
        (_, None) => return vec![(Effect::Wider, more, format!("{name} removed"))],
    };
    if let (Some(before), Some(after)) = (before.as_array(), after.as_array()) {
        let (less, more) = match name {
            "enum" => ("enum-value-removed", "enum-value-added"),
            _ => (less, more),
        };
        let removed = before.iter().filter(|value| !after.contains(value));
        let added = after.iter().filter(|value| !before.contains(value));
        let removed = removed.map(|value| (Effect::Narrower, less, format!("{value} removed")));
        return removed
            .chain(added.map(|value| (Effect::Wider, more, format!("{value} added"))))
            .collect();
    }
    if before == after {
        return Vec::new();
    }
    let what = format!("{name} {before} to {after}");
    let is_lower = LOWER.contains(&name);
    if !is_lower && !UPPER.contains(&name) {
        return vec![(Effect::Unclear, less, what)];
    }
    let is_greater = after.as_f64() > before.as_f64();
    vec![if is_lower == is_greater {
        (Effect::Narrower, less, what)
    } else {
        (Effect::Wider, more, what)
    }]
}

/// Reads one document.
struct Reader<'a> {
    document: &'a Value,
    /// References that are being read: schemas may be recursive.
    open: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    fn document(document: &'a Value) -> Node {
        let open = Vec::new();
        let mut this = Self { document, open };
        let mut node = Node::new("document", Side::Request);
        for (path, item) in members(&document["paths"]) {
            for (method, operation) in members(item) {
                if METHODS.contains(&method.as_str()) {
                    let name = format!("{} {path}", method.to_uppercase());
                    node.parts.insert(name, this.operation(operation));
                }
            }
        }
        node
    }

    fn operation(&mut self, operation: &'a Value) -> Node {
        let mut node = Node::new("operation", Side::Request);
        node.state("operationId", operation.get("operationId").cloned());
        node.state("security", Some(self.is_secured(operation).into()));
        for parameter in items(&operation["parameters"]) {
            let parameter = self.resolve(parameter);
            let mut part = self.schema("parameter", Side::Parameter, &parameter["schema"]);
            part.state("required", parameter.get("required").cloned());
            let text = |name: &str| parameter[name].as_str().unwrap_or_default();
            let name = format!("{}:{}", text("in"), text("name").to_lowercase());
            node.parts.insert(name, part);
        }
        let body = self.resolve(&operation["requestBody"]);
        let mut part = self.contents("body", Side::Request, body);
        part.state("required", body.get("required").cloned());
        node.parts.insert("body".to_owned(), part);
        for (status, response) in members(&operation["responses"]) {
            let response = self.response(response);
            node.parts.insert(status.clone(), response);
        }
        node
    }

    fn response(&mut self, response: &'a Value) -> Node {
        let response = self.resolve(response);
        let mut node = self.contents("status", Side::Response, response);
        for (name, header) in members(&response["headers"]) {
            let mut part = Node::new("header", Side::Response);
            part.state("required", self.resolve(header).get("required").cloned());
            node.parts.insert(name.clone(), part);
        }
        for code in items(&response[CODES]) {
            node.parts
                .insert(code.to_string(), Node::new("code", Side::Response));
        }
        node
    }

    fn contents(&mut self, kind: &'static str, side: Side, value: &'a Value) -> Node {
        let mut node = Node::new(kind, side);
        for (name, content) in members(&value["content"]) {
            let schema = self.schema("media-type", side, &content["schema"]);
            node.parts.insert(name.clone(), schema);
        }
        node
    }

    fn schema(&mut self, kind: &'static str, side: Side, schema: &'a Value) -> Node {
        let mut node = Node::new(kind, side);
        let reference = schema["$ref"].as_str();
        if reference.is_some_and(|reference| self.open.contains(&reference)) {
            return node;
        }
        self.open.extend(reference);
        let schema = self.resolve(schema);
        node.state("type", types(schema, side));
        let only = schema.get("const").map(|only| json!([only]));
        node.state("enum", only.or_else(|| schema.get("enum").cloned()));
        for word in ["format", "pattern"].into_iter().chain(LOWER).chain(UPPER) {
            node.state(word, schema.get(word).cloned());
        }
        for (name, property) in members(&schema["properties"]) {
            let mut part = self.schema("property", side, property);
            let is_required = items(&schema["required"]).any(|required| required == name);
            part.state("required", Some(is_required.into()));
            node.parts.insert(name.clone(), part);
        }
        // Elements of arrays, and members that are not listed as properties.
        let others = &schema["additionalProperties"];
        node.state("closed", Some((others == false).into()));
        for (name, inner) in [("[]", &schema["items"]), ("*", others)] {
            if inner.is_object() {
                let part = self.schema("any", side, inner);
                node.parts.insert(name.to_owned(), part);
            }
        }
        for (word, kind) in [("oneOf", "choice"), ("anyOf", "choice"), ("allOf", "part")] {
            for choice in items(&schema[word]) {
                let part = self.schema(kind, side, choice);
                let reference = choice["$ref"].as_str();
                let name = reference.map_or_else(|| choice.to_string(), str::to_owned);
                node.parts.insert(format!("{word} {name}"), part);
            }
        }
        if reference.is_some() {
            self.open.pop();
        }
        node
    }

    /// Follows references within the document.
    fn resolve(&self, value: &'a Value) -> &'a Value {
        let reference = value["$ref"].as_str();
        let target = reference.and_then(|it| self.document.pointer(it.strip_prefix('#')?));
        target.map_or(value, |target| self.resolve(target))
    }

    fn is_secured(&self, operation: &Value) -> bool {
        let own = operation.get("security").or(self.document.get("security"));
        let choices = own.and_then(Value::as_array);
        let is_empty = |choice: &Value| choice.as_object().is_some_and(Map::is_empty);
        choices.is_some_and(|choices| !choices.is_empty() && !choices.iter().any(is_empty))
    }
}

fn types(schema: &Value, side: Side) -> Option<Value> {
    let mut types = match schema.get("type")? {
        Value::Array(types) => types.clone(),
        only => vec![only.clone()],
    };
    if types.contains(&json!("number")) {
        types.push(json!("integer"));
    }
    if side == Side::Parameter {
        types.retain(|kind| kind != "null");
    }
    Some(types.into())
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Entries of the same name, in the order of names.
fn pairs<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let names: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .map(|name| (name, before.get(name), after.get(name)))
}
