//! The attempts of a request, on both paths: the replica of each, and whether another one follows.

use std::time::{Duration, Instant};

use http::{HeaderName, Method};
use pingora::{ErrorType, proxy::Session};
use quartet_common::problem::Problem;

use super::ctx::Ctx;
use crate::{
    error,
    routing::RetryCause,
    state::State,
    upstream::{AdmissionError, BalanceKey, Overload, ReplicaOutcome, Upstream, backoff},
};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The upstream was to get no request. The answer is the refusal of the context.
pub(super) const NOT_ADMITTED: ErrorType = ErrorType::Custom("no request to the upstream");

/// A response is withheld, because another attempt takes its place.
pub(super) const WITHHELD: ErrorType = ErrorType::Custom("another attempt follows");

/// Whether the replica that failed may be asked again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// If there is no other, and after a pause.
    Anywhere,
    Elsewhere,
}

/// Chooses the replica of the next attempt, after a pause if there is to be one.
///
/// # Errors
/// The problem that is the response, when there is no replica.
pub(super) async fn next_replica(ctx: &mut Ctx, state: &State) -> Result<(), Problem> {
    let attempts = &mut ctx.attempts;
    let upstream = attempts.upstream.as_ref();
    let upstream = upstream.ok_or_else(error::upstream_unreachable)?;
    if let Some(pause) = attempts.pause.take() {
        // Boxed: it is rare, and other requests should not carry its timer.
        Box::pin(tokio::time::sleep(pause)).await;
    }
    // The attempt before has ended; it must not count against the next one.
    attempts.current = None;
    let mut now = Instant::now();
    let lease = if attempts.started.is_none() {
        let admitted = upstream.admit(attempts.key, now).await;
        let (lease, permit) = admitted.map_err(|why| refusal(why, upstream, state))?;
        if permit.is_some() {
            // It may have waited.
            now = Instant::now();
        }
        attempts.permit = permit;
        lease
    } else {
        let lease = upstream.acquire(attempts.key, &attempts.tried, now);
        lease.ok_or_else(error::upstream_unreachable)?
    };
    attempts.address = Some(lease.address);
    attempts.current = Some(lease);
    attempts.started = Some(now);
    Ok(())
}

fn refusal(why: AdmissionError, upstream: &Upstream, state: &State) -> Problem {
    let (reason, problem) = match why {
        AdmissionError::NoReplica => return error::upstream_unreachable(),
        AdmissionError::Overload(overload) => {
            let after = Overload::retry_after(upstream.config.load);
            (overload.name(), error::upstream_overloaded(seconds(after)))
        }
        AdmissionError::CircuitOpen(after) => ("circuit_open", error::circuit_open(seconds(after))),
    };
    state.metrics.refused(&upstream.config.name, reason).inc();
    problem
}

/// Rounded up.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Whether repeating the request changes nothing. `has_key`: it has an idempotency key.
pub(super) fn is_idempotent(
    upstream: Option<&Upstream>,
    method: &Method,
    has_key: impl FnOnce(&HeaderName) -> bool,
) -> bool {
    let keys_count = upstream.is_some_and(|upstream| upstream.config.idempotency_keys);
    method.is_idempotent() || (keys_count && has_key(&IDEMPOTENCY_KEY))
}

/// Whether the request can be sent again, and repeating it changes nothing.
pub(super) fn is_repeatable(session: &Session, ctx: &Ctx) -> bool {
    let head = session.req_header();
    let upstream = ctx.attempts.upstream.as_deref();
    is_idempotent(upstream, &head.method, |name| {
        head.headers.contains_key(name)
    }) && !session.as_ref().retry_buffer_truncated()
}

/// Until when the attempt must be answered, because another replica could be asked instead.
/// `repeatable`: sending the request again is safe and possible.
pub(super) fn try_deadline(ctx: &Ctx, repeatable: bool) -> Option<Instant> {
    let attempts = &ctx.attempts;
    let upstream = attempts.upstream.as_ref()?;
    let timeout = upstream.config.try_timeout?;
    let current = attempts.current.as_ref()?.address;
    let is_last = attempts.retries >= upstream.config.retries
        || !others_left(ctx, upstream, |address| address == current);
    let bounded = repeatable && !is_last && !ctx.upgrade;
    bounded.then(|| attempts.started.map(|started| started + timeout))?
}

/// Whether another replica is tried. Nothing was sent yet, so every request is safe to retry.
pub(super) fn after_no_connection(ctx: &mut Ctx, state: &State) -> bool {
    mark_failed(ctx, state, ReplicaOutcome::ConnectFailed);
    may_retry(ctx, state, Again::Anywhere)
}

/// `repeatable`: sending the request again is safe and possible. `reused`: the connection had served
/// another request before.
pub(super) fn after_a_failed_connection(
    ctx: &mut Ctx,
    state: &State,
    repeatable: bool,
    reused: bool,
) -> bool {
    if reused {
        // The replica may just have closed an idle connection, so it is not marked as failed.
        exclude(ctx);
    } else {
        mark_failed(ctx, state, ReplicaOutcome::Broken);
    }
    repeatable && is_wanted(ctx, RetryCause::Reset) && may_retry(ctx, state, Again::Elsewhere)
}

/// Whether another attempt takes the place of a response with this status. One that says when to ask
/// again (`Retry-After`) does not: the client has more time for that than the gateway.
pub(super) fn after_a_status(
    ctx: &mut Ctx,
    state: &State,
    status: u16,
    has_retry_after: impl FnOnce() -> bool,
    repeatable: impl FnOnce(&Ctx) -> bool,
) -> bool {
    let wanted = RetryCause::of_status(status).is_some_and(|cause| is_wanted(ctx, cause));
    if !wanted || has_retry_after() || !repeatable(ctx) {
        return false;
    }
    let Some(address) = ctx.attempts.address else {
        return false;
    };
    ctx.attempts.tried.push(address);
    let retry = may_retry(ctx, state, Again::Elsewhere);
    if retry && let Some(lease) = &ctx.attempts.current {
        lease.report(ReplicaOutcome::of_status(status), Instant::now());
    }
    retry
}

/// Whether another replica is tried instead of one that has not answered by the deadline.
pub(super) fn after_a_slow_try(ctx: &mut Ctx, state: &State) -> bool {
    let Some(address) = ctx.attempts.address else {
        return false;
    };
    ctx.attempts.tried.push(address);
    let retry = may_retry(ctx, state, Again::Elsewhere);
    if retry {
        note_silence(ctx);
    }
    retry
}

/// The replica was silent for too long.
pub(super) fn note_silence(ctx: &Ctx) {
    if let Some(lease) = &ctx.attempts.current {
        lease.report(ReplicaOutcome::TimedOut, Instant::now());
    }
}

fn is_wanted(ctx: &Ctx, cause: RetryCause) -> bool {
    let of_route = ctx.route().and_then(|route| route.retry_on);
    let upstream = ctx.attempts.upstream.as_ref();
    let wanted = of_route.or(upstream.map(|upstream| upstream.config.retry_on));
    wanted.is_some_and(|wanted| wanted.includes(cause))
}

/// Prefers other replicas for this request, if there are any: the other idle connections to this
/// one may be dead too, and each would cost a retry.
fn exclude(ctx: &mut Ctx) {
    let (Some(upstream), Some(address)) = (&ctx.attempts.upstream, ctx.attempts.address) else {
        return;
    };
    if others_left(ctx, upstream, |other| other == address) {
        ctx.attempts.tried.push(address);
    }
}

/// Reports the replica, and excludes it for this request.
fn mark_failed(ctx: &mut Ctx, state: &State, outcome: ReplicaOutcome) {
    let (Some(upstream), Some(lease)) = (&ctx.attempts.upstream, &ctx.attempts.current) else {
        return;
    };
    lease.report(outcome, Instant::now());
    let name = &upstream.config.name;
    if outcome == ReplicaOutcome::ConnectFailed {
        state.metrics.connect_failures(name).inc();
    } else {
        state.metrics.broken_responses(name).inc();
    }
    ctx.attempts.tried.push(lease.address);
}

/// Whether a replica is left that was not tried and is not excluded in another way.
fn others_left(
    ctx: &Ctx,
    upstream: &Upstream,
    is_excluded: impl Fn(std::net::SocketAddr) -> bool,
) -> bool {
    let tried = &ctx.attempts.tried;
    upstream.replicas().iter().any(|replica| {
        let address = replica.address;
        !tried.contains(&address) && !is_excluded(address) && !replica.health.is_drained()
    })
}

fn may_retry(ctx: &mut Ctx, state: &State, again: Again) -> bool {
    let Some(upstream) = ctx.attempts.upstream.clone() else {
        return false;
    };
    let first_pause = upstream.config.retry_backoff;
    let is_left = others_left(ctx, &upstream, |_| false);
    let returns = again == Again::Anywhere && !first_pause.is_zero();
    if !(is_left || returns)
        || ctx.attempts.retries >= upstream.config.retries
        || !upstream.retry_budget.withdraw()
    {
        return false;
    }
    if !is_left {
        let request = BalanceKey::of(ctx.request_id());
        let pause = backoff(first_pause, ctx.attempts.retries, request);
        ctx.attempts.pause = Some(pause);
        let last = ctx.attempts.address;
        ctx.attempts.tried.clear();
        if let Some(last) = last
            && others_left(ctx, &upstream, |address| address == last)
        {
            ctx.attempts.tried.push(last);
        }
    }
    ctx.attempts.retries += 1;
    state.metrics.retries(&upstream.config.name).inc();
    true
}
