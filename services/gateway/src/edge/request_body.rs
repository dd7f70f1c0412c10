//! Phase 5: shows policies the request body as its parts arrive, and bounds the pauses between them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::{Error, ErrorType, Result, proxy::Session};

use super::ctx::Ctx;
use crate::policy::Flow;

/// A policy has refused the body; its answer is in the state of the request.
pub(super) const BODY_REFUSED: ErrorType = ErrorType::Custom("the request body is refused");

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
    let Some(decoder) = ctx.policy.decoder.as_mut().filter(|_| !ctx.upgrade) else {
        return Ok(());
    };
    let part = body.take().unwrap_or_default();
    match decoder.part(&part, end) {
        Ok(decoded) => {
            *body = (!decoded.is_empty()).then_some(decoded);
            Ok(())
        }
        Err(Flow::Reply(answer)) => {
            ctx.refusal = Some(answer);
            Err(Error::new_down(BODY_REFUSED))
        }
        Err(Flow::Abort) => Err(Error::new_down(ErrorType::ConnectionClosed)),
        Err(Flow::Continue) => Ok(()),
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
        Flow::Reply(answer) => {
            ctx.refusal = Some(answer);
            Err(Error::new_down(BODY_REFUSED))
        }
        Flow::Abort => Err(Error::new_down(ErrorType::ConnectionClosed)),
    }
}

/// How long ago the last part of the body was received.
pub(super) fn pause(ctx: &Ctx) -> Duration {
    ctx.body_at.unwrap_or(ctx.started).elapsed()
}
