//! Settings, read and validated once. `default.toml` documents them.

mod api_keys;
mod events;
mod keys;
mod limits;
mod passwords;
mod retention;
mod sessions;
mod throttle;

use quartet_common::config::{ConfigError, Database, Jwt, Server, Telemetry, Worker, all};
use quartet_service::Settings;
use serde::Deserialize;

use api_keys::ApiKeys;
use events::Events;
pub use keys::SigningAlgorithm;
pub(crate) use keys::{JWKS_CACHED_SECONDS, Keys};
pub(crate) use passwords::Passwords;
use retention::Retention;
use sessions::Sessions;
pub(crate) use throttle::Throttle;

/// The `typ` of access tokens (RFC 9068).
pub(crate) const TOKEN_TYPE: &str = "at+jwt";

/// All settings of the service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub database: Database,
    pub jwt: Jwt,
    pub worker: Worker,
    pub telemetry: Telemetry,
    pub keys: Keys,
    pub passwords: Passwords,
    pub sessions: Sessions,
    pub api_keys: ApiKeys,
    pub events: Events,
    pub throttle: Throttle,
    pub retention: Retention,
}

impl Settings for Config {
    quartet_service::shared_sections!();

    fn check(&self) -> Result<(), ConfigError> {
        all([
            self.keys.check(),
            self.check_tokens(),
            self.passwords.check(),
            self.sessions.check(),
            self.api_keys.check(),
            self.events.check(),
            self.throttle.check(),
            self.retention.check(),
        ])
    }
}

impl Config {
    /// This service signs tokens and verifies them with its own keys.
    fn check_tokens(&self) -> Result<(), ConfigError> {
        let jwt = &self.jwt;
        let own = "must be empty in this service: it verifies tokens with its own keys";
        let required = "must be set: it is a claim of every token";
        let rules = [
            ("jwt.issuer", jwt.issuer.is_none(), required),
            ("jwt.audience", jwt.audience.is_none(), required),
            ("jwt.jwks_url", jwt.jwks_url.is_some(), own),
            ("jwt.hs256_secret", jwt.hs256_secret.is_some(), own),
            (
                "jwt.token_type",
                jwt.token_type
                    .as_deref()
                    .is_some_and(|kind| kind != TOKEN_TYPE),
                "must be `at+jwt` or empty in this service: it is the type of every token",
            ),
        ];
        let broken = rules.into_iter().filter(|(_, broken, _)| *broken);
        all(broken.map(|(key, _, rule)| Err(ConfigError::invalid(key, rule))))
    }
}
