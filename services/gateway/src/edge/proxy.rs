//! pingora's phases, each delegated to a file of its own.

use std::{os::fd::RawFd, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    protocols::Digest,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::HttpPeer,
};

use super::{
    abandoned, attempt, client_stream,
    ctx::{Ctx, Peer, ReceivedHead},
    downstream, failure, kept, logging, mirror, parts, peer,
    refresh::{self, Refresher},
    reply, request, request_body, response,
    try_timeout::TrySlots,
    upstream_request,
};
use crate::state::State;

/// The implementation of pingora's proxy trait.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) state: Arc<State>,
    pub(super) slots: Arc<TrySlots>,
    pub(super) refresher: Refresher,
}

#[async_trait]
impl ProxyHttp for Edge {
    /// Boxed, because pingora moves it between its futures.
    type CTX = Box<Ctx>;

    fn new_ctx(&self) -> Self::CTX {
        refresh::prepared().unwrap_or_else(|| Box::new(Ctx::new(self.state.snapshot())))
    }

    /// None: compression would buffer server-sent events.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()> {
        let peer = session.client_addr().and_then(|address| address.as_inet());
        let peer = peer.map(std::net::SocketAddr::ip);
        parts::edit_request(session.req_header_mut(), |_| ());
        if ctx.refreshes {
            downstream::prepare(session, ctx);
            return Ok(());
        }
        let head = session.req_header();
        let head = ReceivedHead::of(head.as_ref(), head.raw_path());
        let peer = Peer {
            ip: peer,
            tls: client_stream::tls_of(session),
        };
        ctx.identify(head, peer, &self.state);
        downstream::prepare(session, ctx);
        if self.state.readiness.is_draining() {
            // `Connection: close`, so that no client sends a request on a connection that is
            // about to be closed.
            session.set_keepalive(None);
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        if ctx.refreshes {
            // The policies have run.
            request::begin(session, ctx);
            return Ok(false);
        }
        if let Err(problem) = downstream::check(session, ctx) {
            reply::problem(session, ctx, problem, &self.state).await?;
            return Ok(true);
        }
        request::filter(session, ctx, &self.state, &self.refresher).await
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        peer::choose(session, ctx, &self.state, &self.slots).await
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        socket: RawFd,
        digest: Option<&Digest>,
        _ctx: &mut Self::CTX,
    ) -> Result<()> {
        peer::check_idle((peer, reused), socket, digest)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        request_body::drop_empty_end(body, end_of_stream);
        request_body::filter(session, body, end_of_stream, ctx)?;
        mirror::body(body.as_ref(), end_of_stream, ctx);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        upstream_request::filter(session, upstream_request, ctx)?;
        mirror::head(upstream_request, session.is_body_empty(), ctx);
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        upstream_response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        response::head_received(session, upstream_response, ctx, &self.state)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        response::filter(session, response, ctx);
        // The drain may have begun since the request did.
        if response.status >= StatusCode::OK && self.state.readiness.is_draining() {
            session.set_keepalive(None);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        peer::check_deadline(ctx)?;
        response::check_body(body.as_ref(), end_of_stream, ctx);
        response::encode(body, end_of_stream, ctx)?;
        response::body_received(body.as_ref(), end_of_stream, ctx);
        Ok(None)
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Bytes>> {
        let call = ctx.policy.grpc_web.as_ref();
        Ok(call.and_then(|call| call.trailers(trailers)))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        ctx.attempts.slot = None;
        if attempt::has_expired(ctx) {
            return Error::new_up(ErrorType::ReadTimedout);
        }
        error.set_retry(attempt::after_no_connection(ctx, &self.state));
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Self::CTX,
        client_reused: bool,
    ) -> Box<Error> {
        failure::while_proxying(session, ctx, &self.state, error, client_reused)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Self::CTX,
    ) -> FailToProxy {
        failure::respond(session, ctx, error, &self.state).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        // With another response in its place, the client has a whole one.
        let logged = error.filter(|error| *error.etype() != response::REPLACED);
        if error.is_none() {
            response::check_body(None, true, ctx);
            response::body_received(None, true, ctx);
        }
        if !ctx.refreshes {
            logging::finish(session, logged, ctx, &self.state);
        }
        abandoned::note_end(session, error);
        if ctx.answered {
            kept::keep(session).await;
        } else if error.is_some() && !session.is_http2() {
            // pingora only drops the connection; the client may have sent further requests.
            session.as_downstream_mut().shutdown().await;
        }
    }

    /// The access line has the error.
    fn suppress_error_log(&self, _: &Session, _: &Self::CTX, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Self::CTX,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
