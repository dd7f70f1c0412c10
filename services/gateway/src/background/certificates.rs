//! Looks every second whether files of certificates have changed, and says what is in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use quartet_jobs::Run;
use tokio::time::sleep;

use crate::{
    metrics::CertificateState,
    state::State,
    tls::{CertificateFiles, FileCheck},
};

const FILE_CHECK: Duration = Duration::from_secs(1);
/// How often an expired certificate is complained about.
const REMINDER: Duration = Duration::from_hours(1);

pub(super) async fn watch_certificates(state: Arc<State>, run: Run) -> anyhow::Result<()> {
    let mut exported = BTreeSet::new();
    let mut reminded: Option<Instant> = None;
    loop {
        run.succeeded();
        let files = state.snapshot().certificates.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let checks = files.iter().map(|files| files.check());
            let checks: Vec<FileCheck> = checks.collect();
            (files, checks)
        });
        // Files are read on a thread of their own: a network file system may block.
        let (files, checks) = checked.await?;
        if checks.contains(&FileCheck::Replaced) {
            state.publish_certificates();
        }
        for (files, check) in files.iter().zip(checks) {
            report(files, check, &state);
        }
        exported = export(&state, exported);
        if reminded.is_none_or(|at| at.elapsed() > REMINDER) {
            remind(&files, state.clock.now());
            reminded = Some(Instant::now());
        }
        sleep(FILE_CHECK).await;
    }
}

fn report(files: &CertificateFiles, check: FileCheck, state: &State) {
    let certificate = &files.settings.name;
    let metrics = &state.metrics.tls;
    match check {
        FileCheck::Unchanged => {}
        FileCheck::Replaced => {
            metrics.reloaded(certificate, true).inc();
            let loaded = files.loaded();
            tracing::info!(target: "quartet", certificate = &**certificate,
                not_after = loaded.not_after.to_rfc3339(), "certificate replaced");
        }
        FileCheck::Restored => {
            tracing::info!(target: "quartet", certificate = &**certificate,
                "the files of a certificate are again what is in force");
        }
        FileCheck::Refused(error) => {
            metrics.reloaded(certificate, false).inc();
            tracing::error!(target: "quartet", certificate = &**certificate, error,
                "certificate refused; the last one stays in force");
        }
    }
}

/// Sets the metrics of all certificates; those of certificates that are gone are removed.
fn export(state: &State, before: BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
    let metrics = &state.metrics.tls;
    let now = in_force(state);
    for (name, known) in &now {
        metrics.set_certificate(name, *known);
    }
    let now: BTreeSet<_> = now.into_keys().collect();
    for gone in before.difference(&now) {
        metrics.forget_certificate(gone);
    }
    now
}

/// By the names of their tables, which are unique; those of `[acme.certificates]` have `acme.` in front. After
/// a reload, a table may have several in force, for different hosts: the one that ends first counts.
fn in_force(state: &State) -> BTreeMap<Arc<str>, CertificateState> {
    let mut all = BTreeMap::new();
    for files in state.snapshot().certificates.iter() {
        let loaded = files.loaded();
        let known = CertificateState {
            not_before: loaded.not_before,
            not_after: loaded.not_after,
            is_refused: files.problem().is_some(),
        };
        all.insert(Arc::clone(&files.settings.name), known);
    }
    for issued in state.certificates.issued() {
        let known = CertificateState {
            not_before: issued.not_before,
            not_after: issued.not_after,
            is_refused: false,
        };
        let name: Arc<str> = format!("acme.{}", issued.table).into();
        let first = all.entry(name).or_insert(known);
        if known.not_after < first.not_after {
            *first = known;
        }
    }
    all
}

fn remind(all: &[Arc<CertificateFiles>], now: DateTime<Utc>) {
    for files in all {
        let loaded = files.loaded();
        let certificate = &*files.settings.name;
        let not_after = loaded.not_after.to_rfc3339();
        if loaded.not_after <= now {
            tracing::error!(target: "quartet", certificate, not_after,
                "a certificate has expired; it is served nevertheless");
        } else if loaded.not_before > now + TimeDelta::minutes(1) {
            let not_before = loaded.not_before.to_rfc3339();
            tracing::warn!(target: "quartet", certificate, not_before,
                "a certificate is not valid yet");
        }
    }
}
