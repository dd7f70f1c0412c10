//! What a mapping has read from a token.

use http::HeaderValue;
use serde_json::Value;

use super::hasura::HasuraClaims;

/// What a mapping has read from a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MappedClaims {
    /// `None`: those in the claim `scope`.
    pub scopes: Option<Vec<String>>,
    pub roles: Vec<String>,
    pub hasura: Option<HasuraClaims>,
    /// By the place of the path in `ClaimMapping::kept`.
    pub(super) kept: Vec<Option<KeptClaim>>,
}

/// A claim that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptClaim {
    pub(super) value: Value,
    /// `None`: no header can have this value.
    pub header: Option<HeaderValue>,
}

impl KeptClaim {
    /// Whether the claim has one of these values, or a list has an element that does. Numbers and
    /// booleans are compared as JSON.
    pub fn is_any_of(&self, wanted: &[String]) -> bool {
        let is = |value: &Value| match value {
            Value::String(text) => wanted.contains(text),
            Value::Number(number) => wanted.contains(&number.to_string()),
            Value::Bool(flag) => wanted.contains(&flag.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        match &self.value {
            Value::Array(values) => values.iter().any(is),
            value => is(value),
        }
    }
}

impl MappedClaims {
    /// The claim at this place of `ClaimMapping::kept`.
    pub fn kept(&self, at: usize) -> Option<&KeptClaim> {
        self.kept.get(at)?.as_ref()
    }
}
