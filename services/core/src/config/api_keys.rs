//! What API keys may permit, and how long they live.

use quartet_common::config::{ConfigError, all, within};
use serde::Deserialize;

use super::limits::{DAY, MAX_LIFETIME};

/// Of a token, which is a header.
const MAX_SCOPES: usize = 64;
const MAX_SCOPE_BYTES: usize = 64;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    pub scopes: Vec<String>,
    pub default_ttl_seconds: u64,
    pub max_ttl_seconds: u64,
    pub max_per_user: u32,
}

impl ApiKeys {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (default, max) = (self.default_ttl_seconds, self.max_ttl_seconds);
        all([
            self.check_scopes(),
            within("api_keys.default_ttl_seconds", default, 60..=max.max(60)),
            within("api_keys.max_ttl_seconds", max, DAY..=MAX_LIFETIME),
            within("api_keys.max_per_user", self.max_per_user, 1..=10_000),
        ])
    }

    fn check_scopes(&self) -> Result<(), ConfigError> {
        let error = |rule: String| Err(ConfigError::invalid("api_keys.scopes", rule));
        if !(1..=MAX_SCOPES).contains(&self.scopes.len()) {
            return error(format!("must name 1 to {MAX_SCOPES} scopes"));
        }
        match self.scopes.iter().find(|scope| !is_scope(scope)) {
            Some(scope) => error(format!(
                "`{scope}` must have 1 to {MAX_SCOPE_BYTES} visible characters without \" and \\ \
                 (RFC 6749, 3.3)"
            )),
            None => Ok(()),
        }
    }
}

fn is_scope(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    (1..=MAX_SCOPE_BYTES).contains(&text.len()) && text.bytes().all(is_allowed)
}
