//! Short URLs.

use quartet_common::config::{ConfigError, all, within};
use serde::Deserialize;
use url::Url;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Public {
    pub short_url: Url,
    pub own_hosts: Vec<String>,
    pub slug_rest_days: u32,
}

impl Public {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
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
