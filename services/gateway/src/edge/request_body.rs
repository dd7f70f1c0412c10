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
    if ctx.upgrade {
        return Ok(());
    }
    if let Some(decoder) = &mut ctx.policy.decoder {
        let part = body.take().unwrap_or_default();
        let decoded = decoder.part(&part, end);
        pass_on(decoded, body, ctx)?;
    }
    if let Some(call) = &mut ctx.policy.grpc_web {
        let part = body.take().unwrap_or_default();
        let grpc = call.request_part(part, end);
        pass_on(grpc, body, ctx)?;
    }
    Ok(())
}

/// In place of a part: what was made of it, or the reply to the request.
fn pass_on(made: Result<Bytes, Flow>, body: &mut Option<Bytes>, ctx: &mut Ctx) -> Result<()> {
    match made {
        Ok(made) => {
            *body = (!made.is_empty()).then_some(made);
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
