//! Phase 6: the head of the upstream's response.

use http::StatusCode;
use pingora::{http::ResponseHeader, proxy::Session};

use super::{ctx::Ctx, downstream, reply};

/// Marks the replica healthy, and notes how long it took until its final head.
pub(super) fn head_received(response: &ResponseHeader, ctx: &mut Ctx) {
    if is_interim(response) {
        return;
    }
    has_answered(ctx);
}

/// The replica of this attempt has sent a final head.
pub(super) fn has_answered(ctx: &mut Ctx) {
    if let Some(replica) = &ctx.attempts.current {
        replica.health.record_success();
    }
    if ctx.attempts.duration.is_none() {
        ctx.attempts.duration = ctx.attempts.started.map(|started| started.elapsed());
    }
}

/// An interim head passes as it is: what is added is said of the final one.
pub(super) fn filter(session: &mut Session, response: &mut ResponseHeader, ctx: &mut Ctx) {
    if is_interim(response) {
        return;
    }
    downstream::adapt(session, response);
    reply::decorate(response, ctx);
}

fn is_interim(response: &ResponseHeader) -> bool {
    response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS
}
