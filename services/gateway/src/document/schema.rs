//! The schemas of a document as JSON Schema 2020-12, which `OpenAPI` 3.1 uses and 3.0 resembles.

use quartet_common::openapi::walk;
use serde_json::{Map, Value, json};

/// References to references.
const MAX_REFERENCES: usize = 16;

/// Which of `readOnly` and `writeOnly` members are not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

impl Direction {
    /// What marks members that the other side alone sends.
    fn mark(self) -> &'static str {
        match self {
            Self::Request => "readOnly",
            Self::Response => "writeOnly",
        }
    }
}

/// The document with its schemas in the form for one direction. `formats`: those that are checked; a
/// format is an annotation otherwise (JSON Schema 2020-12, 7.2.1).
pub(super) fn prepare(document: &Value, direction: Direction, formats: &[String]) -> Value {
    let is_3_0 = version(document).is_some_and(|version| version.starts_with("3.0"));
    let mut prepared = document.clone();
    walk::schemas(&mut prepared, &mut |schema: &mut Value| {
        if let Some(keys) = schema.as_object_mut() {
            if is_3_0 {
                from_3_0(keys);
            }
            let is_checked = |format: &Value| formats.iter().any(|known| *format == **known);
            if keys.get("format").is_some_and(|format| !is_checked(format)) {
                keys.remove("format");
            }
            // Another one would have other rules, or none that are known here.
            keys.remove("$schema");
            require_less(keys, document, direction);
        }
    });
    prepared
}

pub(super) fn version(document: &Value) -> Option<&str> {
    document.get("openapi")?.as_str()
}

/// What the `$ref` of a value refers to, within the document.
pub(super) fn resolve<'d>(document: &'d Value, value: &Value) -> Option<&'d Value> {
    let mut target = local(document, value)?;
    for _ in 0..MAX_REFERENCES {
        // Beside a reference, a schema may have keywords of its own.
        let is_reference = target.as_object().is_some_and(|keys| keys.len() == 1);
        match local(document, target).filter(|_| is_reference) {
            Some(next) => target = next,
            None => break,
        }
    }
    Some(target)
}

fn local<'d>(document: &'d Value, value: &Value) -> Option<&'d Value> {
    let pointer = value.get("$ref")?.as_str()?.strip_prefix('#')?;
    document.pointer(&super::percent::decode(pointer))
}

/// The value, or what it refers to.
pub(super) fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    resolve(document, value).unwrap_or(value)
}

/// Where a pointer leads, past references that are nothing else.
pub(super) fn follow(document: &Value, pointer: &str) -> String {
    let mut pointer = pointer.to_owned();
    for _ in 0..MAX_REFERENCES {
        let keys = document.pointer(&pointer).and_then(Value::as_object);
        let only = keys.filter(|keys| keys.len() == 1);
        let target = only.and_then(|keys| keys.get("$ref")?.as_str()?.strip_prefix('#'));
        match target.map(|target| super::percent::decode(target).into_owned()) {
            Some(next) if document.pointer(&next).is_some() => pointer = next,
            _ => break,
        }
    }
    pointer
}

fn from_3_0(keys: &mut Map<String, Value>) {
    if keys.contains_key("$ref") {
        // Keywords beside a reference are ignored.
        keys.retain(|key, _| key == "$ref");
        return;
    }
    for (inclusive, exclusive) in [
        ("minimum", "exclusiveMinimum"),
        ("maximum", "exclusiveMaximum"),
    ] {
        let Some(Value::Bool(is_exclusive)) = keys.get(exclusive).cloned() else {
            continue;
        };
        keys.remove(exclusive);
        if is_exclusive && let Some(limit) = keys.remove(inclusive) {
            keys.insert(exclusive.to_owned(), limit);
        }
    }
    // Data, or of no meaning here; some of it would have one in 2020-12.
    for name in [
        "example", "examples", "const", "if", "then", "else", "$id", "$anchor",
    ] {
        keys.remove(name);
    }
    if keys.remove("nullable") == Some(Value::Bool(true)) {
        nullable(keys);
    }
}

/// Generously: null is allowed whatever else the schema says.
fn nullable(keys: &mut Map<String, Value>) {
    let is_plain = !["allOf", "anyOf", "oneOf", "not"]
        .iter()
        .any(|word| keys.contains_key(*word));
    match keys.get_mut("type") {
        Some(Value::String(kind)) if is_plain => {
            let kinds = json!([kind, "null"]);
            keys.insert("type".to_owned(), kinds);
            if let Some(Value::Array(values)) = keys.get_mut("enum")
                && !values.contains(&Value::Null)
            {
                values.push(Value::Null);
            }
        }
        _ => {
            let schema = Value::Object(std::mem::take(keys));
            keys.insert("anyOf".to_owned(), json!([{"type": "null"}, schema]));
        }
    }
}

/// A member that only the other side sends is not required of this one.
fn require_less(keys: &mut Map<String, Value>, document: &Value, direction: Direction) {
    let mut marked: Vec<String> = Vec::new();
    let parts = keys.get("allOf").and_then(Value::as_array);
    let parts = parts.into_iter().flatten();
    let parts = parts.filter_map(|part| resolved(document, part).get("properties"));
    for members in keys.get("properties").into_iter().chain(parts) {
        for (name, member) in members.as_object().into_iter().flatten() {
            let target = resolved(document, member);
            let is_marked = |it: &Value| it.get(direction.mark()) == Some(&Value::Bool(true));
            if is_marked(member) || is_marked(target) {
                marked.push(name.clone());
            }
        }
    }
    if let Some(Value::Array(required)) = keys.get_mut("required") {
        required.retain(|name| !marked.iter().any(|marked| *name == **marked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(version: &str, schema: Value, direction: Direction) -> Value {
        let document = json!({"openapi": version, "components": {"schemas": {
            "A": schema,
            "Id": {"type": "string", "readOnly": true},
        }}});
        prepare(&document, direction, &["uuid".to_owned()])["components"]["schemas"]["A"].take()
    }

    #[test]
    fn schemas_of_3_0_become_those_of_3_1() {
        for (old, new) in [
            (
                json!({"type": "string", "nullable": true, "enum": ["a"]}),
                json!({"type": ["string", "null"], "enum": ["a", null]}),
            ),
            (
                json!({"type": "object", "nullable": true, "allOf": [{"$ref": "#/x"}]}),
                json!({"anyOf": [{"type": "null"}, {"type": "object", "allOf": [{"$ref": "#/x"}]}]}),
            ),
            (
                json!({"nullable": true, "allOf": [{"$ref": "#/x"}]}),
                json!({"anyOf": [{"type": "null"}, {"allOf": [{"$ref": "#/x"}]}]}),
            ),
            (
                json!({"type": "number", "minimum": 1, "exclusiveMinimum": true, "maximum": 2, "exclusiveMaximum": false}),
                json!({"type": "number", "exclusiveMinimum": 1, "maximum": 2}),
            ),
            (
                json!({"$ref": "#/x", "maxLength": 1}),
                json!({"$ref": "#/x"}),
            ),
            (
                json!({"type": "string", "example": {"type": 1}}),
                json!({"type": "string"}),
            ),
        ] {
            assert_eq!(prepared("3.0.3", old, Direction::Request), new);
        }
        let new = json!({"type": "number", "exclusiveMinimum": 1, "const": 2});
        assert_eq!(prepared("3.1.0", new.clone(), Direction::Request), new);
    }

    #[test]
    fn formats_are_checked_that_are_named() {
        let schema = |format: &str| json!({"type": "string", "format": format});
        let kept = |format: &str| {
            prepared("3.1.0", schema(format), Direction::Request)
                .get("format")
                .is_some()
        };
        assert!(kept("uuid") && !kept("email"));
    }

    #[test]
    fn what_the_other_side_sends_is_not_required() {
        let schema = json!({
            "required": ["id", "secret", "name", "at"],
            "properties": {
                "id": {"$ref": "#/components/schemas/Id"},
                "secret": {"writeOnly": true},
                "name": {},
            },
            "allOf": [{"properties": {"at": {"readOnly": true}}}],
        });
        let required = |direction| prepared("3.1.0", schema.clone(), direction)["required"].take();
        assert_eq!(required(Direction::Request), json!(["secret", "name"]));
        assert_eq!(required(Direction::Response), json!(["id", "name", "at"]));
    }
}
