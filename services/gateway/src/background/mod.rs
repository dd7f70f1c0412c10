//! Jobs beside requests: discovery, health checks, configuration reloads, sweeps of the rate limits.

mod acme;
mod certificates;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod reload;

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use quartet_common::causes;
use quartet_jobs::{Backoff, Job, Run, Runner};
use tokio::{
    sync::{Mutex, Notify},
    time::sleep,
};

use crate::{
    config::model,
    metrics::gauge_value,
    policy::rate_limit::Pause,
    revocations::follow::Follower,
    state::State,
    upstream::{
        checks::{Checks, TICK},
        discovery::{self, Resolver},
    },
};

const FILE_CHECK: Duration = Duration::from_secs(1);
/// After this time /etc/resolv.conf is read again.
const RESOLVER_AGE: Duration = Duration::from_mins(1);
/// A store that a reload brings is noticed after this time.
const STORE_CHECK: Duration = Duration::from_secs(1);
/// How often a configuration without a feed of revoked sessions is looked at again.
const FEED_CHECK: Duration = Duration::from_secs(1);
/// Short, so that a session that ended while core was away is known soon after its return.
const FEED_BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(250),
    max: Duration::from_secs(2),
};
/// How often a document is looked for that is missing.
const DOCUMENT_CHECK: Duration = Duration::from_millis(100);
/// Sockets are closed this long after their session has ended elsewhere.
const LOGIN_SWEEP: Duration = Duration::from_secs(1);
/// It may wait for the API server meanwhile.
#[cfg(feature = "kubernetes")]
const CLUSTER_CHECK: Duration = Duration::from_mins(1);
const SWEEP: Duration = Duration::from_secs(10);

/// Starts the jobs on the current runtime. The result is notified after each round of discovery.
pub(crate) fn start(state: &Arc<State>, runner: &mut Runner) -> Arc<Notify> {
    let discovered = Arc::new(Notify::new());
    runner.start(discovery_job(Arc::clone(state), Arc::clone(&discovered)));
    let watched = Arc::clone(state);
    runner.start(Job::continuous("reload", FILE_CHECK, move |run| {
        reload::watch_configuration(Arc::clone(&watched), run)
    }));
    let certified = Arc::clone(state);
    let certificates = Job::continuous("certificates", FILE_CHECK, move |run| {
        certificates::watch_certificates(Arc::clone(&certified), run)
    });
    runner.start(certificates);
    let checked = Arc::clone(state);
    runner.start(Job::continuous("health_checks", FILE_CHECK, move |run| {
        check_replicas(Arc::clone(&checked), run)
    }));
    let documented = Arc::clone(state);
    let documents = Job::continuous("documents", DOCUMENT_CHECK, move |run| {
        keep_documents(Arc::clone(&documented), run)
    });
    runner.start(documents);
    let counting = Arc::clone(state);
    runner.start(Job::continuous("limit_store", STORE_CHECK, move |run| {
        keep_limit_store(Arc::clone(&counting), run)
    }));
    let followed = Arc::clone(state);
    let feed = Job::continuous("revocations", FEED_CHECK, move |run| {
        follow_revocations(Arc::clone(&followed), run)
    });
    runner.start(feed);
    let logged_in = Arc::clone(state);
    runner.start(Job::periodic("logins", LOGIN_SWEEP, move |_| {
        let state = Arc::clone(&logged_in);
        async move {
            state.snapshot().sweep_logins(&state.metrics).await;
            anyhow::Ok(())
        }
    }));
    let certified = Arc::clone(state);
    runner.start(Job::continuous("acme", FILE_CHECK, move |run| {
        acme::keep_certificates(Arc::clone(&certified), run)
    }));
    #[cfg(feature = "kubernetes")]
    runner.start(cluster_job(state));
    let swept = Arc::clone(state);
    runner.start(Job::periodic("sweep", SWEEP, move |_| {
        sweep_rate_limits(&swept);
        sweep_pool(&swept);
        measure_caches(&swept);
        async { anyhow::Ok(()) }
    }));
    discovered
}

#[cfg(feature = "kubernetes")]
fn cluster_job(state: &Arc<State>) -> Job {
    let watched = Arc::clone(state);
    Job::continuous("kubernetes", CLUSTER_CHECK, move |run| {
        kubernetes::follow_cluster(Arc::clone(&watched), run)
    })
}

/// Of the caches in force by now.
fn measure_caches(state: &State) {
    for cache in &state.snapshot().caches {
        let name = &cache.settings.name;
        state.metrics.set_cache_size(name, cache.size());
    }
}

fn discovery_job(state: Arc<State>, discovered: Arc<Notify>) -> Job {
    let period = Duration::from_millis(state.snapshot().config.model.discovery.interval_ms);
    let reloaded = Arc::clone(&state.reloaded);
    let known = Arc::new(Mutex::new(None));
    let round = move |_| {
        let (state, known) = (Arc::clone(&state), Arc::clone(&known));
        let discovered = Arc::clone(&discovered);
        async move {
            let snapshot = state.snapshot();
            snapshot.fetch_keys();
            let settings = &snapshot.config.model.discovery;
            let resolver = resolver(&mut *known.lock().await, settings, Resolver::new)?;
            discovery::refresh(&snapshot.upstreams, &resolver).await;
            // Of the one in force by now: an upstream that a reload has removed has no metric.
            state.snapshot().export(&state.metrics);
            discovered.notify_one();
            anyhow::Ok(())
        }
    };
    Job::periodic("discovery", period, round)
        .immediately()
        .cancel_at_stop()
        .wake_on(reloaded)
}

/// Starts the health checks of all upstreams at their times.
async fn check_replicas(state: Arc<State>, run: Run) -> anyhow::Result<()> {
    let mut checks = Checks::default();
    loop {
        run.succeeded();
        let snapshot = state.snapshot();
        let counted = Arc::clone(&state);
        let are_checked = checks.start_due(&snapshot.upstreams, move |name, succeeded| {
            counted.metrics.health_checked(name, succeeded).inc();
        });
        sleep(if are_checked { TICK } else { FILE_CHECK }).await;
    }
}

/// Keeps the documents in force that routes validate against.
async fn keep_documents(state: Arc<State>, run: Run) -> anyhow::Result<()> {
    loop {
        run.succeeded();
        let snapshot = state.snapshot();
        state.documents.keep_in_force(&snapshot).await;
        let is_known = snapshot.document_notices().is_empty();
        drop(snapshot);
        sleep(if is_known { FILE_CHECK } else { DOCUMENT_CHECK }).await;
    }
}

/// Reads the feed of revoked sessions, if there is one, for as long as the process runs.
async fn follow_revocations(state: Arc<State>, run: Run) -> anyhow::Result<()> {
    let mut follower: Option<Follower> = None;
    let mut failures = 0;
    loop {
        let snapshot = state.snapshot();
        let settings = &snapshot.config.model.revocations;
        if follower.as_ref().is_none_or(|known| !known.is_of(settings)) {
            follower = Follower::new(settings)?;
        }
        let Some(follower) = &mut follower else {
            run.succeeded();
            sleep(FEED_CHECK).await;
            continue;
        };
        let started = Instant::now();
        let result = follower.round(&state.revocations).await;
        run.attempted(started.elapsed(), result.is_ok());
        let sessions = gauge_value(state.revocations.len());
        state.metrics.revoked_sessions.set(sessions);
        let interval = Duration::from_millis(settings.interval_ms);
        drop(snapshot);
        let Err(error) = result else {
            failures = 0;
            sleep(interval).await;
            continue;
        };
        failures += 1;
        state.metrics.revocation_feed_failures.inc();
        if failures == 1 {
            tracing::warn!(
                error = causes(&error),
                "reading the feed of revoked sessions failed"
            );
        }
        sleep(FEED_BACKOFF.delay(failures).max(interval)).await;
    }
}

/// A resolver, when it was built, and the settings it was built from.
type Known<R> = Option<(model::Discovery, Instant, Arc<R>)>;

/// The resolver of the round before, unless its settings changed or it is old: /etc/resolv.conf may
/// have changed. One that could not be built is tried again in the next round; until then, an old one
/// continues.
fn resolver<R>(
    known: &mut Known<R>,
    now: &model::Discovery,
    build: impl FnOnce(&model::Discovery) -> anyhow::Result<R>,
) -> anyhow::Result<Arc<R>> {
    let mut old = None;
    if let Some((settings, built, resolver)) = known
        && settings == now
    {
        if built.elapsed() < RESOLVER_AGE {
            return Ok(Arc::clone(resolver));
        }
        old = Some(Arc::clone(resolver));
    }
    let resolver = match (build(now), old) {
        (Ok(resolver), _) => Arc::new(resolver),
        (Err(error), Some(old)) => {
            tracing::warn!(error = %format!("{error:#}"), "the resolver's settings cannot be read; the previous ones stay in force");
            return Ok(old);
        }
        (Err(error), None) => return Err(error),
    };
    *known = Some((now.clone(), Instant::now(), Arc::clone(&resolver)));
    Ok(resolver)
}

/// Connects to the store of the rate limits in force, again and again.
async fn keep_limit_store(state: Arc<State>, run: Run) -> anyhow::Result<()> {
    let mut pause = Pause::default();
    loop {
        // It is no failure of this job that the store is away.
        run.succeeded();
        match &state.snapshot().shared_counter {
            Some(counter) => counter.store.keep(&mut pause).await,
            None => sleep(STORE_CHECK).await,
        }
    }
}

/// Closes idle connections that are too old, or whose replica is gone.
fn sweep_pool(state: &State) {
    let snapshot = state.snapshot();
    let replicas = snapshot
        .upstreams
        .iter()
        .map(|upstream| upstream.replicas());
    let known: HashSet<SocketAddr> = replicas
        .flat_map(|replicas| {
            replicas
                .iter()
                .map(|replica| replica.address)
                .collect::<Vec<_>>()
        })
        .collect();
    let looked_up = snapshot
        .lookups
        .iter()
        .flat_map(|lookup| lookup.addresses());
    let known: HashSet<SocketAddr> = known.into_iter().chain(looked_up).collect();
    let now = tokio::time::Instant::now();
    state.pool.sweep(now, |address| known.contains(&address));
    state
        .metrics
        .idle_connections
        .set(gauge_value(state.pool.len()));
}

/// Frees the memory of clients that have sent nothing for a whole window.
fn sweep_rate_limits(state: &State) {
    state.counter.sweep();
    let keys = gauge_value(state.counter.len());
    state.metrics.rate_limit_keys.set(keys);
    match &state.snapshot().shared_counter {
        Some(counter) => counter.sweep(),
        None => {
            state.metrics.rate_limit_denied_keys.set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_that_cannot_be_built_is_tried_again() {
        let settings = |timeout_ms| model::Discovery {
            interval_ms: 1_000,
            nameserver: None,
            timeout_ms,
        };
        let mut known = None;
        // /etc/resolv.conf cannot be read at the start.
        for _ in 0..2 {
            let built = resolver::<u8>(&mut known, &settings(1), |_| anyhow::bail!("unreadable"));
            assert!(built.is_err());
        }
        assert_eq!(*resolver(&mut known, &settings(1), |_| Ok(1)).unwrap(), 1);
        assert_eq!(*resolver(&mut known, &settings(1), |_| Ok(2)).unwrap(), 1);
        // Changed settings, and an old resolver.
        assert_eq!(*resolver(&mut known, &settings(2), |_| Ok(3)).unwrap(), 3);
        if let Some((_, built, _)) = &mut known {
            *built -= RESOLVER_AGE;
        }
        assert_eq!(*resolver(&mut known, &settings(2), |_| Ok(4)).unwrap(), 4);
        // A file that is being written: the old one stays in use, and is replaced in the next round.
        if let Some((_, built, _)) = &mut known {
            *built -= RESOLVER_AGE;
        }
        let unreadable = |_: &model::Discovery| anyhow::bail!("unreadable");
        assert_eq!(*resolver(&mut known, &settings(2), unreadable).unwrap(), 4);
        assert_eq!(*resolver(&mut known, &settings(2), |_| Ok(5)).unwrap(), 5);
    }
}
