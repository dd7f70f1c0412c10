//! How a test's stack differs from a small one without effective rate limits.

use std::collections::BTreeMap;

use quartet_devstack::stack::Setting;

/// By default one replica of each service, and limits that no test reaches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(super) replicas: BTreeMap<&'static str, u8>,
    pub(super) shipped_limits: bool,
    pub(super) own_postgres: bool,
    pub(super) gateway_only: bool,
    pub(super) gateway_settings: String,
    pub(super) settings: Vec<Setting>,
}

impl Options {
    /// No service and no database: for what the gateway does by itself.
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

    /// The documented rate limits, as shipped.
    #[must_use]
    pub(crate) fn shipped_limits(mut self) -> Self {
        self.shipped_limits = true;
        self
    }

    /// A Postgres server for this test alone.
    #[must_use]
    pub(crate) fn own_postgres(mut self) -> Self {
        self.own_postgres = true;
        self
    }

    /// TOML text for the gateway's file, which sets the limits already.
    #[must_use]
    pub(crate) fn gateway(mut self, toml: &str) -> Self {
        self.gateway_settings.push_str(toml);
        self.gateway_settings.push('\n');
        self
    }

    /// Access tokens that expire after three seconds.
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
        self.settings.push(Setting::new(service, key, value));
        self
    }

    pub(super) fn count(&self, service: &str) -> u8 {
        self.replicas.get(service).copied().unwrap_or(1)
    }
}
