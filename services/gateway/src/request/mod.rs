//! A request as routing and policies see it, whichever parser read it.
//!
//! Path and host have one spelling ([`path`], [`host`]), made once before routing. It is matched
//! against the routes and forwarded, so an upstream cannot read another path than the one that the
//! route was chosen for.

mod facts;
mod forwarded;
mod headers;
pub(crate) mod host;
mod identity;
mod origin;
pub(crate) mod path;
mod target;
mod tls;
mod websocket;

pub(crate) use facts::{Captures, RequestFacts};
pub(crate) use forwarded::client_by_forwarded;
#[cfg(test)]
pub(crate) use headers::header_map;
pub(crate) use headers::{Headers, is_visible};
pub(crate) use identity::{has_prefix, is_alias, is_reserved, is_untrusted};
pub(crate) use origin::{OriginPattern, preflight_method};
pub(crate) use target::{RequestTarget, reconcile};
pub(crate) use tls::{AuthorityId, ClientCertificate, TlsSession};
pub(crate) use websocket::WebSocket;
