//! Puts the configuration files in force while the process runs.
//!
//! A reload is triggered by SIGHUP, by the admin listener, or by a change of a file's content, checked
//! every second; [`Watch`] decides when a text counts. A file that is missing for a moment is ignored, and
//! an invalid one is refused and logged once: the snapshot in force stays, so a typo cannot take the
//! gateway down.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quartet_common::config::{ConfigError, ConfigTexts, Watch};
use quartet_jobs::Run;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use crate::{
    config::load::emptied,
    reloads::{Attempt, Outcome, Trigger},
    state::State,
};

const FILE_CHECK: Duration = Duration::from_secs(1);

pub(super) async fn watch_configuration(state: Arc<State>, run: Run) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut good = state.in_force.clone();
    let mut watch = Watch::new(good.clone());
    let mut kept_before = Vec::new();
    let mut trigger = Trigger::File;
    loop {
        run.succeeded();
        // A request may come while the file is being written, so it shortens no pause.
        tokio::select! {
            _ = hangup.recv() => {
                watch.request();
                trigger = Trigger::Signal;
            }
            () = state.reloads.asked() => {
                watch.request();
                trigger = Trigger::Admin;
            }
            () = sleep(FILE_CHECK) => {}
        }
        let covers = state.reloads.requested();
        let (texts, kept) = match read(&state, &good).await? {
            Ok(read) => read,
            Err(error) => {
                if watch.unreadable() {
                    finish(&state, covers, trigger, Err(error));
                    trigger = Trigger::File;
                }
                continue;
            }
        };
        if kept != kept_before {
            report_kept(&kept);
            kept_before = kept;
        }
        let Some(texts) = watch.observe(texts, Instant::now()) else {
            continue;
        };
        let result = if good.is_emptied_by(&texts) {
            Err(emptied())
        } else {
            state.reload(&texts)
        };
        if result.is_ok() {
            good = texts;
        }
        finish(&state, covers, trigger, result);
        trigger = Trigger::File;
    }
}

/// Files are read on a thread of their own: a network file system may block.
async fn read(
    state: &Arc<State>,
    good: &ConfigTexts,
) -> anyhow::Result<Result<(ConfigTexts, Vec<String>), ConfigError>> {
    let (state, good) = (Arc::clone(state), good.clone());
    Ok(tokio::task::spawn_blocking(move || state.sources.read_again(&good)).await?)
}

fn report_kept(variables: &[String]) {
    if !variables.is_empty() {
        tracing::warn!(target: "quartet", variables = variables.join(", "),
            "secret file is missing or empty; its last value stays in force");
    }
}

/// Counts and logs an attempt, for those who asked for it as well. `result`: the changed settings.
fn finish(state: &State, covers: u64, trigger: Trigger, result: Result<Vec<String>, ConfigError>) {
    let metrics = &state.metrics;
    let outcome = match result {
        Ok(changed) => {
            metrics.reloads_applied.inc();
            metrics.last_reload_applied.set(1);
            let hash = state.snapshot().config.hash.clone();
            tracing::info!(target: "quartet", config_hash = &*hash, "configuration reloaded");
            Outcome::applied(&hash, changed)
        }
        Err(error) => {
            metrics.reloads_refused.inc();
            metrics.last_reload_applied.set(0);
            tracing::error!(target: "quartet", error = error.to_string(),
                "configuration refused; the previous one stays in force");
            Outcome::refused(error)
        }
    };
    let attempt = Attempt {
        at: state.clock.now(),
        trigger,
        outcome,
    };
    state.reloads.finished(covers, attempt);
}
