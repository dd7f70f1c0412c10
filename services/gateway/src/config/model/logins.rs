//! `[logins.*]`.

use std::collections::BTreeMap;

use quartet_common::config::empty_as_none;
use secrecy::SecretString;
use serde::Deserialize;

use super::Names;

/// Where people log in, and what upstreams learn of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    #[serde(default)]
    pub(crate) kind: LoginKind,
    pub(crate) base_url: String,
    #[serde(default = "path")]
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) issuer: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) realm: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) client_id: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) client_secret: Option<SecretString>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) tls_ca: Option<String>,
    #[serde(default)]
    pub(crate) scopes: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) authorize_parameters: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) userinfo: bool,
    #[serde(default)]
    pub(crate) groups_claim: Names,
    #[serde(default)]
    pub(crate) allowed_emails: Vec<String>,
    #[serde(default)]
    pub(crate) allowed_domains: Vec<String>,
    #[serde(default)]
    pub(crate) allowed_groups: Vec<String>,
    #[serde(default)]
    pub(crate) allowed_hosted_domains: Vec<String>,
    #[serde(default)]
    pub(crate) allow_unverified_email: bool,
    #[serde(default = "idle_seconds")]
    pub(crate) idle_seconds: u64,
    #[serde(default = "max_seconds")]
    pub(crate) max_seconds: u64,
    #[serde(default = "leeway_seconds")]
    pub(crate) leeway_seconds: u64,
    #[serde(default = "timeout_ms")]
    pub(crate) timeout_ms: u64,
    #[serde(default)]
    pub(crate) headers: LoginHeaders,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) access_token_header: Option<String>,
    #[serde(default)]
    pub(crate) verify_access_token: bool,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) cookie: Option<String>,
    #[serde(default)]
    pub(crate) insecure: bool,
    #[serde(default)]
    pub(crate) store: LoginStore,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) encryption_key: Option<SecretString>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) previous_encryption_key: Option<SecretString>,
    #[serde(default = "max_sessions")]
    pub(crate) max_sessions: usize,
    #[serde(default = "max_flows")]
    pub(crate) max_flows: usize,
    #[serde(default)]
    pub(crate) allowed_targets: Vec<String>,
    #[serde(default)]
    pub(crate) oauth2_proxy_paths: bool,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) login_page: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) refresh_url: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) logout_url: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) api_url: Option<String>,
    #[serde(default)]
    pub(crate) limit: Names,
}

/// How a provider differs from the standard.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LoginKind {
    #[default]
    Oidc,
    Keycloak,
    Google,
    Github,
    /// The page logs in at core itself, and exchanges its tokens for a session.
    Core,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LoginStore {
    /// Of this process.
    #[default]
    Memory,
    /// That of `[rate_limit_store]`.
    Redis,
}

/// Names of the headers that upstreams get; empty: none.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LoginHeaders {
    pub(crate) user: String,
    pub(crate) email: String,
    pub(crate) groups: String,
    pub(crate) name: String,
}

impl Default for LoginHeaders {
    fn default() -> Self {
        Self {
            user: "X-User".to_owned(),
            email: "X-Email".to_owned(),
            groups: "X-Groups".to_owned(),
            name: String::new(),
        }
    }
}

fn path() -> String {
    "/auth".to_owned()
}

fn idle_seconds() -> u64 {
    8 * 3600
}

fn max_seconds() -> u64 {
    7 * 24 * 3600
}

fn leeway_seconds() -> u64 {
    60
}

fn timeout_ms() -> u64 {
    5_000
}

fn max_sessions() -> usize {
    100_000
}

fn max_flows() -> usize {
    10_000
}
