//! Differences between two `OpenAPI` documents.

use serde_json::{Map, Value};

use super::Change;
use super::entries::{Entries, entries, members, pairs};
use super::schema::{Comparison, Side, resolve};

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];
/// The codes of problems of a response.
const CODES: &str = "x-problem-codes";

pub(super) fn compare(old: &Value, new: &Value) -> Vec<Change> {
    let mut diff = Diff {
        old,
        new,
        changes: Vec::new(),
    };
    for (name, was, is) in pairs(operations(old), operations(new)) {
        match (was, is) {
            (Some(was), Some(is)) => diff.operation(&name, was, is),
            (Some(_), None) => diff.add(true, &name, "operation-removed", "removed"),
            _ => diff.add(false, &name, "operation-added", "new"),
        }
    }
    diff.changes
}

struct Diff<'a> {
    old: &'a Value,
    new: &'a Value,
    changes: Vec<Change>,
}

impl Diff<'_> {
    fn add(&mut self, breaking: bool, pointer: &str, rule: &str, what: &str) {
        self.changes
            .push(Change::new(breaking, pointer, rule, what));
    }

    fn operation(&mut self, name: &str, was: &Value, is: &Value) {
        let (before, after) = (&was["operationId"], &is["operationId"]);
        if before != after {
            self.add(
                true,
                name,
                "operation-id-changed",
                &format!("{before} to {after}"),
            );
        }
        match (is_secured(self.old, was), is_secured(self.new, is)) {
            (false, true) => self.add(true, name, "security-added", "requires a token"),
            (true, false) => self.add(false, name, "security-removed", "requires no token"),
            _ => {}
        }
        for (key, was, is) in pairs(parameters(self.old, was), parameters(self.new, is)) {
            self.parameter(&format!("{name}/{key}"), was, is);
        }
        self.body(
            &format!("{name}/body"),
            &was["requestBody"],
            &is["requestBody"],
        );
        for (status, was, is) in pairs(entries(&was["responses"]), entries(&is["responses"])) {
            self.response(&format!("{name}/{status}"), &status, was, is);
        }
    }

    fn parameter(&mut self, pointer: &str, was: Option<&Value>, is: Option<&Value>) {
        match (was, is) {
            (Some(was), Some(is)) => {
                match required(was, is) {
                    (false, true) => self.add(true, pointer, "parameter-required", "required"),
                    (true, false) => self.add(false, pointer, "parameter-optional", "optional"),
                    _ => {}
                }
                self.schemas(pointer, Side::Parameter, was, is);
            }
            (None, Some(is)) if is["required"] == true => {
                self.add(true, pointer, "required-parameter-added", "new");
            }
            (None, _) => self.add(false, pointer, "parameter-added", "new"),
            (Some(_), None) => self.add(true, pointer, "parameter-removed", "removed"),
        }
    }

    fn body(&mut self, pointer: &str, was: &Value, is: &Value) {
        match required(was, is) {
            (false, true) => self.add(true, pointer, "body-required", "required"),
            (true, false) if is.is_null() => self.add(true, pointer, "body-removed", "removed"),
            (true, false) => self.add(false, pointer, "body-optional", "optional"),
            _ => {}
        }
        self.contents(pointer, Side::Request, was, is);
    }

    fn response(&mut self, pointer: &str, status: &str, was: Option<&Value>, is: Option<&Value>) {
        // Clients expect errors of any status, but know every success.
        let is_success = !status.starts_with(['4', '5']) && status != "default";
        let (was, is) = match (was, is) {
            (Some(was), Some(is)) => (was, is),
            (Some(_), _) => return self.add(is_success, pointer, "status-removed", "removed"),
            (None, _) => return self.add(is_success, pointer, "status-added", "new"),
        };
        for (name, was, is) in pairs(entries(&was["headers"]), entries(&is["headers"])) {
            let pointer = format!("{pointer}/{name}");
            match (was, is) {
                (Some(_), None) => self.add(true, &pointer, "header-removed", "removed"),
                (Some(was), Some(is)) => {
                    let (was, is) = (resolve(self.old, was), resolve(self.new, is));
                    if required(was, is) == (true, false) {
                        self.add(true, &pointer, "header-optional", "optional");
                    }
                }
                _ => {}
            }
        }
        self.codes(pointer, was, is);
        self.contents(pointer, Side::Response, was, is);
    }

    /// Clients treat unknown codes by their status.
    fn codes(&mut self, pointer: &str, was: &Value, is: &Value) {
        let list = |response: &Value| response[CODES].as_array().cloned().unwrap_or_default();
        let (before, after) = (list(was), list(is));
        for code in before.iter().filter(|code| !after.contains(code)) {
            self.add(false, pointer, "code-removed", &code.to_string());
        }
        // Old documents list no codes: then none is new.
        let is_listed = was.get(CODES).is_some();
        for code in after
            .iter()
            .filter(|code| is_listed && !before.contains(code))
        {
            self.add(false, pointer, "code-added", &code.to_string());
        }
    }

    fn contents(&mut self, pointer: &str, side: Side, was: &Value, is: &Value) {
        for (kind, before, after) in pairs(entries(&was["content"]), entries(&is["content"])) {
            let pointer = format!("{pointer}/{kind}");
            match (before, after) {
                (Some(before), Some(after)) => self.schemas(&pointer, side, before, after),
                (Some(_), None) => self.add(true, &pointer, "media-type-removed", "removed"),
                (None, _) if was.is_null() => {}
                (None, _) => self.add(false, &pointer, "media-type-added", "new"),
            }
        }
    }

    fn schemas(&mut self, pointer: &str, side: Side, was: &Value, is: &Value) {
        let mut comparison = Comparison::new(self.old, self.new, side);
        comparison.run(pointer, &was["schema"], &is["schema"]);
        self.changes.extend(comparison.changes);
    }
}

/// Operations by method and path.
fn operations(document: &Value) -> Entries<'_> {
    let paths = members(&document["paths"]);
    let operations = paths.flat_map(|(path, item)| {
        let methods = members(item).filter(|(method, _)| METHODS.contains(&method.as_str()));
        methods.map(move |(method, operation)| {
            (format!("{} {path}", method.to_uppercase()), operation)
        })
    });
    operations.collect()
}

/// Parameters by place and name.
fn parameters<'a>(document: &'a Value, operation: &'a Value) -> Entries<'a> {
    let list = operation["parameters"].as_array();
    let parameters = list.into_iter().flatten().map(|parameter| {
        let parameter = resolve(document, parameter);
        let text = |name: &str| parameter[name].as_str().unwrap_or_default();
        (
            format!("{}:{}", text("in"), text("name").to_lowercase()),
            parameter,
        )
    });
    parameters.collect()
}

fn is_secured(document: &Value, operation: &Value) -> bool {
    let own = operation.get("security").or(document.get("security"));
    let choices = own.and_then(Value::as_array);
    let is_empty = |choice: &Value| choice.as_object().is_some_and(Map::is_empty);
    choices.is_some_and(|choices| !choices.is_empty() && !choices.iter().any(is_empty))
}

fn required(was: &Value, is: &Value) -> (bool, bool) {
    (was["required"] == true, is["required"] == true)
}
