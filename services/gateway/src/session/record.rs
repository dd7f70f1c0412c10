//! What is known of a session.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who has logged in, as the provider says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// The provider's session.
    pub(crate) sid: Option<String>,
    pub(crate) email: Option<String>,
    /// `None`: the provider does not say.
    pub(crate) email_verified: Option<bool>,
    pub(crate) username: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) groups: Vec<String>,
    /// Google's organization.
    pub(crate) hosted_domain: Option<String>,
}

/// Secrets: they are printed nowhere.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) access: Option<String>,
    /// Of the access token, in seconds since 1970.
    pub(crate) expires_at: Option<i64>,
    pub(crate) refresh: Option<String>,
    pub(crate) id: Option<String>,
}

/// A session as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) identity: Identity,
    pub(crate) tokens: Tokens,
    /// For requests of pages that send neither `Sec-Fetch-Site` nor `Origin`.
    pub(crate) csrf: Secret,
    /// In seconds since 1970.
    pub(crate) created_at: i64,
    pub(crate) ends_at: i64,
    /// How often the tokens were replaced.
    pub(crate) generation: u64,
}

/// A text that is printed nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secret(pub(crate) String);

impl Tokens {
    /// Whether nothing can be done with them any more.
    pub(super) fn are_over(&self, now: i64) -> bool {
        self.refresh.is_none() && self.expires_at.is_some_and(|end| end <= now)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}
