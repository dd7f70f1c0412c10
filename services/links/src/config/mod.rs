//! Settings, read and validated once. `default.toml` documents them.

mod clicks;
mod events;
mod graphql;
mod public;
mod redirects;

use quartet_common::config::{ConfigError, Database, Jwt, Server, Telemetry, Worker, all};
use quartet_service::Settings;
use serde::Deserialize;

pub(crate) use clicks::{Clicks, FsyncMode, WhenLogIsFull};
use events::Events;
pub(crate) use graphql::GraphQl;
use public::Public;
pub(crate) use redirects::Redirects;

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

#[cfg(test)]
mod tests {
    use quartet_common::config::{COMMON_DEFAULTS, load_checked};

    use super::*;

    const DEFAULTS: [&str; 2] = [COMMON_DEFAULTS, include_str!("../../default.toml")];

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
