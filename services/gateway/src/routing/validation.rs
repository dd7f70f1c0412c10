//! What a route does with requests that are not as the OpenAPI document says.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ValidationMode {
    /// They are not looked at.
    #[default]
    Off,
    /// They are counted, and forwarded as others are.
    Shadow,
    /// They are refused.
    Block,
}

impl ValidationMode {
    pub(crate) fn is_on(self) -> bool {
        self != Self::Off
    }

    pub(crate) fn blocks(self) -> bool {
        self == Self::Block
    }
}
