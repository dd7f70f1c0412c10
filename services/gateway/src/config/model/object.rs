//! What only an object of a cluster can say of a route, an upstream or a certificate. No file can.

use std::{fmt, sync::Arc, time::Duration};

use crate::routing::RedirectParts;

/// Of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteObject {
    /// Among the routes of objects for one host and path; the lowest one handles a request.
    pub(crate) rank: u32,
    /// Whether connections have TLS; `None`: either.
    pub(crate) has_tls: Option<bool>,
    pub(crate) redirect: Option<RedirectParts>,
    /// Of the weights of `split`, what has no valid upstream.
    pub(crate) refused_weight: u32,
    /// In place of `request_timeout_seconds`; the inner `None`: no limit.
    pub(crate) request_timeout: Option<Option<Duration>>,
    /// In place of `response_timeout_seconds`; the inner `None`: no limit.
    pub(crate) response_timeout: Option<Option<Duration>>,
}

/// A certificate with its chain, and its key, as PEM. The key is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CertificateObject {
    pub(crate) certificate: Arc<[u8]>,
    pub(crate) key: Arc<[u8]>,
}

impl fmt::Debug for CertificateObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateObject")
    }
}
