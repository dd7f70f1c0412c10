//! Texts of parameters as the values that they stand for.

use serde_json::{Number, Value};

use super::shape::Types;

/// The value of a text: of the types that it can be read as, the first of number, boolean and null;
/// else the text. Numbers may be written as common parsers read them: `007`, `+5`.
pub(super) fn value(text: &str, types: Types) -> Value {
    let number = (types.number || types.integer).then(|| number(text, !types.number));
    if let Some(number) = number.flatten() {
        return number;
    }
    match text {
        "true" if types.boolean => Value::Bool(true),
        "false" if types.boolean => Value::Bool(false),
        "null" | "" if types.null && !types.string => Value::Null,
        text => Value::String(text.to_owned()),
    }
}

/// The value, or the text itself where a text may be meant as well.
pub(super) fn readings(text: &str, types: Types) -> (Value, Option<Value>) {
    let value = value(text, types);
    let other = types.string && !value.is_string();
    (value, other.then(|| Value::String(text.to_owned())))
}

fn number(text: &str, whole: bool) -> Option<Value> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.bytes().next()?.is_ascii_digit() {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = text.parse::<u64>() {
        return Some(number.into());
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.into());
    }
    let number: f64 = text.parse().ok()?;
    if whole && number.fract() != 0.0 {
        return None;
    }
    Number::from_f64(number).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn types(names: &str) -> Types {
        let has = |name: &str| names.contains(name);
        Types {
            string: has("string"),
            integer: has("integer"),
            number: has("number"),
            boolean: has("boolean"),
            null: has("null"),
            array: false,
            object: false,
        }
    }

    #[test]
    fn texts_are_read_by_the_types_that_they_may_have() {
        for (text, names, expected) in [
            ("5", "integer", json!(5)),
            ("-5", "integer", json!(-5)),
            ("+5", "integer", json!(5)),
            ("007", "integer", json!(7)),
            ("18446744073709551615", "integer", json!(u64::MAX)),
            ("5.0", "integer", json!(5.0)),
            ("5.5", "integer", json!("5.5")),
            ("5.5", "number", json!(5.5)),
            ("1e3", "number", json!(1000.0)),
            ("1e999", "number", json!("1e999")),
            ("inf", "number", json!("inf")),
            ("NaN", "number", json!("NaN")),
            ("0x10", "integer", json!("0x10")),
            ("", "integer", json!("")),
            ("-", "integer", json!("-")),
            ("5", "string", json!("5")),
            ("true", "boolean", json!(true)),
            ("True", "boolean", json!("True")),
            ("", "integer null", json!(null)),
            ("", "string null", json!("")),
        ] {
            assert_eq!(value(text, types(names)), expected, "{text} as {names}");
        }
        let (value, other) = readings("5", types("integer string"));
        assert_eq!((value, other), (json!(5), Some(json!("5"))));
    }
}
