//! Routes for other parts of Quartet: their requests are signed as events are.

use http::HeaderMap;
use quartet_common::problem::{Problem, kinds};

use crate::domain::Context;

/// # Errors
/// 503 without a secret, 401 when the request is not signed with it.
pub(super) fn verify(ctx: &Context, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let Some(signer) = &ctx.signer else {
        let detail = "events.secret is not set";
        return Err(Problem::not_now(&kinds::UNAVAILABLE).detail(detail));
    };
    let verified = signer.verify(headers, ctx.clock.now(), body);
    verified.map_err(|error| Problem::unauthorized(&kinds::UNAUTHENTICATED).source(error))
}
