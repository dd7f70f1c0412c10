//! JSON as a value, in which no name of a member occurs twice: servers differ in which of the two
//! they take, so that what is checked here could be another value there.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::validators::token;

/// A value, and the pointer of the first member that repeats another one.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    pub(super) value: Value,
    pub(super) duplicate: Option<String>,
}

/// Nesting is bounded by the parser, at 128.
///
/// # Errors
/// When the bytes are not one JSON text in UTF-8.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, serde_json::Error> {
    let mut duplicate = None;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Node(&mut duplicate).deserialize(&mut json)?;
    json.end()?;
    Ok(Parsed { value, duplicate })
}

struct Node<'d>(&'d mut Option<String>);

impl Node<'_> {
    /// Puts the name of the member in front, if it holds what was found.
    fn within(found: &mut Option<String>, was_found: bool, name: impl FnOnce() -> String) {
        if let (false, Some(pointer)) = (was_found, found) {
            pointer.insert_str(0, &name());
        }
    }
}

fn step(name: &str) -> String {
    format!("/{}", token(name))
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).map(Value::Number);
        number.ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        loop {
            let was_found = self.0.is_some();
            let Some(item) = items.next_element_seed(Node(self.0))? else {
                return Ok(Value::Array(found));
            };
            Node::within(self.0, was_found, || format!("/{}", found.len()));
            found.push(item);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let was_found = self.0.is_some();
            let value = members.next_value_seed(Node(self.0))?;
            Node::within(self.0, was_found, || step(&name));
            if self.0.is_none() && found.contains_key(&name) {
                *self.0 = Some(step(&name));
            }
            found.insert(name, value);
        }
        Ok(Value::Object(found))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz;

    #[test]
    fn repeated_members_are_found_where_they_are() {
        for (text, expected) in [
            ("{}", None),
            (r#"{"a": 1, "b": 1}"#, None),
            (r#"{"a": {"a": 1}}"#, None),
            (r#"{"a": 1, "a": 2}"#, Some("/a")),
            (r#"{"a": 1, "\u0061": 2}"#, Some("/a")),
            (r#"{"x": [0, {"~/": 1, "~/": 1}]}"#, Some("/x/1/~0~1")),
            (r#"[{"a": 1, "a": 2}, {"b": 1, "b": 2}]"#, Some("/0/a")),
            (r#"{"a": {"b": 1, "b": 2}, "a": 3}"#, Some("/a/b")),
        ] {
            let parsed = parse(text.as_bytes()).unwrap();
            assert_eq!(parsed.duplicate.as_deref(), expected, "{text}");
        }
        for text in [
            "",
            "{",
            "[1,]",
            "{} {}",
            "1e999",
            "\u{feff}{}",
            "nul",
            "'a'",
            "{\"a\": 1,}",
            &"[".repeat(200),
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    /// The same as the common parser says, whose last member of a name counts.
    fn is_read_as_usual(input: &[u8]) -> Result<(), TestCaseError> {
        let usual = serde_json::from_slice::<Value>(input);
        match (parse(input), usual) {
            (Ok(parsed), Ok(value)) => prop_assert_eq!(parsed.value, value),
            (Err(_), Err(_)) => {}
            (ours, usual) => prop_assert!(false, "{:?} but {:?}", ours, usual),
        }
        Ok(())
    }

    #[test]
    fn fuzz_json_bodies() {
        let dictionary = [
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "\"a\":",
            "\\u0061",
            "\\ud800",
            "1e9",
            "-0",
            "null",
            "true",
            " ",
            "1.5",
            "99999999999999999999",
        ];
        fuzz::run("json_bodies", &dictionary, is_read_as_usual);
    }
}
