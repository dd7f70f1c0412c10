//! Phase 6: the head of the upstream's response.

use pingora::http::ResponseHeader;

use super::{ctx::Ctx, reply};

/// Marks the replica healthy, and notes how long it took.
pub(super) fn head_received(ctx: &mut Ctx) {
    if let Some(replica) = &ctx.attempts.current {
        replica.health.record_success();
    }
    if ctx.attempts.duration.is_none() {
        ctx.attempts.duration = ctx.attempts.started.map(|started| started.elapsed());
    }
}

pub(super) fn filter(response: &mut ResponseHeader, ctx: &Ctx) {
    reply::decorate(response, ctx);
}
