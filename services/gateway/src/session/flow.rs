//! One attempt to log in, from the redirect to the provider until its callback.

use serde::{Deserialize, Serialize};

use super::{ids::SessionKey, record::Secret};

/// For people: to find a password, and a second factor.
pub(super) const FLOW_SECONDS: i64 = 600;
/// Of one browser, such as in tabs that a restart opens.
pub(super) const MAX_PER_BROWSER: usize = 16;

/// What is kept until the callback.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Flow {
    /// Of the cookie: a callback in another browser would log that one in as someone else.
    pub(super) browser: String,
    pub(super) nonce: Secret,
    /// Of PKCE.
    pub(super) verifier: Secret,
    /// Where the browser goes then.
    pub(super) target: String,
    /// In seconds since 1970.
    pub(super) started_at: i64,
    pub(super) is_used: bool,
}

impl Flow {
    pub(super) fn is_of(&self, browser: &str) -> bool {
        self.browser == SessionKey::of(browser.as_bytes()).hex()
    }

    pub(super) fn is_over(&self, now: i64) -> bool {
        now >= self.started_at + FLOW_SECONDS || now < self.started_at - FLOW_SECONDS
    }
}
