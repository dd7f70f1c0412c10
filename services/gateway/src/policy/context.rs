//! What policies remember of a request.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use quartet_auth::jwt::Claims;

pub(super) use super::flow::{Edit, Flow, ResponseHead, Verdict};
use super::{
    access_end::AccessSpan, compression::Encoder, decoder::Decoder, fetch::CacheAccess,
    grpc_web::GrpcWeb, login_context::LoginContext, validated::Validated,
};
use crate::{
    reply::GatewayResponse,
    request::{TlsSession, is_visible},
    upstream::{Mirror, Upstream},
};

static USER_ID: HeaderName = HeaderName::from_static("x-user-id");
static SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");

/// What policies remember of a request until its response.
#[derive(Debug, Default)]
pub(crate) struct PolicyContext {
    /// The claims of the verified access token. They name the caller to the upstream.
    pub(crate) caller: Option<Arc<Claims>>,
    /// What the request has to do with a login.
    pub(crate) login: Option<LoginContext>,
    /// Of a WebSocket that a token or a session has opened.
    pub(crate) access: Option<Box<AccessSpan>>,
    /// What an external service has set for the client.
    pub(super) client_headers: Vec<(HeaderName, HeaderValue)>,
    /// Applied in this order, after what is untrusted was removed and the caller named.
    pub(crate) edits: Vec<Edit>,
    /// The client's connection is encrypted, by what a trusted proxy says too.
    pub(crate) is_secure: bool,
    /// Of the client's connection, if it has TLS here.
    pub(crate) tls: Option<Arc<TlsSession>>,
    /// That a policy has chosen.
    pub(crate) upstream: Option<Arc<Upstream>>,
    /// Gets a copy of the request.
    pub(crate) mirror: Option<Arc<Mirror>>,
    /// The choice of a split, if the client had none.
    pub(super) assigned: Option<usize>,
    pub(super) cors: CorsContext,
    /// The refusal of the access token, until the limits have counted the request.
    pub(super) deferred: Option<Box<GatewayResponse>>,
    /// Received of the request body by this attempt.
    pub(super) body_bytes: u64,
    /// By the place of a limit among those of its route.
    pub(super) quotas: [Option<Quota>; MAX_LIMITS],
    /// Decodes the request body.
    pub(crate) decoder: Option<Box<Decoder>>,
    /// Encodes the response body.
    pub(crate) encoder: Option<Box<Encoder>>,
    /// The request is gRPC-web, and its upstream gets gRPC.
    pub(crate) grpc_web: Option<Box<GrpcWeb>>,
    /// What is to become of the response.
    pub(super) cache: Option<CacheAccess>,
    /// What is still to be compared with the OpenAPI document.
    pub(super) validated: Option<Box<Validated>>,
    /// The first difference from it, for the log.
    pub(crate) violation: Option<Box<str>>,
}

impl PolicyContext {
    /// What names the caller to the upstream.
    pub(crate) fn identity(&self) -> impl Iterator<Item = (&'static HeaderName, &str)> {
        let caller = self.caller.as_deref();
        let user = caller.map(|claims| (&USER_ID, claims.sub.as_str()));
        let session = caller.and_then(|claims| Some((&SESSION_ID, claims.sid.as_deref()?)));
        user.into_iter()
            .chain(session)
            .filter(|(_, text)| is_visible(text.as_bytes()))
    }

    /// Replies what has been deferred.
    pub(super) fn refusal(&mut self) -> Flow {
        self.deferred.take().map_or(Flow::Continue, Flow::Reply)
    }

    /// The upstream gets a request body of another length than the client has sent.
    pub(crate) fn decodes(&self) -> bool {
        let call = self.grpc_web.as_ref();
        self.decoder.is_some() || call.is_some_and(|call| call.decodes())
    }

    /// The body is sent, and counted, again.
    pub(crate) fn restart_body(&mut self) {
        self.body_bytes = 0;
        if let Some(decoder) = &mut self.decoder {
            decoder.restart();
        }
        if let Some(call) = &mut self.grpc_web {
            call.restart();
        }
        self.restart_checked_body();
    }
}

/// What the `Origin` of a request means for its response.
#[derive(Debug, Default)]
pub(super) struct CorsContext {
    /// It may read the response.
    pub(super) origin: Option<HeaderValue>,
    pub(super) is_preflight: bool,
}

/// Of one route.
pub(super) const MAX_LIMITS: usize = 4;

/// The state of a limit that counted the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) remaining: u32,
    /// Until at least one more request is allowed.
    pub(super) reset: Duration,
}
