//! What runs beside requests: discovery, configuration reloads, sweeps of the rate limits.
//!
//! A reload is triggered by SIGHUP, or by a change of the file's content, checked every second.
//! Content rather than time stamps, because Kubernetes swaps symbolic links and editors replace
//! files. A file that is missing for a moment is ignored, and an invalid one is refused and logged
//! once: the snapshot in force stays, so a typo cannot take the gateway down.

use std::{sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    config::load::ConfigErrors,
    metrics::gauge_value,
    state::State,
    upstream::discovery::{self, Resolver},
};

const FILE_CHECK: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_secs(10);

/// Starts every task on the current runtime; resolves after the first round of discovery.
pub(crate) fn start(state: &Arc<State>) -> oneshot::Receiver<()> {
    let (first_round, discovered) = oneshot::channel();
    tokio::spawn(discover(Arc::clone(state), first_round));
    tokio::spawn(watch_configuration(Arc::clone(state)));
    tokio::spawn(sweep_rate_limits(Arc::clone(state)));
    discovered
}

async fn discover(state: Arc<State>, first_round: oneshot::Sender<()>) {
    let settings = state.snapshot().config.model.discovery.clone();
    let resolver = match Resolver::new(&settings) {
        Ok(resolver) => Arc::new(resolver),
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(target: "quartet", error, "cannot resolve upstream names");
            return;
        }
    };
    let mut first_round = Some(first_round);
    loop {
        let snapshot = state.snapshot();
        discovery::refresh(&snapshot.upstreams, &resolver).await;
        snapshot.export(&state.metrics);
        drop(snapshot);
        if let Some(first_round) = first_round.take() {
            // The receiver is gone if this took too long.
            let _ = first_round.send(());
        }
        tokio::select! {
            () = sleep(Duration::from_millis(settings.interval_ms)) => {}
            () = state.reloaded.notified() => {}
        }
    }
}

async fn watch_configuration(state: Arc<State>) {
    let mut seen = state.sources.read().ok();
    let mut check = interval(FILE_CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::error!(target: "quartet", %error, "cannot handle SIGHUP");
            return;
        }
    };
    loop {
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
async fn sweep_rate_limits(state: Arc<State>) {
    let mut due = interval(SWEEP);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        state.counter.sweep();
        let keys = gauge_value(state.counter.len());
        state.metrics.rate_limit_keys.set(keys);
    }
}
