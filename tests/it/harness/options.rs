//! What a test wants to be different from a small stack with wide limits.

use std::collections::BTreeMap;

/// One replica of each service, limits that are out of the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(super) replicas: BTreeMap<&'static str, u8>,
    pub(super) shipped_limits: bool,
    pub(super) own_postgres: bool,
    pub(super) gateway_only: bool,
    pub(super) gateway_settings: String,
    pub(super) env: Vec<(&'static str, String, String)>,
}

impl Options {
    /// No service and no database: for what the gateway does alone.
    pub(crate) fn gateway_only() -> Self {
        Self {
            gateway_only: true,
            ..Self::default()
        }
    }

    /// Several replicas of `core`, `media` or `links` behind one name.
    #[must_use]
    pub(crate) fn replicas(mut self, service: &'static str, count: u8) -> Self {
        self.replicas.insert(service, count);
        self
    }

    /// The rate limits of the contract, as shipped.
    #[must_use]
    pub(crate) fn shipped_limits(mut self) -> Self {
        self.shipped_limits = true;
        self
    }

    /// A Postgres server of the test's own.
    #[must_use]
    pub(crate) fn own_postgres(mut self) -> Self {
        self.own_postgres = true;
        self
    }

    /// TOML text for the gateway's file; limits and upstreams core, media and links are taken.
    #[must_use]
    pub(crate) fn gateway(mut self, toml: &str) -> Self {
        self.gateway_settings.push_str(toml);
        self.gateway_settings.push('\n');
        self
    }

    /// Access tokens that end after three seconds.
    pub(crate) fn short_tokens() -> Self {
        let options = Self::default().set("core", "sessions.access_token_ttl_seconds", "3");
        ["core", "media", "links", "gateway"]
            .into_iter()
            .fold(options, |options, service| {
                options.set(service, "jwt.leeway_seconds", "0")
            })
    }

    /// A setting `a.b` of `core`, `media`, `links` or `gateway`.
    #[must_use]
    pub(crate) fn set(mut self, service: &'static str, key: &str, value: &str) -> Self {
        self.env.push((service, variable(key), value.to_owned()));
        self
    }

    pub(super) fn count(&self, service: &str) -> u8 {
        self.replicas.get(service).copied().unwrap_or(1)
    }
}

/// The environment variable of a setting.
pub(super) fn variable(key: &str) -> String {
    format!("QUARTET_{}", key.replace('.', "_").to_uppercase())
}
