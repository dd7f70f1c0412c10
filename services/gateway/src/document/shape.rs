//! Which values a schema is about, as far as texts must be read as them: the schema itself decides
//! whether they are valid.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::schema::resolve;

/// References and choices within each other; deeper ones count as anything.
const MAX_DEPTH: usize = 12;

/// The types that a value may have.
#[expect(clippy::struct_excessive_bools, reason = "a set of seven")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Types {
    pub(super) string: bool,
    pub(super) integer: bool,
    pub(super) number: bool,
    pub(super) boolean: bool,
    pub(super) null: bool,
    pub(super) array: bool,
    pub(super) object: bool,
}

/// Of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) types: Types,
    /// Of the items of an array.
    pub(super) items: Types,
    /// Of the members of an object that the schema names.
    pub(super) members: BTreeMap<Box<str>, Shape>,
    /// Of its other members.
    pub(super) others: Types,
    /// An object may have others.
    pub(super) is_open: bool,
}

const ANY: Types = Types {
    string: true,
    integer: true,
    number: true,
    boolean: true,
    null: true,
    array: true,
    object: true,
};
/// What is a text unless something else is said.
pub(super) const TEXT: Types = Types {
    string: true,
    integer: false,
    number: false,
    boolean: false,
    null: false,
    array: false,
    object: false,
};
/// What a text is, if nothing says that it is an array or an object.
const ANY_TEXT: Types = Types {
    array: false,
    object: false,
    ..ANY
};

impl Types {
    fn named(name: &str) -> Self {
        let mut types = Self::default();
        match name {
            "string" => types.string = true,
            "integer" => types.integer = true,
            "number" => types.number = true,
            "boolean" => types.boolean = true,
            "null" => types.null = true,
            "array" => types.array = true,
            "object" => types.object = true,
            _ => return ANY,
        }
        types
    }

    fn of_value(value: &Value) -> Self {
        Self::named(match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        })
    }

    fn combine(self, other: Self, with: impl Fn(bool, bool) -> bool) -> Self {
        Self {
            string: with(self.string, other.string),
            integer: with(self.integer, other.integer),
            number: with(self.number, other.number),
            boolean: with(self.boolean, other.boolean),
            null: with(self.null, other.null),
            array: with(self.array, other.array),
            object: with(self.object, other.object),
        }
    }

    fn or(self, other: Self) -> Self {
        self.combine(other, |one, other| one || other)
    }

    fn and(self, other: Self) -> Self {
        // An integer is a number.
        let widened = |types: Self| Self {
            integer: types.integer || types.number,
            ..types
        };
        widened(self).combine(widened(other), |one, other| one && other)
    }
}

impl Shape {
    pub(super) fn of(document: &Value, schema: &Value) -> Self {
        let mut shape = Self::within(document, schema, 0);
        if shape.types == ANY {
            shape.types = ANY_TEXT;
        }
        if shape.items == ANY {
            shape.items = ANY_TEXT;
        }
        shape
    }

    fn anything() -> Self {
        Self {
            types: ANY,
            items: ANY,
            members: BTreeMap::new(),
            others: TEXT,
            is_open: true,
        }
    }

    fn within(document: &Value, schema: &Value, depth: usize) -> Self {
        let mut shape = Self::anything();
        let Some(keys) = schema.as_object().filter(|_| depth < MAX_DEPTH) else {
            return shape;
        };
        if let Some(target) = resolve(document, schema) {
            shape.restrict(Self::within(document, target, depth + 1));
        }
        shape.types = shape.types.and(own_types(keys));
        if let Some(items) = keys.get("items") {
            shape.items = Self::within(document, items, depth + 1).types;
        }
        let members = keys.get("properties").and_then(Value::as_object);
        for (name, member) in members.into_iter().flatten() {
            let member = Self::within(document, member, depth + 1);
            shape.members.insert(name.as_str().into(), member);
        }
        let others = keys.get("additionalProperties");
        if let Some(others) = others.filter(|others| others.is_object()) {
            shape.others = Self::within(document, others, depth + 1).types;
        }
        shape.is_open &= keys.get("additionalProperties") != Some(&Value::Bool(false));
        for part in list(keys, "allOf") {
            shape.restrict(Self::within(document, part, depth + 1));
        }
        for word in ["anyOf", "oneOf"] {
            let choices = list(keys, word).map(|it| Self::within(document, it, depth + 1));
            if let Some(any) = choices.reduce(Self::or) {
                shape.restrict(any);
            }
        }
        shape
    }

    fn restrict(&mut self, other: Self) {
        if self.others == TEXT {
            self.others = other.others;
        }
        self.types = self.types.and(other.types);
        self.items = self.items.and(other.items);
        self.is_open &= other.is_open;
        for (name, member) in other.members {
            self.members.entry(name).or_insert(member);
        }
    }

    fn or(mut self, other: Self) -> Self {
        if self.others == TEXT {
            self.others = other.others;
        }
        self.types = self.types.or(other.types);
        self.items = self.items.or(other.items);
        self.is_open |= other.is_open;
        for (name, member) in other.members {
            let known = self.members.remove(&name);
            let member = match known {
                Some(known) => known.or(member),
                None => member,
            };
            self.members.insert(name, member);
        }
        self
    }
}

fn list<'k>(keys: &'k Map<String, Value>, word: &str) -> impl Iterator<Item = &'k Value> {
    keys.get(word)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// By `type`, else by the values of `enum` and `const`.
fn own_types(keys: &Map<String, Value>) -> Types {
    let union = |all: &mut dyn Iterator<Item = Types>| all.reduce(Types::or).unwrap_or(ANY);
    match keys.get("type") {
        Some(Value::String(name)) => Types::named(name),
        Some(Value::Array(names)) => union(
            &mut names
                .iter()
                .map(|it| Types::named(it.as_str().unwrap_or_default())),
        ),
        _ => match (keys.get("enum"), keys.get("const")) {
            (Some(Value::Array(values)), _) => union(&mut values.iter().map(Types::of_value)),
            (_, Some(value)) => Types::of_value(value),
            _ => ANY,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shapes_follow_references_and_choices() {
        let document = json!({"components": {"schemas": {
            "Status": {"type": "string", "enum": ["a"]},
            "Loop": {"allOf": [{"$ref": "#/components/schemas/Loop"}]},
        }}});
        let names = |schema: Value| {
            let types = Shape::of(&document, &schema).types;
            let all = [
                ("string", types.string),
                ("integer", types.integer),
                ("number", types.number),
                ("boolean", types.boolean),
                ("null", types.null),
                ("array", types.array),
                ("object", types.object),
            ];
            let set = all.into_iter().filter(|(_, is)| *is).map(|(name, _)| name);
            set.collect::<Vec<_>>().join(" ")
        };
        for (schema, expected) in [
            (json!({"type": "integer"}), "integer"),
            (json!({"type": "number"}), "integer number"),
            (json!({"type": ["string", "null"]}), "string null"),
            (json!({"$ref": "#/components/schemas/Status"}), "string"),
            (
                json!({"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Status"}]}),
                "string null",
            ),
            (
                json!({"allOf": [{"type": ["integer", "string"]}, {"type": "number"}]}),
                "integer",
            ),
            (json!({"enum": [1, "x"]}), "string integer number"),
            (json!({"const": true}), "boolean"),
            (
                json!({"type": "array", "items": {"type": "integer"}}),
                "array",
            ),
            (
                json!({"$ref": "#/components/schemas/Loop"}),
                "string integer number boolean null",
            ),
            (json!({}), "string integer number boolean null"),
            (json!(true), "string integer number boolean null"),
        ] {
            assert_eq!(names(schema.clone()), expected, "{schema}");
        }
        let list = json!({"type": "array", "items": {"type": "integer"}});
        assert!(Shape::of(&document, &list).items.integer);
        let object = json!({"type": "object", "additionalProperties": false,
            "properties": {"a": {"type": "integer"}}});
        let shape = Shape::of(&document, &object);
        assert!(!shape.is_open && shape.members["a"].types.integer);
    }
}
