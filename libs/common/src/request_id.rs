//! The id of a request, the same in every service, log line and problem.

use std::fmt;

use http::HeaderName;
use uuid::Uuid;

use crate::clock::Clock;

pub static HEADER: HeaderName = HeaderName::from_static("x-request-id");
const MAX_BYTES: usize = 128;

/// 1 to 128 letters, digits, dots, dashes and underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    pub fn generate(clock: &Clock) -> Self {
        let mut text = Uuid::encode_buffer();
        Self(
            clock
                .uuid_v7()
                .hyphenated()
                .encode_lower(&mut text)
                .to_owned(),
        )
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::is_valid(text).then(|| Self(text.to_owned()))
    }

    pub fn is_valid(text: &str) -> bool {
        !text.is_empty()
            && text.len() <= MAX_BYTES
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
