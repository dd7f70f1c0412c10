//! Phase 5: the upstream has answered.

use pingora::http::ResponseHeader;

use super::{ctx::Ctx, reply};

/// The replica lives; how long it took is kept for the log.
pub(super) fn answered(ctx: &mut Ctx) {
    if let Some(replica) = &ctx.attempts.current {
        replica.health.answered();
    }
    if ctx.attempts.took.is_none() {
        ctx.attempts.took = ctx.attempts.began.map(|began| began.elapsed());
    }
}

pub(super) fn filter(response: &mut ResponseHeader, ctx: &Ctx) {
    reply::decorate(response, ctx);
}
