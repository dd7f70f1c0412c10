//! Jobs beside requests: discovery, configuration reloads, sweeps of the rate limits.
//!
//! A reload is triggered by SIGHUP, or by a change of the file's content, checked every second.
//! Content rather than time stamps, because Kubernetes swaps symbolic links and editors replace
//! files. A file that is missing for a moment is ignored, and an invalid one is refused and logged
//! once: the snapshot in force stays, so a typo cannot take the gateway down.

use std::{sync::Arc, time::Duration};

use quartet_jobs::{Job, Run, Runner};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, OnceCell},
    time::{MissedTickBehavior, interval},
};

use crate::{
    config::load::ConfigErrors,
    metrics::gauge_value,
    state::State,
    upstream::discovery::{self, Resolver},
};

const FILE_CHECK: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_secs(10);

/// Starts the jobs on the current runtime. The result is notified after each round of discovery.
pub(crate) fn start(state: &Arc<State>, runner: &mut Runner) -> Arc<Notify> {
    let discovered = Arc::new(Notify::new());
    runner.start(discovery_job(Arc::clone(state), Arc::clone(&discovered)));
    let watched = Arc::clone(state);
    runner.start(Job::continuous("reload", FILE_CHECK, move |run| {
        watch_configuration(Arc::clone(&watched), run)
    }));
    let swept = Arc::clone(state);
    runner.start(Job::periodic("sweep", SWEEP, move |_| {
        sweep_rate_limits(&swept);
        async { anyhow::Ok(()) }
    }));
    discovered
}

fn discovery_job(state: Arc<State>, discovered: Arc<Notify>) -> Job {
    let settings = state.snapshot().config.model.discovery.clone();
    let period = Duration::from_millis(settings.interval_ms);
    let reloaded = Arc::clone(&state.reloaded);
    let resolver = Arc::new(OnceCell::new());
    let round = move |_| {
        let (state, settings) = (Arc::clone(&state), settings.clone());
        let (resolver, discovered) = (Arc::clone(&resolver), Arc::clone(&discovered));
        async move {
            let create = async || Resolver::new(&settings).map(Arc::new);
            let resolver = resolver.get_or_try_init(create).await?;
            let snapshot = state.snapshot();
            discovery::refresh(&snapshot.upstreams, resolver).await;
            snapshot.export(&state.metrics);
            discovered.notify_one();
            anyhow::Ok(())
        }
    };
    Job::periodic("discovery", period, round)
        .immediately()
        .cancel_at_stop()
        .wake_on(reloaded)
}

async fn watch_configuration(state: Arc<State>, run: Run) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut seen = state.sources.read().ok();
    let mut check = interval(FILE_CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        run.succeeded();
        let requested = tokio::select! {
            _ = hangup.recv() => true,
            _ = check.tick() => false,
        };
        let text = match state.sources.read() {
            Ok(text) => text,
            Err(_) if !requested => continue,
            Err(error) => {
                refuse(&state, &error);
                continue;
            }
        };
        if !requested && seen.as_ref() == Some(&text) {
            continue;
        }
        match state.reload(&text) {
            Ok(()) => {
                state.metrics.reloads_applied.inc();
                tracing::info!(target: "quartet", "configuration reloaded");
            }
            Err(error) => refuse(&state, &error),
        }
        seen = Some(text);
    }
}

fn refuse(state: &State, error: &ConfigErrors) {
    state.metrics.reloads_refused.inc();
    tracing::error!(target: "quartet", error = error.to_string(),
        "configuration refused; the previous one stays in force");
}

/// Frees the memory of clients that have sent nothing for a whole window.
fn sweep_rate_limits(state: &State) {
    state.counter.sweep();
    let keys = gauge_value(state.counter.len());
    state.metrics.rate_limit_keys.set(keys);
}
