//! Settings, read and validated once. `default.toml` documents them.

mod downloads;
mod events;
mod s3;
mod uploads;

use quartet_common::config::{ConfigError, Database, Jwt, Server, Telemetry, Worker, all};
use quartet_service::Settings;
use serde::Deserialize;

use downloads::Downloads;
use events::Events;
pub(crate) use s3::S3;
pub(crate) use uploads::Uploads;

/// All settings of the service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub database: Database,
    pub jwt: Jwt,
    pub worker: Worker,
    pub telemetry: Telemetry,
    pub s3: S3,
    pub uploads: Uploads,
    pub downloads: Downloads,
    pub events: Events,
}

impl Settings for Config {
    quartet_service::shared_sections!();

    fn check(&self) -> Result<(), ConfigError> {
        all([
            self.events.signer().map(drop),
            self.events.nats().map(drop),
            self.s3.check(),
            self.uploads.check(),
            self.downloads.check(),
        ])
    }
}
