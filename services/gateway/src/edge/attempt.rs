//! The attempts of a request, on both paths: the replica of each, and whether another one follows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderName, Method};
use pingora::{ErrorType, proxy::Session};
use quartet_common::problem::Problem;

use super::{ctx::Ctx, departure::Departure, slow_try::SlowTry};
use crate::{
    error,
    request::Headers,
    routing::RetryCause,
    state::State,
    upstream::{AdmissionError, BalanceKey, Other, Overload, ReplicaOutcome, Upstream, backoff},
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
    /// As `Elsewhere`, but there is a response. It is better than that of a replica which is believed to
    /// fail.
    Instead,
}

/// Why there is no replica for an attempt.
pub(super) enum NotChosen {
    /// The problem is the response.
    Refused(Box<Problem>),
    ClientGone,
}

/// Chooses the replica of the next attempt, after a pause if there is to be one. Neither that nor the
/// wait for others outlasts the client, or the time that the request has.
///
/// # Errors
/// [`NotChosen`].
pub(super) async fn next_replica(
    ctx: &mut Ctx,
    state: &State,
    client: Departure<'_>,
) -> Result<(), NotChosen> {
    let refused = |problem| NotChosen::Refused(Box::new(problem));
    let deadline = ctx.deadline();
    let attempts = &mut ctx.attempts;
    let upstream = attempts.upstream.as_ref();
    let upstream = upstream.ok_or_else(|| refused(error::upstream_unreachable()))?;
    let is_first = attempts.started.is_none();
    // What may have to wait is boxed: it is rare, and other requests should not carry its state.
    if let Some(pause) = attempts.pause.take() {
        let paused = wait(tokio::time::sleep(pause), deadline, client);
        Box::pin(paused).await?;
    } else if is_first && upstream.gate.is_some() {
        let admitted = upstream.admit(attempts.key, Instant::now());
        let admitted = Box::pin(wait(admitted, deadline, client)).await?;
        let admitted = admitted.map_err(|why| refused(refusal(why, upstream, state)));
        let (lease, permit) = admitted?;
        // It may have waited.
        attempts.begin(lease, permit, Instant::now());
        return Ok(());
    }
    // The attempt before has ended; it must not count against the next one.
    attempts.current = None;
    let now = Instant::now();
    let lease = if is_first {
        let admitted = upstream.admit_now(attempts.key, now);
        admitted.map_err(|why| refused(refusal(why, upstream, state)))?
    } else {
        let lease = upstream.acquire(attempts.key, &attempts.tried, now);
        lease.ok_or_else(|| refused(error::upstream_unreachable()))?
    };
    let permit = attempts.permit.take();
    attempts.begin(lease, permit, now);
    Ok(())
}

/// The result of something that takes a while.
async fn wait<T>(
    work: impl Future<Output = T>,
    deadline: Option<Instant>,
    client: Departure<'_>,
) -> Result<T, NotChosen> {
    let deadline = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        result = work => Ok(result),
        () = deadline => Err(NotChosen::Refused(Box::new(error::upstream_timeout()))),
        () = client.wait() => Err(NotChosen::ClientGone),
    }
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

/// Whether repeating the request changes nothing.
pub(super) fn is_idempotent(
    upstream: Option<&Upstream>,
    method: &Method,
    headers: &dyn Headers,
) -> bool {
    let keys_count = upstream.is_some_and(|upstream| upstream.config.idempotency_keys);
    method.is_idempotent() || (keys_count && has_idempotency_key(headers))
}

/// Exactly one, which is not empty: an upstream may take anything else for none.
pub(super) fn has_idempotency_key(headers: &dyn Headers) -> bool {
    let key = headers.first(&IDEMPOTENCY_KEY);
    let is_set = key.is_some_and(|key| !key.trim_ascii().is_empty());
    is_set && headers.nth(&IDEMPOTENCY_KEY, 1).is_none()
}

/// Whether the request can be sent again, and repeating it changes nothing.
pub(super) fn is_repeatable(session: &Session, ctx: &Ctx) -> bool {
    let head = session.req_header();
    let upstream = ctx.attempts.upstream.as_deref();
    is_idempotent(upstream, &head.method, &head.headers)
        && !session.as_ref().retry_buffer_truncated()
}

/// Until when the attempt must be answered, because another replica could be asked instead.
/// `repeatable`: sending the request again is safe and possible.
pub(super) fn try_bound(ctx: &Ctx, repeatable: bool) -> Option<(Instant, SlowTry)> {
    let attempts = &ctx.attempts;
    let upstream = attempts.upstream.as_ref()?;
    let timeout = upstream.config.try_timeout?;
    let current = attempts.current.as_ref()?.address;
    let is_last = attempts.retries >= upstream.config.retries
        || !upstream.has_other(&attempts.tried, Some(current), Other::Healthy);
    if !repeatable || is_last || ctx.upgrade {
        return None;
    }
    let slow = SlowTry {
        upstream: Arc::clone(upstream),
        tried: attempts.tried.clone(),
        current,
    };
    Some((attempts.started? + timeout, slow))
}

/// Whether the time of the whole request has passed. What fails then says nothing about a replica.
pub(super) fn has_expired(ctx: &Ctx) -> bool {
    ctx.deadline().is_some_and(|end| end <= Instant::now())
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
    let retry = may_retry(ctx, state, Again::Instead);
    if retry && let Some(lease) = &ctx.attempts.current {
        lease.report(ReplicaOutcome::of_status(status), Instant::now());
    }
    retry
}

/// Another replica is tried instead of one that has not answered by the deadline, as [`SlowTry`] has
/// decided.
pub(super) fn after_a_slow_try(ctx: &mut Ctx, state: &State) {
    note_silence(ctx);
    ctx.attempts.tried.extend(ctx.attempts.address);
    ctx.attempts.retries += 1;
    if let Some(upstream) = &ctx.attempts.upstream {
        state.metrics.retries(&upstream.config.name).inc();
    }
}

/// The time of the whole request has passed, of which the replica has had this much for the head of
/// its response. It says something about the replica only if that is a good part: a client that
/// sends its body slowly would otherwise make a replica that is healthy look slow.
pub(super) fn note_deadline(ctx: &Ctx, silence: Duration) {
    let all = ctx.route().and_then(|route| route.request_timeout);
    if all.is_some_and(|all| silence >= all / 2) {
        note_silence(ctx);
    }
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
    if upstream.has_other(&ctx.attempts.tried, Some(address), Other::Any) {
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

fn may_retry(ctx: &mut Ctx, state: &State, again: Again) -> bool {
    let Some(upstream) = ctx.attempts.upstream.clone() else {
        return false;
    };
    let first_pause = upstream.config.retry_backoff;
    let wanted = match again {
        Again::Anywhere | Again::Elsewhere => Other::Any,
        Again::Instead => Other::Healthy,
    };
    let is_left = upstream.has_other(&ctx.attempts.tried, None, wanted);
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
            && upstream.has_other(&[], Some(last), Other::Any)
        {
            ctx.attempts.tried.push(last);
        }
    }
    ctx.attempts.retries += 1;
    state.metrics.retries(&upstream.config.name).inc();
    true
}
