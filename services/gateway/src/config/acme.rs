//! Valid settings of certificates by ACME.

use std::{path::PathBuf, sync::Arc, time::Duration};

use secrecy::SecretSlice;
use url::Url;

use super::redis::RedisConfig;

#[derive(Clone, Debug)]
pub(crate) struct AcmeConfig {
    pub(crate) directory_url: Url,
    /// In DER. `None`: the authorities that the system trusts.
    pub(crate) authorities: Option<Vec<Vec<u8>>>,
    /// As `mailto:` URLs.
    pub(crate) contact: Vec<String>,
    pub(crate) external_account: Option<ExternalAccount>,
    pub(crate) store: AcmeStore,
    /// The first one seals.
    pub(crate) encryption_keys: Vec<[u8; 32]>,
    /// In the order of the configuration.
    pub(crate) certificates: Vec<OrderedCertificate>,
    pub(crate) times: AcmeTimes,
}

/// What links the account to one that the authority knows by other means (RFC 8555, 7.3.4).
#[derive(Clone, Debug)]
pub(crate) struct ExternalAccount {
    pub(crate) id: String,
    pub(crate) key: SecretSlice<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum AcmeStore {
    /// Of one machine.
    Directory(PathBuf),
    Redis {
        server: RedisConfig,
        key_prefix: String,
    },
}

/// One certificate, for all of its hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderedCertificate {
    pub(crate) name: Arc<str>,
    /// In lower case.
    pub(crate) hosts: Vec<String>,
    pub(crate) profile: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AcmeTimes {
    /// After this time, the store is asked again what others have done.
    pub(crate) poll: Duration,
    /// Between two questions when to renew.
    pub(crate) renewal_check: Duration,
    /// After the first failure.
    pub(crate) retry: Duration,
    /// Of one request to the authority.
    pub(crate) request: Duration,
    /// Of a whole order.
    pub(crate) order: Duration,
}
