//! What every request needs.

use std::sync::Arc;

use http::HeaderName;
use quartet_http::health::Readiness;
use quartet_service::Base;

use crate::{config::Config, domain::Context};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct AppState {
    pub(crate) base: Base,
    pub(crate) ctx: Context,
    pub(crate) country_header: Option<HeaderName>,
}

impl AppState {
    pub(crate) fn new(config: Config, base: Base) -> anyhow::Result<Self> {
        let country_header = config.clicks.country_header()?;
        let ctx = Context::new(Arc::new(config), &base)?;
        Ok(Self {
            base,
            ctx,
            country_header,
        })
    }

    /// Not ready if the last click could not be logged. Such a replica still redirects, as far as
    /// `clicks.when_log_is_full` allows.
    pub(crate) fn readiness(&self, readiness: Readiness) -> Readiness {
        let log = self.ctx.click_log.clone();
        readiness.check("click_log", move || {
            let is_failing = log.is_failing();
            async move {
                if is_failing {
                    return Err("cannot be written".to_owned());
                }
                Ok(())
            }
        })
    }
}
