//! What pages, programs and operators are shown of certificates.

use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};

use super::{Acme, AcmeStatuses, Slot, row::Row, status::AcmeStatus};

impl Slot {
    /// Notes what the store has.
    pub(super) fn note(&self, row: &Row, renew_at: Option<DateTime<Utc>>) {
        let status = &mut self.known().status;
        let failure = row.failure.as_ref();
        status.failures = failure.map_or(0, |failure| failure.count);
        status.error = failure.map(|failure| failure.error.clone());
        status.retry_at = failure.map(|failure| failure.retry_at);
        status.renew_at = renew_at.or(status.retry_at);
    }

    /// One that cannot be used is as good as one that is not issued.
    pub(super) fn failures(&self) -> u32 {
        let known = self.known();
        known.status.failures.max(known.unusable.is_some().into())
    }

    fn status(&self, now: DateTime<Utc>) -> AcmeStatus {
        let known = self.known().clone();
        let not_after = known
            .installed
            .map(|installed| installed.issued.not_after());
        let state = match not_after {
            _ if known.status.is_ordering => "ordering",
            None => "missing",
            Some(not_after) if not_after <= now => "expired",
            Some(_) => "valid",
        };
        AcmeStatus {
            hosts: self.certificate.hosts.clone(),
            state: state.to_owned(),
            not_after,
            renew_at: known.status.renew_at,
            failures: known.status.failures.max(known.unusable.is_some().into()),
            error: match (known.unusable, known.status.error) {
                (Some(unusable), Some(error)) => {
                    Some(format!("{unusable}; the last order failed: {error}"))
                }
                (unusable, error) => unusable.or(error),
            },
            retry_at: known.status.retry_at,
        }
    }
}

impl Acme {
    pub(crate) fn statuses(&self) -> AcmeStatuses {
        let now = self.clock.now();
        let slots = self.slots.iter();
        let statuses = slots.map(|slot| (slot.certificate.name.clone(), slot.status(now)));
        statuses.collect()
    }

    /// Renews a certificate now, whatever the authority suggests; if asked for, with another account in place
    /// of the one in the store. False: there is none of this name.
    pub(crate) fn renew(&self, name: &str, new_account: bool) -> bool {
        let slot = self
            .slots
            .iter()
            .find(|slot| *slot.certificate.name == *name);
        if let Some(slot) = slot {
            if new_account {
                self.asks_account.store(true, Ordering::Relaxed);
            }
            slot.is_asked.store(true, Ordering::Relaxed);
            slot.wake.notify_one();
        }
        slot.is_some()
    }

    /// What operators should know; errors are in the statuses.
    pub(crate) fn notices(&self) -> Vec<String> {
        let now = self.clock.now();
        let notice = |slot: &Slot| {
            let (name, status) = (&slot.certificate.name, slot.status(now));
            let effect = match (status.state.as_str(), status.not_after) {
                (_, None) => "there is none, so connections to its hosts are refused".to_owned(),
                (_, Some(not_after)) if not_after <= now => "the one in use has expired".to_owned(),
                (_, Some(not_after)) => format!("the one in use is valid until {not_after}"),
            };
            let failed = match status.failures {
                0 => "",
                _ => "orders fail; ",
            };
            let is_fine = failed.is_empty() && status.not_after.is_some_and(|at| at > now);
            (!is_fine).then(|| format!("certificate {name}: {failed}{effect}"))
        };
        self.slots.iter().filter_map(notice).collect()
    }
}
