//! A claim as the value of a header.

use std::fmt::Write as _;

use http::HeaderValue;
use serde_json::Value;

/// A longer value is not sent: it would not fit into the head of many servers.
const MAX_BYTES: usize = 4096;

/// Text, number or boolean, or a list of these with commas between them. `None`: another kind of
/// value, or one that is too long.
///
/// Readers decode percent-encoding. Encoded are bytes that are not visible ASCII, spaces at the ends, which
/// parsers cut, and `%`; inside a list, commas too. So every value has one text, and no two have the
/// same.
pub fn header_text(value: &Value) -> Option<HeaderValue> {
    let mut text = String::new();
    match value {
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                encode(&scalar(value)?, true, &mut text);
            }
        }
        value => encode(&scalar(value)?, false, &mut text),
    }
    if text.len() > MAX_BYTES {
        return None;
    }
    HeaderValue::try_from(text).ok()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn encode(text: &str, in_list: bool, to: &mut String) {
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let is_plain = match byte {
            b'%' => false,
            b',' => !in_list,
            b' ' => at > 0 && at < last,
            byte => byte.is_ascii_graphic(),
        };
        if is_plain {
            to.push(char::from(byte));
        } else {
            // Writing to memory cannot fail.
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_has_one_text() {
        for (value, expected) in [
            (json!("ada@example.com"), Some("ada@example.com")),
            (json!("Ada Lovelace, \"A\""), Some("Ada Lovelace, \"A\"")),
            (json!("J\u{fc}rgen"), Some("J%C3%BCrgen")),
            (json!("100%"), Some("100%25")),
            (json!(" a "), Some("%20a%20")),
            (
                json!("a\r\nx-user-id: usr_1"),
                Some("a%0D%0Ax-user-id: usr_1"),
            ),
            (json!("\u{0}\u{7f}"), Some("%00%7F")),
            (json!(7), Some("7")),
            (json!(true), Some("true")),
            (json!(["a,b", "c d", 1]), Some("a%2Cb,c d,1")),
            (json!([]), Some("")),
            (json!(""), Some("")),
            (json!(null), None),
            (json!({"a": 1}), None),
            (json!([["a"]]), None),
            (json!("x".repeat(4097)), None),
        ] {
            let text = header_text(&value);
            let text = text.as_ref().map(|text| text.to_str().unwrap());
            assert_eq!(text, expected, "{value}");
        }
    }
}
