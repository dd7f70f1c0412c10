//! Differences between two `OpenAPI` documents.

use serde_json::{Map, Value};

use super::change::Change;
use super::schema::{At, Comparison, Side};

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

pub(super) fn compare(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    let (before, after) = (operations(old), operations(new));
    for (name, was) in &before {
        match after.iter().find(|(known, _)| known == name) {
            Some((_, is)) => Pair { old, new, name }.operation(was, is, &mut changes),
            None => changes.push(Change::breaking(name, "operation-removed", "is gone")),
        }
    }
    for (name, _) in &after {
        if !before.iter().any(|(known, _)| known == name) {
            changes.push(Change::compatible(name, "operation-added", "is new"));
        }
    }
    changes
}

/// Operations by method and path.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (path, item) in entries(&document["paths"]) {
        for (method, operation) in entries(item) {
            if METHODS.contains(&method.as_str()) {
                found.push((format!("{} {path}", method.to_uppercase()), operation));
            }
        }
    }
    found
}

/// An operation in both documents.
struct Pair<'a> {
    old: &'a Value,
    new: &'a Value,
    name: &'a str,
}

impl Pair<'_> {
    fn operation(&self, old: &Value, new: &Value, changes: &mut Vec<Change>) {
        let name = self.name;
        if old["operationId"] != new["operationId"] {
            let what = format!("{} to {}", old["operationId"], new["operationId"]);
            changes.push(Change::breaking(name, "operation-id-changed", what));
        }
        match (is_secured(self.old, old), is_secured(self.new, new)) {
            (false, true) => changes.push(Change::breaking(
                name,
                "security-added",
                "needs a token now",
            )),
            (true, false) => changes.push(Change::compatible(
                name,
                "security-removed",
                "needs no token any more",
            )),
            _ => {}
        }
        self.parameters(old, new, changes);
        self.body(old, new, changes);
        self.responses(old, new, changes);
    }

    fn parameters(&self, old: &Value, new: &Value, changes: &mut Vec<Change>) {
        let (before, after) = (parameters(self.old, old), parameters(self.new, new));
        for (key, was) in &before {
            let pointer = format!("{}/{key}", self.name);
            let Some((_, is)) = after.iter().find(|(known, _)| known == key) else {
                changes.push(Change::breaking(pointer, "parameter-removed", "is gone"));
                continue;
            };
            match (was["required"] == true, is["required"] == true) {
                (false, true) => changes.push(Change::breaking(
                    &pointer,
                    "parameter-required",
                    "is required now",
                )),
                (true, false) => changes.push(Change::compatible(
                    &pointer,
                    "parameter-optional",
                    "may be absent now",
                )),
                _ => {}
            }
            let mut comparison = Comparison::of_parameter(changes);
            self.schemas(&mut comparison, &pointer, was, is);
        }
        for (key, is) in &after {
            if !before.iter().any(|(known, _)| known == key) {
                let required = is["required"] == true;
                let rule = if required {
                    "required-parameter-added"
                } else {
                    "parameter-added"
                };
                let pointer = format!("{}/{key}", self.name);
                changes.push(Change::new(required, pointer, rule, "is new"));
            }
        }
    }

    fn body(&self, old: &Value, new: &Value, changes: &mut Vec<Change>) {
        let pointer = format!("{}/body", self.name);
        let (was, is) = (&old["requestBody"], &new["requestBody"]);
        match (was["required"] == true, is["required"] == true) {
            (false, true) => {
                changes.push(Change::breaking(
                    &pointer,
                    "body-required",
                    "is required now",
                ));
            }
            (true, false) if is.is_null() => {
                changes.push(Change::breaking(&pointer, "body-removed", "is gone"));
            }
            (true, false) => changes.push(Change::compatible(
                &pointer,
                "body-optional",
                "may be absent now",
            )),
            _ => {}
        }
        self.contents(&pointer, (was, is), Side::Request, changes);
    }

    fn responses(&self, old: &Value, new: &Value, changes: &mut Vec<Change>) {
        let (before, after) = (&old["responses"], &new["responses"]);
        for (status, was) in entries(before) {
            let pointer = format!("{}/{status}", self.name);
            let is = &after[status];
            if is.is_null() {
                let breaking = !is_error(status);
                changes.push(Change::new(breaking, pointer, "status-removed", "is gone"));
                continue;
            }
            self.headers(&pointer, was, is, changes);
            codes(&pointer, was, is, changes);
            self.contents(&pointer, (was, is), Side::Response, changes);
        }
        for (status, _) in entries(after) {
            if before[status].is_null() {
                let pointer = format!("{}/{status}", self.name);
                // Clients know that errors of any status may come; of successes they know each.
                let breaking = !is_error(status);
                changes.push(Change::new(breaking, pointer, "status-added", "is new"));
            }
        }
    }

    fn headers(&self, pointer: &str, was: &Value, is: &Value, changes: &mut Vec<Change>) {
        let required = |document: &Value, header: &Value| {
            let target = header["$ref"].as_str();
            let target = target.and_then(|target| document.pointer(target.strip_prefix('#')?));
            target.unwrap_or(header)["required"] == true
        };
        for (name, header) in entries(&was["headers"]) {
            let now = entries(&is["headers"]).find(|(known, _)| known.eq_ignore_ascii_case(name));
            let pointer = format!("{pointer}/{name}");
            match now {
                None => changes.push(Change::breaking(pointer, "header-removed", "is gone")),
                Some((_, now)) if required(self.old, header) && !required(self.new, now) => {
                    changes.push(Change::breaking(
                        pointer,
                        "header-optional",
                        "may be absent now",
                    ));
                }
                Some(_) => {}
            }
        }
    }

    fn contents(
        &self,
        pointer: &str,
        (was, is): (&Value, &Value),
        side: Side,
        changes: &mut Vec<Change>,
    ) {
        for (kind, media) in entries(&was["content"]) {
            let pointer = format!("{pointer}/{kind}");
            match is["content"].get(kind) {
                Some(now) => {
                    let mut comparison = Comparison::new(side, changes);
                    self.schemas(&mut comparison, &pointer, media, now);
                }
                None => changes.push(Change::breaking(pointer, "media-type-removed", "is gone")),
            }
        }
        for (kind, _) in entries(&is["content"]) {
            if was["content"].get(kind).is_none() && !was.is_null() {
                let pointer = format!("{pointer}/{kind}");
                changes.push(Change::compatible(pointer, "media-type-added", "is new"));
            }
        }
    }

    fn schemas(&self, comparison: &mut Comparison<'_>, pointer: &str, was: &Value, is: &Value) {
        let old = At {
            document: self.old,
            schema: &was["schema"],
        };
        let new = At {
            document: self.new,
            schema: &is["schema"],
        };
        comparison.run(pointer, old, new);
    }
}

/// Codes of problems: clients take those that they know, and treat others by their status.
fn codes(pointer: &str, was: &Value, is: &Value, changes: &mut Vec<Change>) {
    const CODES: &str = "x-problem-codes";
    let list = |response: &Value| response[CODES].as_array().cloned().unwrap_or_default();
    let (before, after) = (list(was), list(is));
    for gone in before.iter().filter(|code| !after.contains(code)) {
        changes.push(Change::compatible(
            pointer,
            "code-removed",
            gone.to_string(),
        ));
    }
    // Before codes were told none of them was new.
    for come in after.iter().filter(|code| !before.contains(code)) {
        if was.get(CODES).is_some() {
            changes.push(Change::compatible(pointer, "code-added", come.to_string()));
        }
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn is_error(status: &str) -> bool {
    status.starts_with(['4', '5']) || status == "default"
}

fn is_secured(document: &Value, operation: &Value) -> bool {
    let own = operation.get("security").or(document.get("security"));
    let choices = own.and_then(Value::as_array);
    choices.is_some_and(|choices| {
        !choices.is_empty()
            && choices
                .iter()
                .all(|choice| choice != &Value::Object(Map::new()))
    })
}

/// Parameters by place and name.
fn parameters<'a>(document: &'a Value, operation: &'a Value) -> Vec<(String, &'a Value)> {
    let list = operation["parameters"].as_array();
    list.into_iter()
        .flatten()
        .map(|parameter| {
            let at = At {
                document,
                schema: parameter,
            };
            let parameter = at.resolve().schema;
            let place = parameter["in"].as_str().unwrap_or_default();
            let name = parameter["name"].as_str().unwrap_or_default();
            (format!("{place}:{}", name.to_lowercase()), parameter)
        })
        .collect()
}
