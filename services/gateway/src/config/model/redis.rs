//! How to reach a Redis or Valkey, for the tables that name one.

use quartet_common::config::empty_as_none;
use secrecy::SecretString;
use serde::Deserialize;

/// Declares a table that names a Redis, with settings of its own behind those that all such tables have. They are
/// fields of each one because unknown keys are refused, which serde does not do for a table within a table.
macro_rules! redis_table {
    ($(#[$doc:meta])* $table:ident { $($own:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $table {
            #[serde(deserialize_with = "empty_as_none")]
            pub(crate) url: Option<String>,
            pub(crate) sentinels: Vec<String>,
            pub(crate) master_name: String,
            pub(crate) cluster: Vec<String>,
            pub(crate) database: u32,
            pub(crate) tls: bool,
            #[serde(deserialize_with = "empty_as_none")]
            pub(crate) tls_ca: Option<String>,
            #[serde(deserialize_with = "empty_as_none")]
            pub(crate) username: Option<String>,
            #[serde(deserialize_with = "empty_as_none")]
            pub(crate) password: Option<SecretString>,
            #[serde(deserialize_with = "empty_as_none")]
            pub(crate) sentinel_username: Option<String>,
            #[serde(deserialize_with = "empty_as_none")]
            pub(crate) sentinel_password: Option<SecretString>,
            pub(crate) timeout_ms: u64,
            pub(crate) connect_timeout_ms: u64,
            $($own)*
        }
    };
    ($(#[$doc:meta])* $table:ident { $($own:tt)* } with the settings of Redis) => {
        redis_table!($(#[$doc])* $table { $($own)* });

        impl $table {
            /// What it has in common with the others.
            pub(crate) fn redis(&self) -> Redis {
                Redis {
                    url: self.url.clone(),
                    sentinels: self.sentinels.clone(),
                    master_name: self.master_name.clone(),
                    cluster: self.cluster.clone(),
                    database: self.database,
                    tls: self.tls,
                    tls_ca: self.tls_ca.clone(),
                    username: self.username.clone(),
                    password: self.password.clone(),
                    sentinel_username: self.sentinel_username.clone(),
                    sentinel_password: self.sentinel_password.clone(),
                    timeout_ms: self.timeout_ms,
                    connect_timeout_ms: self.connect_timeout_ms,
                }
            }
        }
    };
}

redis_table! {
    /// `[acme.redis]`.
    Redis {}
}

redis_table! {
    /// `[rate_limit_store]`.
    RateLimitStore {
        pub(crate) key_prefix: String,
        #[serde(deserialize_with = "empty_as_none")]
        pub(crate) key_secret: Option<SecretString>,
        pub(crate) max_failures: u32,
        pub(crate) max_denied_keys: usize,
    }
    with the settings of Redis
}

impl Redis {
    /// Whether a server is named at all.
    pub(crate) fn is_set(&self) -> bool {
        self.url.is_some() || !self.sentinels.is_empty() || !self.cluster.is_empty()
    }
}
