//! The messages of graphql-transport-ws.

use quartet_auth::jwt::JwtError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::graphql::transport::response::GraphQlResponse;

const MAX_ID_CHARS: usize = 128;

/// A message from the client.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ClientMessage {
    ConnectionInit {
        #[serde(default)]
        payload: Option<Map<String, Value>>,
    },
    Ping {
        #[serde(default)]
        payload: Option<Map<String, Value>>,
    },
    Pong {
        #[serde(default)]
        #[expect(dead_code, reason = "valid, and has no meaning")]
        payload: Option<Map<String, Value>>,
    },
    Subscribe {
        id: String,
        payload: Value,
    },
    Complete {
        id: String,
    },
}

impl ClientMessage {
    /// # Errors
    /// The reason of the close frame.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let message: Self = serde_json::from_str(text).map_err(|_| "Invalid message received")?;
        if let Self::Subscribe { id, .. } | Self::Complete { id } = &message
            && !(1..=MAX_ID_CHARS).contains(&id.chars().count())
        {
            return Err("The id must have 1 to 128 characters");
        }
        Ok(message)
    }
}

pub(super) fn connection_ack() -> String {
    json!({"type": "connection_ack"}).to_string()
}

pub(super) fn pong(payload: Option<Map<String, Value>>) -> String {
    match payload {
        Some(payload) => json!({"type": "pong", "payload": payload}).to_string(),
        None => json!({"type": "pong"}).to_string(),
    }
}

pub(super) fn next(id: &str, payload: &GraphQlResponse) -> String {
    with_payload("next", id, payload)
}

pub(super) fn error(id: &str, response: &GraphQlResponse) -> String {
    with_payload("error", id, &response.errors())
}

fn with_payload(kind: &'static str, id: &str, payload: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Message<'a, P> {
        r#type: &'static str,
        id: &'a str,
        payload: &'a P,
    }
    let message = Message {
        r#type: kind,
        id,
        payload,
    };
    serde_json::to_string(&message).expect("a response is plain data")
}

pub(super) fn complete(id: &str) -> String {
    json!({"type": "complete", "id": id}).to_string()
}

/// The token in the payload of `connection_init`: `{"authorization": "Bearer ..."}`, or
/// `"Authorization"`.
///
/// # Errors
/// `Missing` without such a member, `NoBearer` if it is something else.
pub(super) fn token(payload: Option<&Map<String, Value>>) -> Result<&str, JwtError> {
    let member = |name| payload.and_then(|payload| payload.get(name));
    let value = member("authorization").or_else(|| member("Authorization"));
    let text = value.ok_or(JwtError::Missing)?.as_str();
    let (scheme, token) = text
        .and_then(|text| text.split_once(' '))
        .ok_or(JwtError::NoBearer)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(JwtError::NoBearer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_of_the_protocol_are_accepted() {
        for valid in [
            r#"{"type":"connection_init"}"#,
            r#"{"type":"connection_init","payload":null}"#,
            r#"{"type":"ping","payload":{"a":1}}"#,
            r#"{"type":"pong"}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{a}"}}"#,
            r#"{"type":"complete","id":"1"}"#,
        ] {
            assert!(ClientMessage::parse(valid).is_ok(), "{valid}");
        }
        for invalid in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"type":"next","id":"1"}"#,
            r#"{"type":"subscribe","id":"1"}"#,
            r#"{"type":"subscribe","id":1,"payload":{}}"#,
            r#"{"type":"subscribe","id":"","payload":{}}"#,
            r#"{"type":"complete"}"#,
            r#"{"type":"start","id":"1","payload":{}}"#,
            r#"{"type":"connection_init","payload":"Bearer x"}"#,
        ] {
            assert!(ClientMessage::parse(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn the_token_is_found_under_both_names() {
        let read = |payload: Value| token(payload.as_object()).map(str::to_owned);
        assert_eq!(read(json!({"authorization": "Bearer a"})).unwrap(), "a");
        assert_eq!(read(json!({"Authorization": "bearer  b"})).unwrap(), "b");
        for other in [json!("a"), json!(1), json!("Basic a"), json!(null)] {
            let refused = read(json!({ "authorization": other }));
            assert!(matches!(refused, Err(JwtError::NoBearer)), "{other}");
        }
        assert!(matches!(read(json!({})), Err(JwtError::Missing)));
        assert!(matches!(token(None), Err(JwtError::Missing)));
    }
}
