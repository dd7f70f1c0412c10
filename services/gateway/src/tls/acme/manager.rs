//! Keeps the certificates: looks at each one again and again, and does what is due.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use quartet_common::causes;
use tokio::{
    sync::SetOnce,
    time::{sleep, timeout},
};

use super::{
    Acme, Installed, Issued, Slot,
    failure::{AcmeError, OUTCOMES},
    lease::Held,
    order::Ordering as OneOrder,
    row::{Failure, Renewal, Row, shortened},
    schedule::{self, FailedAttempt},
    suggestion::{Suggestion, ask_window},
};

/// While another gateway works on it, or there is no certificate yet.
const SOON: Duration = Duration::from_secs(2);
/// After this time, an authority without ARI is asked again whether it has it.
const NO_SERVICE: Duration = Duration::from_hours(6);
/// What is due at once is not done more often than this.
const LEAST: Duration = Duration::from_millis(200);

/// Lets handshakes use the certificate of a table for these names.
pub(crate) type Install<'i> = &'i (dyn Fn(&Arc<str>, Vec<String>, &Issued) + Send + Sync);

/// What is to be done with a certificate, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// `None`: not before an operator asks for it.
    pub(super) renew_at: Option<DateTime<Utc>>,
    /// When the authority is asked when to renew.
    pub(super) ask_at: Option<DateTime<Utc>>,
}

impl Plan {
    fn due_at(self) -> Option<DateTime<Utc>> {
        self.renew_at.into_iter().chain(self.ask_at).min()
    }
}

impl Acme {
    /// Works until another one takes its place. Nothing is ordered before `listening`: the authority would ask for
    /// the proof of a host where nothing answers yet, and allows few such failures.
    pub(crate) async fn keep(&self, install: Install<'_>, listening: &SetOnce<()>) {
        for slot in &self.slots {
            for outcome in OUTCOMES {
                self.metrics.ordered(&slot.certificate.name, outcome);
            }
        }
        let all = self.slots.iter();
        let all = all.map(|slot| self.keep_one(slot, install, listening));
        tokio::select! {
            () = self.retired.cancelled() => {}
            _ = join_all(all) => {}
        }
    }

    async fn keep_one(&self, slot: &Slot, install: Install<'_>, listening: &SetOnce<()>) {
        if let Some(installed) = slot.installed() {
            use_for(slot, &installed.issued, install);
        }
        if let Err(error) = self.find(slot, install).await {
            self.store_failed(slot, &error);
        }
        self.tried.send_modify(|tried| *tried += 1);
        listening.wait().await;
        loop {
            let pause = match Box::pin(self.attend(slot, install)).await {
                Ok(pause) => pause,
                Err(error) => self.store_failed(slot, &error),
            };
            tokio::select! {
                () = sleep(pause.max(LEAST)) => {}
                () = slot.wake.notified() => {}
            }
        }
    }

    /// Installs what the store has, and returns it.
    async fn find(&self, slot: &Slot, install: Install<'_>) -> Result<Row, AcmeError> {
        let name = &slot.certificate.name;
        let text = self.store.load(&row_name(name)).await?;
        self.note_store(None);
        let row = Row::parse(text.as_deref(), name);
        self.install_stored(slot, &row, install);
        slot.note(&row, self.plan(slot, &row).renew_at);
        self.metrics.set_failures(name, slot.failures());
        Ok(row)
    }

    /// Does what is due, and returns how long to wait.
    async fn attend(&self, slot: &Slot, install: Install<'_>) -> Result<Duration, AcmeError> {
        let name = &slot.certificate.name;
        let mut row = self.find(slot, install).await?;
        let plan = self.plan(slot, &row);
        let now = self.clock.now();
        let due_at = plan.due_at();
        if due_at.is_none_or(|due_at| due_at > now) {
            let left = due_at.and_then(|due_at| (due_at - now).to_std().ok());
            let poll = self.pause_of(slot);
            return Ok(left.map_or(poll, |left| left.min(poll)));
        }
        let held = Held::acquire(&self.store, row_name(name), &self.owner).await?;
        let Some(held) = held else {
            return Ok(SOON);
        };
        // Another gateway may have done it before. What was read without the lease must not be written.
        let text = match self.store.load(&row_name(name)).await {
            Ok(text) => text,
            Err(error) => {
                held.release().await;
                return Err(error.into());
            }
        };
        row = Row::parse(text.as_deref(), name);
        let work = Box::pin(self.work(slot, &held, &mut row, install));
        let done = held.during(work).await;
        let noted = match done {
            Ok(()) => {
                slot.note(&row, self.plan(slot, &row).renew_at);
                Ok(())
            }
            Err(error) => self.failed(slot, &held, row, &error).await,
        };
        held.release().await;
        noted.map(|()| LEAST)
    }

    /// The polling interval.
    fn pause_of(&self, slot: &Slot) -> Duration {
        match slot.installed() {
            Some(_) => self.config.times.poll,
            None => self.config.times.poll.min(SOON),
        }
    }

    /// What is due, with the lease.
    async fn work(
        &self,
        slot: &Slot,
        held: &Held<'_>,
        row: &mut Row,
        install: Install<'_>,
    ) -> Result<(), AcmeError> {
        let name = &slot.certificate.name;
        self.install_stored(slot, row, install);
        // Not as another store had it, which may have been of this machine alone: with a key in the clear.
        if row.certificate.is_none()
            && let Some(installed) = slot.installed()
            && self.sealer.is_current(&installed.stored.key)
        {
            row.certificate = Some(installed.stored);
            held.put(&row.to_text()).await?;
            tracing::warn!(target: "quartet", certificate = &**name,
                "the store had lost a certificate; the one in use was stored again");
        }
        let plan = self.plan(slot, row);
        let now = self.clock.now();
        let is_due = |at: Option<DateTime<Utc>>| at.is_some_and(|at| at <= now);
        if is_due(plan.renew_at) {
            if slot.is_asked.swap(false, Ordering::Relaxed) {
                slot.is_owed.store(true, Ordering::Relaxed);
            }
            Box::pin(self.order(slot, held, row, install)).await?;
        } else if is_due(plan.ask_at) {
            Box::pin(self.ask(slot, held, row)).await?;
        }
        Ok(())
    }

    /// Nothing is done while another gateway is making the account.
    async fn order(
        &self,
        slot: &Slot,
        held: &Held<'_>,
        row: &mut Row,
        install: Install<'_>,
    ) -> Result<(), AcmeError> {
        let name = &slot.certificate.name;
        let _permit = self.orders.acquire().await;
        let _ordering = OrderingGuard::new(slot);
        let Some(open) = self.account().await? else {
            return Ok(());
        };
        let own = row.certificate.as_ref();
        let own = own.filter(|it| it.directory_url == self.config.directory_url.as_str());
        let replaces = own.and_then(|_| slot.installed()?.issued.identifier());
        let order = OneOrder {
            acme: self,
            certificate: &slot.certificate,
            held,
            open: &open,
            replaces,
        };
        let ordered = timeout(self.config.times.order, order.run(row)).await;
        let (stored, issued) = match ordered.unwrap_or(Err(AcmeError::Timeout)) {
            Err(error) if error.is_kind("accountDoesNotExist") => {
                self.forget_account().await?;
                return Err(error);
            }
            ordered => ordered?,
        };
        *row = Row {
            certificate: Some(stored.clone()),
            ..Row::default()
        };
        held.put(&row.to_text()).await?;
        self.metrics.ordered(name, "issued").inc();
        self.metrics.set_failures(name, 0);
        tracing::info!(target: "quartet", certificate = &**name,
            not_after = issued.not_after().to_rfc3339(), "certificate issued");
        let issued = Arc::new(issued);
        install_for(slot, Installed { issued, stored }, install);
        Ok(())
    }

    /// Asks the authority when to renew (RFC 9773). An error changes nothing but the next time.
    async fn ask(&self, slot: &Slot, held: &Held<'_>, row: &mut Row) -> Result<(), AcmeError> {
        let Some(installed) = slot.installed() else {
            return Ok(());
        };
        let asked = async {
            match self.account().await? {
                Some(open) => ask_window(&open, &installed.issued).await,
                None => Ok(Suggestion::Later),
            }
        };
        let (now, interval) = (self.clock.now(), self.config.times.renewal_check);
        row.renewal = Some(match asked.await {
            Ok(Suggestion::Later) => return Ok(()),
            Ok(Suggestion::Window(window, explanation_url, retry_after)) => {
                let before = row.renewal.as_ref().and_then(|renewal| renewal.window);
                if before != Some(window) {
                    tracing::info!(target: "quartet", certificate = &*slot.certificate.name,
                        window_start = window.start.to_rfc3339(), window_end = window.end.to_rfc3339(),
                        explanation_url, "the authority suggests when to renew");
                }
                Renewal {
                    window: Some(window),
                    explanation_url,
                    ask_at: schedule::ask_at(now, interval, Some(retry_after)),
                }
            }
            // It has no such service, or does not know the certificate.
            Ok(Suggestion::None) => Renewal {
                window: None,
                explanation_url: None,
                ask_at: schedule::ask_at(now, interval, Some(NO_SERVICE)),
            },
            Err(error) => {
                tracing::warn!(target: "quartet", certificate = &*slot.certificate.name,
                    error = causes(&error), "the authority did not say when to renew");
                let before = row.renewal.take();
                Renewal {
                    window: before.and_then(|before| before.window),
                    explanation_url: None,
                    ask_at: schedule::ask_at(now, interval, error.retry_after()),
                }
            }
        });
        held.put(&row.to_text()).await
    }

    /// Notes a failure where all gateways see it.
    ///
    /// # Errors
    /// When the store is away.
    async fn failed(
        &self,
        slot: &Slot,
        held: &Held<'_>,
        mut row: Row,
        error: &AcmeError,
    ) -> Result<(), AcmeError> {
        let name = &slot.certificate.name;
        self.metrics.ordered(name, error.outcome()).inc();
        let now = self.clock.now();
        let left = slot.installed().map(|installed| {
            let left = installed.issued.not_after() - now;
            left.to_std().unwrap_or_default()
        });
        let failures = row
            .failure
            .as_ref()
            .map_or(0, |failure| failure.count)
            .saturating_add(1);
        let attempt = FailedAttempt {
            failures,
            is_refusal: matches!(error, AcmeError::Refused(_)),
            retry_after: error.retry_after(),
            left,
        };
        let pause = attempt.pause(self.config.times.retry, schedule::random_place());
        let text = causes(error);
        tracing::error!(target: "quartet", certificate = &**name, error = text, failures,
            retry_in_ms = pause.as_millis(), in_use = left.is_some(),
            "no new certificate; the one in use stays");
        let failure = Failure {
            count: failures,
            outcome: error.outcome().to_owned(),
            error: shortened(&text),
            at: now,
            retry_at: now + schedule::delta(pause),
        };
        row.failure = Some(failure);
        slot.note(&row, None);
        self.metrics.set_failures(name, failures);
        if matches!(error, AcmeError::LeaseLost) {
            // What the other gateway writes counts.
            return Ok(());
        }
        held.put(&row.to_text()).await
    }

    /// What is in use stays in use, and nothing is ordered.
    fn store_failed(&self, slot: &Slot, error: &AcmeError) -> Duration {
        self.note_store(Some(error));
        slot.known().status.error = Some(shortened(&causes(error)));
        self.config.times.poll.min(SOON)
    }

    /// Says once that the store is away, and that it is back.
    fn note_store(&self, error: Option<&AcmeError>) {
        let is_up = error.is_none();
        let mut known = self
            .store_is_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.metrics.set_store_up(self.store.kind(), is_up);
        if known.replace(is_up) == Some(is_up) {
            return;
        }
        let store = self.store.kind();
        match error {
            None => {
                tracing::info!(target: "quartet", store, "the store of the certificates is available");
            }
            Some(error) => tracing::error!(target: "quartet", store, error = causes(error),
                "the store of the certificates is unavailable; those in use stay"),
        }
    }

    pub(super) fn plan(&self, slot: &Slot, row: &Row) -> Plan {
        let now = self.clock.now();
        let is_asked = slot.is_asked.load(Ordering::Relaxed);
        let stored = row.certificate.as_ref();
        let is_wanted = stored.is_some_and(|stored| {
            stored.profile == slot.certificate.profile
                && stored.directory_url == self.config.directory_url.as_str()
        });
        if is_asked {
            return Plan {
                renew_at: Some(now),
                ask_at: None,
            };
        }
        let is_owed = slot.is_owed.load(Ordering::Relaxed);
        if slot.known().unusable.is_some() && !is_owed {
            // It may be of use to the other gateways, whose key this one lacks: none is ordered until an
            // operator says so.
            return Plan::default();
        }
        let retry_at = row.failure.as_ref().map(|failure| failure.retry_at);
        let installed = slot
            .installed()
            .filter(|installed| is_wanted && installed.issued.covers(&slot.certificate.hosts));
        let Some(installed) = installed else {
            return Plan {
                renew_at: Some(retry_at.unwrap_or(now)),
                ask_at: None,
            };
        };
        let issued = &installed.issued;
        let renewal = row.renewal.as_ref();
        let window = renewal.and_then(|renewal| renewal.window);
        let place = schedule::place_of(&issued.fingerprint);
        let earliest = schedule::not_again_before(installed.stored.issued_at, issued.validity);
        let renew_at = if is_owed {
            now
        } else {
            issued.validity.renew_at(window, place).max(earliest)
        };
        let ask_at = renewal.map_or(now, |renewal| renewal.ask_at);
        let after_pause =
            |at: DateTime<Utc>| Some(retry_at.map_or(at, |retry_at| retry_at.max(at)));
        Plan {
            renew_at: after_pause(renew_at),
            ask_at: after_pause(ask_at).filter(|_| issued.identifier().is_some()),
        }
    }

    /// Installs another certificate than before. One that cannot be used changes nothing.
    pub(super) fn install_stored(&self, slot: &Slot, row: &Row, install: Install<'_>) {
        let stored = row.certificate.as_ref();
        let stored = stored.filter(|stored| {
            let installed = slot.installed();
            installed.is_none_or(|installed| installed.stored != **stored)
        });
        let Some(stored) = stored else {
            slot.known().unusable = None;
            return;
        };
        let name = &slot.certificate.name;
        let opened = self.sealer.open(name, &stored.key);
        let parsed = opened.and_then(|key| Issued::parse(&stored.chain, &key));
        match parsed {
            Ok(issued) => {
                let installed = Installed {
                    issued: Arc::new(issued),
                    stored: stored.clone(),
                };
                install_for(slot, installed, install);
                slot.known().unusable = None;
            }
            Err(error) => {
                let text = shortened(&causes(&error));
                let before = slot.known().unusable.replace(text.clone());
                if before.as_ref() != Some(&text) {
                    tracing::error!(target: "quartet", certificate = &**name, error = text,
                        "the stored certificate cannot be used");
                }
            }
        }
    }
}

fn install_for(slot: &Slot, installed: Installed, install: Install<'_>) {
    use_for(slot, &installed.issued, install);
    let not_after = installed.issued.not_after().to_rfc3339();
    tracing::info!(target: "quartet", certificate = &*slot.certificate.name, not_after,
        "certificate in use");
    slot.known().installed = Some(installed);
    slot.is_owed.store(false, Ordering::Relaxed);
}

fn use_for(slot: &Slot, issued: &Issued, install: Install<'_>) {
    let hosts = slot.certificate.hosts.iter();
    let names: Vec<String> = hosts
        .filter(|host| issued.names.contains(host))
        .cloned()
        .collect();
    install(&slot.certificate.name, names, issued);
}

/// Of the row in the store; the account and the challenges have names of another form.
fn row_name(certificate: &str) -> String {
    format!("certificate-{certificate}")
}

/// An order is shown as being under way until it is dropped.
struct OrderingGuard<'s>(&'s Slot);

impl<'s> OrderingGuard<'s> {
    fn new(slot: &'s Slot) -> Self {
        slot.known().status.is_ordering = true;
        Self(slot)
    }
}

impl Drop for OrderingGuard<'_> {
    fn drop(&mut self) {
        self.0.known().status.is_ordering = false;
    }
}
