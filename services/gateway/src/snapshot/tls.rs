//! The certificates of the configuration.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use quartet_common::config::ConfigError;

use super::{Snapshot, SnapshotContext};
use crate::{
    config::Config,
    tls::{Acceptance, AllCertificateFiles, CertificateFiles, FileTable},
};

impl Snapshot {
    /// The certificates, and the settings of handshakes.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub(super) fn tls(
        config: &Config,
        previous: Option<&Self>,
        shared: SnapshotContext<'_>,
    ) -> Result<(AllCertificateFiles, Acceptance), ConfigError> {
        let certificates = Self::certificates(config, previous)?;
        let before = previous.map(|known| &known.acceptance);
        let acceptance = Acceptance::build(&config.tls, shared.certificates, before)?;
        Ok((certificates, acceptance))
    }

    /// With the ones before, as far as their settings are equal: what is in force stays so, whatever is in the
    /// files by now.
    ///
    /// # Errors
    /// When files of a new table cannot be used.
    fn certificates(
        config: &Config,
        previous: Option<&Self>,
    ) -> Result<AllCertificateFiles, ConfigError> {
        let certificates = config.tls.certificates.iter().map(|settings| {
            let mut before = previous.iter().flat_map(|it| it.certificates.iter());
            if let Some(known) = before.find(|known| known.settings == *settings) {
                return Ok(Arc::clone(known));
            }
            let loaded = CertificateFiles::load(settings.clone());
            let loaded = loaded.map_err(|(setting, error)| {
                let key = format!("certificates.{}.{setting}", settings.name);
                ConfigError::invalid(&key, error)
            });
            loaded.map(Arc::new)
        });
        certificates.collect()
    }

    /// What handshakes use of it.
    pub(crate) fn certificate_table(&self) -> FileTable {
        let default = self.config.tls.default_certificate.as_deref();
        FileTable::of(&self.certificates, default)
    }

    /// What is wrong with certificates.
    pub(crate) fn certificate_notices(&self, now: DateTime<Utc>) -> Vec<String> {
        let notices = self.certificates.iter().flat_map(|files| {
            let name = &files.settings.name;
            let refused = files.problem();
            let refused = refused
                .map(|problem| format!("certificate {name}: {problem}; the last one is in force"));
            let loaded = files.loaded();
            let expired = (loaded.not_after <= now).then(|| {
                let since = loaded.not_after.format("%Y-%m-%d %H:%M");
                format!("certificate {name} has expired at {since} UTC")
            });
            [refused, expired].into_iter().flatten()
        });
        notices.collect()
    }
}
