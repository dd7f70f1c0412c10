//! Phase 5: shows policies the request body as its parts arrive, and bounds the pauses between them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header;
use pingora::{Error, ErrorType, Result, protocols::http::ServerSession, proxy::Session};

use super::ctx::Ctx;
use crate::{policy::Flow, reply::GatewayResponse, request::Headers};

/// A policy has refused the body; its answer is in the state of the request.
pub(super) const BODY_REFUSED: ErrorType = ErrorType::Custom("the request body is refused");

/// What pingora keeps of a request body, so that it can be sent again.
const MAX_READ_AHEAD_BYTES: u64 = 64 * 1024;

/// Some clients with HTTP/2 end a body with an empty part. pingora would send it as a last chunk and
/// then a last chunk of its own, which the upstream takes for the next request: its answer would
/// reach the next user of the connection (cloudflare/pingora#935).
pub(super) fn drop_empty_end(part: &mut Option<Bytes>, end: bool) {
    if end && part.as_ref().is_some_and(Bytes::is_empty) {
        *part = None;
    }
}

/// After an upgrade there is no request body: those bytes belong to the tunnel.
pub(super) fn filter(
    session: &Session,
    body: &mut Option<Bytes>,
    end: bool,
    ctx: &mut Ctx,
) -> Result<()> {
    count(session, body.as_ref(), ctx)?;
    if ctx.upgrade {
        return Ok(());
    }
    if let Some(decoder) = &mut ctx.policy.decoder {
        let part = body.take().unwrap_or_default();
        let decoded = decoder.part(&part, end);
        pass_on(decoded, (body, end), ctx)?;
    }
    if let Some(call) = &mut ctx.policy.grpc_web {
        let part = body.take().unwrap_or_default();
        let grpc = call.request_part(part, end);
        pass_on(grpc, (body, end), ctx)?;
    }
    let checked = ctx.policy.check_body_part(body.take(), end);
    *body = checked.map_err(|flow| refused(flow, ctx))?;
    Ok(())
}

/// In place of a part: what was made of it, or the reply to the request.
fn pass_on(
    made: Result<Bytes, Flow>,
    (body, end): (&mut Option<Bytes>, bool),
    ctx: &mut Ctx,
) -> Result<()> {
    let made = made.map_err(|flow| refused(flow, ctx))?;
    // None at all would end the body.
    *body = (!made.is_empty() || !end).then_some(made);
    Ok(())
}

/// Reads a body that must be compared with a document before anything is forwarded, if it is short
/// enough to be kept until then: pingora repeats it from its memory. Others are held back on their way.
///
/// # Errors
/// When the body does not arrive.
pub(super) async fn read_ahead(
    session: &mut Session,
    ctx: &mut Ctx,
) -> Result<Option<Box<GatewayResponse>>> {
    if !ctx.policy.awaits_body() || ctx.upgrade || ctx.policy.decoder.is_some() {
        return Ok(None);
    }
    let head = session.req_header();
    let headers: &dyn Headers = &head.headers;
    let length = headers.content_length();
    let is_short = length.is_some_and(|length| length <= MAX_READ_AHEAD_BYTES);
    let waits = headers.first(&header::EXPECT).is_some();
    let mut body = Vec::new();
    if !session.as_downstream_mut().is_body_empty() {
        if !is_short || waits {
            return Ok(None);
        }
        let timeout = ctx.route().map(|route| route.body_timeout);
        let session = session.as_downstream_mut();
        session.enable_retry_buffering();
        while let Some(part) = read_part(session, timeout).await? {
            body.extend_from_slice(&part);
        }
        ctx.body_at = Some(Instant::now());
    }
    match ctx.policy.check_body(&body) {
        Flow::Continue => Ok(None),
        Flow::Reply(answer) => Ok(Some(answer)),
        Flow::Abort => Err(Error::new_down(ErrorType::ConnectionClosed)),
    }
}

async fn read_part(session: &mut ServerSession, pause: Option<Duration>) -> Result<Option<Bytes>> {
    let pause = pause.unwrap_or(Duration::MAX);
    let part = tokio::time::timeout(pause, session.read_request_body()).await;
    let part = part.map_err(|_| Error::new_down(ErrorType::ReadTimedout))?;
    part.map_err(Error::into_down)
}

/// The error of a body that a policy has refused.
#[expect(clippy::unnecessary_box_returns, reason = "pingora boxes its errors")]
fn refused(flow: Flow, ctx: &mut Ctx) -> Box<Error> {
    match flow {
        Flow::Reply(answer) => {
            ctx.refusal = Some(answer);
            Error::new_down(BODY_REFUSED)
        }
        Flow::Abort | Flow::Continue => Error::new_down(ErrorType::ConnectionClosed),
    }
}

fn count(session: &Session, part: Option<&Bytes>, ctx: &mut Ctx) -> Result<()> {
    let (Some(part), Some(matched)) = (part, &ctx.matched) else {
        return Ok(());
    };
    if ctx.upgrade {
        return Ok(());
    }
    let timeout = matched.route.body_timeout;
    // pingora bounds the pauses of HTTP/1 bodies only.
    if session.is_http2() && pause(ctx) > timeout {
        return Err(Error::new_down(ErrorType::ReadTimedout));
    }
    ctx.body_at = Some(Instant::now());
    let chain = ctx.snapshot.chain(&matched.route);
    match chain.on_body(part.len(), &mut ctx.policy) {
        Flow::Continue => Ok(()),
        flow => Err(refused(flow, ctx)),
    }
}

/// How long ago the last part of the body was received.
pub(super) fn pause(ctx: &Ctx) -> Duration {
    ctx.body_at.unwrap_or(ctx.started).elapsed()
}
