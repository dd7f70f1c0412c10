//! What routes refer to.

use std::collections::BTreeMap;

use super::{access, guards::GuardTables, reserved::ReservedHeaders};
use crate::config::model;

/// The other tables, for the checks of a route.
pub(super) struct References<'a> {
    pub(super) upstreams: BTreeMap<&'a str, usize>,
    /// By the index of the upstream: TLS or HTTP/2, which the direct path does not know, nor do handshakes of `WebSocket`s.
    pub(super) is_general: Vec<bool>,
    /// By the index of the upstream: without HTTP/2, or a choice of both in the handshake. The requests of
    /// the gateway itself need that.
    pub(super) speaks_http1: Vec<bool>,
    pub(super) has_http2: Vec<bool>,
    /// By the index of the upstream: whether it has an OpenAPI document.
    pub(super) is_documented: Vec<bool>,
    pub(super) limits: BTreeMap<&'a str, usize>,
    pub(super) lookups: BTreeMap<&'a str, usize>,
    pub(super) caches: BTreeMap<&'a str, usize>,
    pub(super) sites: BTreeMap<&'a str, usize>,
    pub(super) defaults: &'a model::RouteDefaults,
    pub(super) direct_path: bool,
    pub(super) guards: &'a GuardTables<'a>,
    pub(super) access: &'a access::Known<'a>,
    pub(super) reserved: &'a ReservedHeaders,
}
