//! Valid settings of `[logins.*]`.

use std::{sync::Arc, time::Duration};

use http::HeaderName;
use quartet_auth::master_key::MasterKey;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::model::LoginKind;

/// Where people log in, and what upstreams learn of them.
#[derive(Clone, Debug)]
pub(crate) struct LoginConfig {
    pub(crate) name: Arc<str>,
    pub(crate) provider: ProviderConfig,
    /// Scheme, host and port under which browsers reach the gateway.
    pub(crate) base_url: Url,
    /// Of the gateway's own pages, without a slash at the end.
    pub(crate) path: String,
    pub(crate) allowed: AllowedUsers,
    pub(crate) idle: Duration,
    pub(crate) max: Duration,
    pub(crate) headers: IdentityHeaders,
    pub(crate) access_token_header: Option<HeaderName>,
    /// The access token of the session has to pass the `auth` of the route.
    pub(crate) verify_access_token: bool,
    /// The name of the session's cookie; that of the flow's has a suffix.
    pub(crate) cookie: String,
    /// Without TLS, on this machine alone.
    pub(crate) insecure: bool,
    pub(crate) store: SessionStorage,
    pub(crate) max_flows: usize,
    /// Other hosts that a login may return to: exact, or with a dot in front for all below.
    pub(crate) allowed_targets: Vec<String>,
    pub(crate) oauth2_proxy_paths: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct ProviderConfig {
    pub(crate) kind: LoginKind,
    /// As tokens have it. Empty for GitHub and core.
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<SecretString>,
    /// In PEM. `None`: the authorities that the system trusts.
    pub(crate) authorities: Option<String>,
    pub(crate) scopes: String,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) userinfo: bool,
    /// Paths of members within claims.
    pub(crate) groups_claims: Vec<Vec<String>>,
    pub(crate) leeway_seconds: u64,
    pub(crate) timeout: Duration,
    /// Of core: the page on which people log in, where tokens are refreshed, and where sessions end.
    pub(crate) login_page: Option<String>,
    pub(crate) refresh_url: Option<Url>,
    pub(crate) logout_url: Option<Url>,
    /// Of GitHub.
    pub(crate) api_url: Option<Url>,
}

/// Who may log in. All empty: everyone whom the provider knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllowedUsers {
    /// In lower case.
    pub(crate) emails: Vec<String>,
    /// In lower case.
    pub(crate) domains: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) hosted_domains: Vec<String>,
    pub(crate) allows_unverified_email: bool,
}

/// `None`: not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdentityHeaders {
    pub(crate) user: Option<HeaderName>,
    pub(crate) email: Option<HeaderName>,
    pub(crate) groups: Option<HeaderName>,
    pub(crate) name: Option<HeaderName>,
}

#[derive(Clone, Debug)]
pub(crate) enum SessionStorage {
    Memory {
        max_sessions: usize,
    },
    Redis {
        /// Encrypts what is stored.
        key: MasterKey,
    },
}

impl IdentityHeaders {
    pub(crate) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let all = [&self.user, &self.email, &self.groups, &self.name];
        all.into_iter().flatten()
    }
}

impl LoginConfig {
    /// Every header by which upstreams learn of a user.
    pub(crate) fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        let token = self.access_token_header.as_ref();
        let token = token.filter(|name| **name != http::header::AUTHORIZATION);
        self.headers.names().chain(token)
    }

    pub(crate) fn is_core(&self) -> bool {
        self.provider.kind == LoginKind::Core
    }

    /// The path that the provider sends browsers back to.
    pub(crate) fn callback_path(&self) -> String {
        if self.oauth2_proxy_paths {
            "/oauth2/callback".to_owned()
        } else {
            format!("{}/callback", self.path)
        }
    }

    /// Whether sessions made with the one may be used with the other.
    pub(crate) fn keeps_sessions_of(&self, other: &Self) -> bool {
        let (one, two) = (&self.provider, &other.provider);
        one.kind == two.kind && one.issuer == two.issuer && one.client_id == two.client_id
    }

    /// Whether what was learned of the provider still counts.
    pub(crate) fn is_same_provider(&self, other: &Self) -> bool {
        let (one, two) = (&self.provider, &other.provider);
        let secret = |config: &ProviderConfig| {
            let secret = config.client_secret.as_ref();
            secret.map(|secret| secret.expose_secret().to_owned())
        };
        self.keeps_sessions_of(other)
            && one.authorities == two.authorities
            && one.timeout == two.timeout
            && one.leeway_seconds == two.leeway_seconds
            && secret(one) == secret(two)
    }
}
