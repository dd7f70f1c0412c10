//! Changes in which an absent value and null have different meanings.

use serde::{Serialize, Serializer};

use crate::secret::Secret;

/// The change of an optional value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Keeps the value.
    #[default]
    Keep,
    /// Removes the value.
    Clear,
    /// Replaces the value.
    Set(T),
}

impl<T> Patch<T> {
    pub(crate) fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

impl<T> From<T> for Patch<T> {
    fn from(value: T) -> Self {
        Self::Set(value)
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // `Keep` is skipped by the struct around it.
            Self::Keep | Self::Clear => serializer.serialize_none(),
            Self::Set(value) => serializer.serialize_some(value),
        }
    }
}

/// Changes of an account. `None` and [`Patch::Keep`] keep a value.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UserPatch {
    #[serde(skip_serializing_if = "Patch::is_keep")]
    pub display_name: Patch<String>,
    /// Needs `current_password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Needs `current_password` and ends every other session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_password: Option<Secret>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Patch, UserPatch};

    #[test]
    fn absent_and_null_differ() {
        let text = |patch: &UserPatch| serde_json::to_value(patch).unwrap();
        let mut patch = UserPatch::default();
        assert_eq!(text(&patch), json!({}));
        patch.display_name = Patch::Clear;
        assert_eq!(text(&patch), json!({ "display_name": null }));
        patch.display_name = "Ada".to_owned().into();
        assert_eq!(text(&patch), json!({ "display_name": "Ada" }));
    }
}
