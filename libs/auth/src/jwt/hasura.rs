//! Claims in the form of Hasura: an object, or its JSON as text, with `x-hasura-*` members.

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::{JwtError, header_text::header_text};

const PREFIX: &str = "x-hasura-";
const DEFAULT_ROLE: &str = "x-hasura-default-role";
const ALLOWED_ROLES: &str = "x-hasura-allowed-roles";

/// What a token says in the form of Hasura.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HasuraClaims {
    /// The role of a request that asks for none.
    pub default_role: String,
    /// What a request may ask for.
    pub allowed_roles: Vec<String>,
    /// The other members, as headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// # Errors
/// `Malformed` when it is not an object, or lacks the roles.
pub(super) fn read(value: &Value) -> Result<HasuraClaims, JwtError> {
    let parsed: Option<Value> = match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    };
    let members = parsed.as_ref().unwrap_or(value).as_object();
    members.and_then(read_members).ok_or(JwtError::Malformed)
}

fn read_members(members: &Map<String, Value>) -> Option<HasuraClaims> {
    let mut claims = HasuraClaims::default();
    for (name, value) in members {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            DEFAULT_ROLE => value.as_str()?.clone_into(&mut claims.default_role),
            ALLOWED_ROLES => {
                let roles = value.as_array()?.iter();
                let roles = roles.map(|role| role.as_str().map(str::to_owned));
                claims.allowed_roles = roles.collect::<Option<_>>()?;
            }
            // Chosen by each request, among the allowed ones.
            "x-hasura-role" => {}
            _ if name.starts_with(PREFIX) => {
                let name = HeaderName::try_from(name).ok()?;
                claims.headers.push((name, header_text(value)?));
            }
            _ => {}
        }
    }
    claims
        .allowed_roles
        .contains(&claims.default_role)
        .then_some(claims)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_an_object_or_its_text() {
        let claims = json!({
            "x-hasura-default-role": "user",
            "x-hasura-allowed-roles": ["user", "editor"],
            "X-Hasura-User-Id": "7",
            "x-hasura-org-ids": "{1,2}",
            "other": {},
        });
        for value in [claims.clone(), Value::String(claims.to_string())] {
            let read = read(&value).unwrap();
            assert_eq!(read.default_role, "user");
            assert_eq!(read.allowed_roles, ["user", "editor"]);
            let mut headers: Vec<_> = read.headers.iter().map(|(name, _)| name.as_str()).collect();
            headers.sort_unstable();
            assert_eq!(headers, ["x-hasura-org-ids", "x-hasura-user-id"]);
        }
    }

    #[test]
    fn claims_without_usable_roles_are_refused() {
        for value in [
            json!(null),
            json!([]),
            json!("text"),
            json!("\"text\""),
            json!({}),
            json!({"x-hasura-default-role": "user"}),
            json!({"x-hasura-default-role": "admin", "x-hasura-allowed-roles": ["user"]}),
            json!({"x-hasura-default-role": "user", "x-hasura-allowed-roles": "user"}),
            json!({"x-hasura-default-role": "user", "x-hasura-allowed-roles": ["user", 1]}),
            json!({"x-hasura-default-role": "user", "x-hasura-allowed-roles": ["user"], "x-hasura-\n": ""}),
            json!({"x-hasura-default-role": "user", "x-hasura-allowed-roles": ["user"], "x-hasura-a": {}}),
        ] {
            assert!(read(&value).is_err(), "{value}");
        }
    }
}
