//! Settings, read and validated once. `default.toml` documents them.

use std::{path::PathBuf, time::Duration};

use http::HeaderName;
use quartet_common::config::{
    ConfigError, Database, Jwt, Server, Telemetry, Worker, all, at_least, empty_as_none, within,
};
use quartet_events::{Nats, Signer};
use quartet_service::Settings;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use url::Url;

/// All settings of the service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub database: Database,
    pub jwt: Jwt,
    pub worker: Worker,
    pub telemetry: Telemetry,
    pub public: Public,
    pub redirects: Redirects,
    pub clicks: Clicks,
    pub graphql: GraphQl,
    pub events: Events,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Public {
    pub short_url: Url,
    pub own_hosts: Vec<String>,
    pub slug_rest_days: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirects {
    pub max_connections: u32,
    pub connection_wait_ms: u64,
    pub cache_bytes: u64,
    pub cache_refresh_seconds: u64,
    pub cache_keep_seconds: u64,
    pub unknown_entries: u64,
    pub unknown_ttl_seconds: u64,
    pub permanent_max_age_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clicks {
    pub max_connections: u32,
    pub log_dir: PathBuf,
    pub fsync: FsyncMode,
    pub fsync_interval_ms: u64,
    pub segment_bytes: u64,
    pub log_limit_bytes: u64,
    pub when_log_is_full: WhenLogIsFull,
    pub batch_rows: usize,
    pub batch_wait_ms: u64,
    pub adopt_interval_seconds: u64,
    /// A trusted proxy sets it to the visitor's country.
    #[serde(deserialize_with = "header_name")]
    pub country_header: Option<HeaderName>,
    pub retention_days: u32,
}

/// When clicks are synced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FsyncMode {
    Group,
    Interval,
    Off,
}

/// What happens to a redirect whose click cannot be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenLogIsFull {
    Redirect,
    Refuse,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphQl {
    pub introspection: bool,
    pub max_document_bytes: usize,
    pub max_tokens: usize,
    pub max_depth: u64,
    pub max_nodes: u64,
    pub max_event_nodes: u64,
    pub max_aliases: u64,
    pub max_root_fields: u64,
    pub max_directives: usize,
    pub max_fragments: usize,
    pub max_errors: usize,
    pub max_cost: usize,
    pub cost_per_second: u32,
    pub cost_burst: u32,
    pub max_response_bytes: usize,
    pub max_users: usize,
    pub max_operations_per_user: usize,
    pub max_connections_per_user: usize,
    pub max_subscriptions_per_user: usize,
    pub max_sockets_per_user: usize,
    pub max_queued_bytes_per_socket: u32,
    pub max_queued_bytes_per_user: u32,
    pub max_feed_bytes: usize,
    pub allowed_origins: Vec<String>,
    pub init_timeout_seconds: u64,
    pub keep_alive_seconds: u64,
    pub max_subscriptions_per_socket: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    #[serde(deserialize_with = "empty_as_none")]
    pub listen_url: Option<SecretString>,
    #[serde(deserialize_with = "empty_as_none")]
    pub secret: Option<SecretString>,
    pub previous_secrets: Vec<SecretString>,
    #[serde(deserialize_with = "empty_as_none")]
    pub nats_url: Option<SecretString>,
}

impl Settings for Config {
    quartet_service::shared_sections!();

    fn check_serving(&self) -> Result<(), ConfigError> {
        if self.database.pooled && self.events.listen_url.is_none() {
            let rule = "must be set: LISTEN needs a session, which database.pooled rules out";
            return Err(ConfigError::invalid("events.listen_url", rule));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        all([
            self.public.check(),
            self.redirects.check(),
            self.clicks.check(),
            self.events.signer().map(drop),
            self.events.nats().map(drop),
            self.graphql.check(),
        ])
    }
}

impl Events {
    /// # Errors
    /// When a secret is malformed. The message does not contain it.
    pub(crate) fn signer(&self) -> Result<Option<Signer>, ConfigError> {
        quartet_events::signer(self.secret.as_ref(), &self.previous_secrets)
    }

    /// # Errors
    /// When the URL is malformed, or there is no secret. The message does not contain it.
    pub(crate) fn nats(&self) -> Result<Option<Nats>, ConfigError> {
        quartet_events::nats(self.nats_url.as_ref(), self.secret.as_ref())
    }
}

impl Public {
    fn check(&self) -> Result<(), ConfigError> {
        let url = &self.short_url;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.path().ends_with('/')
            && url.query().is_none()
            && url.fragment().is_none();
        let rule = "must be an http or https URL whose path ends in a slash";
        let url = (!plain).then(|| ConfigError::invalid("public.short_url", rule));
        all([
            url.map_or(Ok(()), Err),
            within("public.slug_rest_days", self.slug_rest_days, 0..=3650),
        ])
    }

    /// The short URL of a slug, under another host if its domain has one.
    pub(crate) fn short_url_of(&self, slug: &str, host: Option<&str>) -> String {
        let base = &self.short_url;
        match host {
            None => format!("{base}{slug}"),
            Some(host) => format!("{}://{host}{}{slug}", base.scheme(), base.path()),
        }
    }

    pub(crate) fn slug_rest_seconds(&self) -> u64 {
        u64::from(self.slug_rest_days) * 86_400
    }
}

impl Redirects {
    pub(crate) fn connection_wait(&self) -> Duration {
        Duration::from_millis(self.connection_wait_ms)
    }

    fn check(&self) -> Result<(), ConfigError> {
        all([
            within("redirects.max_connections", self.max_connections, 1..=100),
            within(
                "redirects.connection_wait_ms",
                self.connection_wait_ms,
                10..=10_000,
            ),
            within("redirects.cache_bytes", self.cache_bytes, 1 << 20..=1 << 34),
            within(
                "redirects.cache_refresh_seconds",
                self.cache_refresh_seconds,
                1..=60,
            ),
            within(
                "redirects.cache_keep_seconds",
                self.cache_keep_seconds,
                120..=604_800,
            ),
            within(
                "redirects.unknown_entries",
                self.unknown_entries,
                1..=1_000_000,
            ),
            within(
                "redirects.unknown_ttl_seconds",
                self.unknown_ttl_seconds,
                1..=60,
            ),
            within(
                "redirects.permanent_max_age_seconds",
                self.permanent_max_age_seconds,
                0..=86_400,
            ),
        ])
    }
}

impl GraphQl {
    /// The defaults.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let defaults: toml::Table = include_str!("../default.toml").parse().unwrap();
        defaults["graphql"].clone().try_into().unwrap()
    }

    /// What one document may contain. Every limit also bounds the work of reading it.
    fn check_documents(&self) -> Result<(), ConfigError> {
        let count = |key, count| within(key, count, 1..=100_000);
        let bytes = 1024..=1 << 20;
        all([
            // Fields are resolved recursively: a deeper document could overflow the stack.
            within("graphql.max_depth", self.max_depth, 1..=32),
            within("graphql.max_document_bytes", self.max_document_bytes, bytes),
            count("graphql.max_tokens", self.max_tokens as u64),
            count("graphql.max_nodes", self.max_nodes),
            count("graphql.max_aliases", self.max_aliases),
            count("graphql.max_root_fields", self.max_root_fields),
            count("graphql.max_directives", self.max_directives as u64),
            count("graphql.max_fragments", self.max_fragments as u64),
            within("graphql.max_event_nodes", self.max_event_nodes, 1..=1000),
            within("graphql.max_errors", self.max_errors, 1..=1000),
        ])
    }

    fn check(&self) -> Result<(), ConfigError> {
        all([
            self.check_documents(),
            self.check_cost(),
            self.check_users(),
            within(
                "graphql.init_timeout_seconds",
                self.init_timeout_seconds,
                1..=300,
            ),
            within(
                "graphql.keep_alive_seconds",
                self.keep_alive_seconds,
                1..=300,
            ),
        ])
    }

    fn check_cost(&self) -> Result<(), ConfigError> {
        all([
            within("graphql.max_cost", self.max_cost, 100..=1_000_000),
            within(
                "graphql.cost_per_second",
                self.cost_per_second,
                1..=1_000_000,
            ),
            within("graphql.cost_burst", self.cost_burst, 1..=100_000_000),
            // An operation that is allowed must not wait for more than the bucket holds.
            at_least(
                "graphql.cost_burst",
                self.cost_burst as usize,
                self.max_cost,
            ),
        ])
    }

    /// What users may hold at a time.
    fn check_users(&self) -> Result<(), ConfigError> {
        let count = |key, count| within(key, count, 1..=10_000);
        let bytes = 4096..=16 << 20;
        let queued = |key, bytes| within(key, bytes, 4096..=256 << 20);
        let feeds = 64 << 10..=4 << 30;
        all([
            within("graphql.max_response_bytes", self.max_response_bytes, bytes),
            within("graphql.max_users", self.max_users, 1..=1_000_000),
            count(
                "graphql.max_operations_per_user",
                self.max_operations_per_user,
            ),
            count(
                "graphql.max_connections_per_user",
                self.max_connections_per_user,
            ),
            count(
                "graphql.max_subscriptions_per_user",
                self.max_subscriptions_per_user,
            ),
            count("graphql.max_sockets_per_user", self.max_sockets_per_user),
            count(
                "graphql.max_subscriptions_per_socket",
                self.max_subscriptions_per_socket,
            ),
            queued(
                "graphql.max_queued_bytes_per_socket",
                self.max_queued_bytes_per_socket,
            ),
            queued(
                "graphql.max_queued_bytes_per_user",
                self.max_queued_bytes_per_user,
            ),
            within("graphql.max_feed_bytes", self.max_feed_bytes, feeds),
        ])
    }
}

impl Clicks {
    fn check(&self) -> Result<(), ConfigError> {
        all([
            within("clicks.max_connections", self.max_connections, 2..=100),
            within(
                "clicks.fsync_interval_ms",
                self.fsync_interval_ms,
                1..=60_000,
            ),
            within("clicks.segment_bytes", self.segment_bytes, 4096..=1 << 30),
            within(
                "clicks.log_limit_bytes",
                self.log_limit_bytes,
                4096..=1 << 40,
            ),
            at_least(
                "clicks.log_limit_bytes",
                self.log_limit_bytes,
                self.segment_bytes,
            ),
            within("clicks.batch_rows", self.batch_rows as u64, 1..=5000),
            within("clicks.batch_wait_ms", self.batch_wait_ms, 1..=10_000),
            within(
                "clicks.adopt_interval_seconds",
                self.adopt_interval_seconds,
                1..=3600,
            ),
            within("clicks.retention_days", self.retention_days, 0..=36_500),
        ])
    }
}

/// An empty string means that the setting is not set.
fn header_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<HeaderName>, D::Error> {
    let name: Option<String> = empty_as_none(from)?;
    let name = name.map(|name| name.parse()).transpose();
    name.map_err(|_| serde::de::Error::custom("must be a valid header name"))
}

#[cfg(test)]
mod tests {
    use quartet_common::config::{COMMON_DEFAULTS, load_checked};

    use super::*;

    const DEFAULTS: [&str; 2] = [COMMON_DEFAULTS, include_str!("../default.toml")];

    /// Loads the defaults with one variable.
    fn load(variable: &str, value: &str) -> Result<(), ConfigError> {
        let environment = [(variable.to_owned(), value.to_owned())];
        load_checked::<Config>(&DEFAULTS, None, environment, quartet_service::check).map(drop)
    }

    #[test]
    fn every_number_is_bounded() {
        let accepted = quartet_testing::accepted_numbers(&DEFAULTS, load);
        assert!(accepted.is_empty(), "{accepted:#?}");
    }

    #[test]
    fn the_country_header_is_a_header_name() {
        let key = "QUARTET_CLICKS_COUNTRY_HEADER";
        assert!(load(key, "CF-IPCountry").is_ok());
        let error = load(key, "cf ipcountry").unwrap_err().to_string();
        let expected = "setting `clicks.country_header` (QUARTET_CLICKS_COUNTRY_HEADER): must be a valid header name";
        assert_eq!(error, expected);
    }
}
