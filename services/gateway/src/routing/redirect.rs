//! A redirect in parts, of which those that are missing are the request's.

use http::StatusCode;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedirectParts {
    /// `true`: https.
    pub(crate) is_secure: Option<bool>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    /// Those that clients reach the gateway at, without TLS and with it.
    pub(crate) own_ports: [u16; 2],
    pub(crate) path: RedirectPath,
    pub(crate) status: StatusCode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RedirectPath {
    Kept,
    /// In place of all of it.
    Full(String),
    /// In place of the prefix that matched.
    Prefix(String),
}
