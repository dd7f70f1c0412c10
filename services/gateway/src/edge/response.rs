//! Phase 6: the head of the upstream's response.

use pingora::http::ResponseHeader;

use super::{ctx::Ctx, reply};
use crate::upstream::Outcome;

/// Marks the replica healthy, and notes how long it took.
pub(super) fn head_received(ctx: &mut Ctx) {
    if let Some(lease) = &ctx.attempts.current {
        lease.report(Outcome::Responded);
    }
    if ctx.attempts.duration.is_none() {
        ctx.attempts.duration = ctx.attempts.started.map(|started| started.elapsed());
    }
}

pub(super) fn filter(response: &mut ResponseHeader, ctx: &Ctx) {
    reply::decorate(response, ctx);
}
