//! What goes on beside the requests: look-ups, reloads, sweeps.

use std::{sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    state::State,
    upstream::discovery::{self, Resolver},
};

const FILE_CHECK: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_secs(10);

/// Starts everything on the current runtime; resolves after the first round of look-ups.
pub(crate) fn start(state: &Arc<State>) -> oneshot::Receiver<()> {
    let (first, looked_up) = oneshot::channel();
    tokio::spawn(look_up(Arc::clone(state), first));
    tokio::spawn(watch_settings(Arc::clone(state)));
    tokio::spawn(sweep(Arc::clone(state)));
    looked_up
}

async fn look_up(state: Arc<State>, first: oneshot::Sender<()>) {
    let settings = state.snapshot().config.model.discovery.clone();
    let resolver = match Resolver::new(&settings) {
        Ok(resolver) => Arc::new(resolver),
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(target: "quartet", error, "names cannot be looked up");
            return;
        }
    };
    let mut first = Some(first);
    loop {
        discovery::refresh(&state.snapshot().upstreams, &resolver).await;
        if let Some(first) = first.take() {
            // Nobody waits any longer when this took too long.
            let _ = first.send(());
        }
        tokio::select! {
            () = sleep(Duration::from_millis(settings.interval_ms)) => {}
            () = state.reloaded.notified() => {}
        }
    }
}

/// Reads the file again on SIGHUP and when its content has changed. The content, not
/// the time stamp: Kubernetes swaps links, and editors rename.
async fn watch_settings(state: Arc<State>) {
    let mut seen = state.sources().read().ok();
    let mut check = interval(FILE_CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::error!(target: "quartet", %error, "no handler for SIGHUP");
            return;
        }
    };
    loop {
        let told = tokio::select! {
            _ = hangup.recv() => true,
            _ = check.tick() => false,
        };
        let text = match state.sources().read() {
            Ok(text) => text,
            // Between two versions a file may be missing for a moment.
            Err(_) if !told => continue,
            Err(error) => {
                refused(&state, &error);
                continue;
            }
        };
        if !told && seen.as_ref() == Some(&text) {
            continue;
        }
        match state.reload(&text) {
            Ok(()) => {
                state.metrics.reloaded("applied");
                tracing::info!(target: "quartet", "the settings have been read again");
            }
            Err(error) => refused(&state, &error),
        }
        seen = Some(text);
    }
}

fn refused(state: &State, error: &crate::config::load::Mistakes) {
    state.metrics.reloaded("refused");
    tracing::error!(target: "quartet", error = error.to_string(),
        "the new settings are refused, the old ones stay in force");
}

/// Gives back the memory of clients that have not been seen for long.
async fn sweep(state: Arc<State>) {
    let mut due = interval(SWEEP);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        state.counter.sweep();
    }
}
