//! Certificates by ACME (RFC 8555), proved by HTTP-01, for any number of gateways.
//!
//! ```text
//!            +--> load --> installed if it is another one --> due? --no--> wait: poll, or until it is due
//! each       |               |                                 | yes
//! certificate|               v                                 v
//!            |         Certificates of the            lease of the store, or wait: another gateway works
//!            |         TLS listener                            |
//!            +-------- written where the lease holds <-- order, or ask when to renew (ARI)
//!
//! validator --> any gateway --> challenges: own, else one read of the store for all who wait
//! ```
//!
//! Invariants:
//! - A certificate in use is replaced by a whole one, or not at all. No failure removes it.
//! - What is written needs a lease whose epoch still holds, so two gateways never write in turn.
//! - Key, chain, suggested window, open order and last failure of a certificate are one row.
//! - A challenge is in the store before the authority hears that it is ready.
//! - Every call has a time-out; whatever fails is tried again after a growing pause.

mod account;
mod challenges;
mod failure;
mod http_client;
mod issued;
mod lease;
mod manager;
mod order;
#[cfg(test)]
mod plan_tests;
mod report;
mod row;
mod schedule;
mod sealer;
mod status;
mod store;
mod suggestion;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use quartet_common::clock::Clock;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::acme::{AcmeConfig, AcmeStore, OrderedCertificate},
    metrics::AcmeMetrics,
};
pub(crate) use challenges::{ChallengeAnswer, Challenges};
use http_client::AcmeHttp;
pub(crate) use issued::Issued;
use row::StoredCertificate;
use sealer::Sealer;
pub(crate) use status::AcmeStatus;
use status::SlotStatus;
use store::Store;

/// Orders of one gateway at the same time.
const ORDERS: usize = 4;

/// The certificates of one configuration.
pub(crate) struct Acme {
    pub(crate) config: AcmeConfig,
    pub(crate) challenges: Challenges,
    /// Of this process, in leases.
    owner: Arc<str>,
    store: Arc<Store>,
    sealer: Sealer,
    http: AcmeHttp,
    slots: Vec<Slot>,
    orders: Semaphore,
    /// A lease keeps other processes out, not the certificates of this one.
    account_turn: tokio::sync::Mutex<()>,
    /// An operator has asked for another account.
    asks_account: AtomicBool,
    /// A reload has put another one in its place.
    retired: CancellationToken,
    /// How many certificates have been looked for in the store.
    tried: watch::Sender<usize>,
    /// Whether the store has answered last; `None`: it was not asked.
    store_is_up: Mutex<Option<bool>>,
    clock: Clock,
    metrics: AcmeMetrics,
}

/// One certificate, and what this process knows of it.
struct Slot {
    certificate: OrderedCertificate,
    known: Mutex<Known>,
    /// An operator has asked to renew it.
    is_asked: AtomicBool,
    /// What was asked for has begun, and has brought no certificate yet: it is tried again after the pause.
    is_owed: AtomicBool,
    wake: Notify,
}

#[derive(Clone, Default)]
struct Known {
    /// In use.
    installed: Option<Installed>,
    /// What the store has, but cannot be used: why.
    unusable: Option<String>,
    status: SlotStatus,
}

#[derive(Clone)]
struct Installed {
    issued: Arc<Issued>,
    /// As the store has it, so that it can be stored again.
    stored: StoredCertificate,
}

impl Acme {
    /// With what `previous`, the one before a reload, has in use.
    ///
    /// # Errors
    /// When no client can be built from the settings.
    pub(crate) fn new(
        config: &AcmeConfig,
        clock: &Clock,
        metrics: &AcmeMetrics,
        previous: Option<&Self>,
    ) -> anyhow::Result<Self> {
        let store = Arc::new(Store::new(&config.store, clock.clone())?);
        let slots = config.certificates.iter();
        let slots = slots.map(|certificate| Slot::new(certificate, previous));
        let owner = previous.map_or_else(
            || clock.uuid_v7().to_string().into(),
            |previous| Arc::clone(&previous.owner),
        );
        let hosts = config.certificates.iter().flat_map(|it| &it.hosts);
        let challenges = Challenges::new(hosts, Arc::clone(&store), metrics);
        if let Some(previous) = previous {
            challenges.keep_those_of(&previous.challenges);
        }
        Ok(Self {
            challenges,
            owner,
            store,
            sealer: Sealer::new(
                &config.encryption_keys,
                matches!(config.store, AcmeStore::Directory(_)),
            ),
            http: AcmeHttp::new(config)?,
            slots: slots.collect(),
            orders: Semaphore::new(ORDERS),
            account_turn: tokio::sync::Mutex::default(),
            asks_account: AtomicBool::new(false),
            retired: CancellationToken::new(),
            tried: watch::Sender::new(0),
            store_is_up: Mutex::default(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            config: config.clone(),
        })
    }

    /// Ends [`keep`](Self::keep): a reload has put `next` in its place.
    pub(crate) fn retire(&self, next: Option<&Self>) {
        self.retired.cancel();
        for slot in &self.slots {
            let name = &slot.certificate.name;
            let mut others = next.iter().flat_map(|next| &next.slots);
            if others.all(|other| other.certificate.name != *name) {
                self.metrics.forget(name);
            }
        }
        let kind = self.store.kind();
        if next.is_none_or(|next| next.store.kind() != kind) {
            self.metrics.forget_store(kind);
        }
    }

    /// All host names.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &String> {
        self.slots.iter().flat_map(|slot| &slot.certificate.hosts)
    }

    /// Waits until every certificate was looked for in the store, so that the first client finds it.
    pub(crate) async fn tried(&self) {
        let mut tried = self.tried.subscribe();
        // The sender lives as long as this does.
        let _ = tried.wait_for(|tried| *tried >= self.slots.len()).await;
    }
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acme").finish_non_exhaustive()
    }
}

impl Slot {
    fn new(certificate: &OrderedCertificate, previous: Option<&Acme>) -> Self {
        let mut before = previous.iter().flat_map(|previous| &previous.slots);
        let before = before.find(|slot| slot.certificate.name == certificate.name);
        let is_owed = before.is_some_and(|slot| {
            // What was asked for is not forgotten by a reload.
            slot.is_asked.load(Ordering::Relaxed) || slot.is_owed.load(Ordering::Relaxed)
        });
        let known = before.map_or_else(Known::default, |slot| slot.known().clone());
        Self {
            certificate: certificate.clone(),
            known: Mutex::new(known),
            is_asked: AtomicBool::new(false),
            is_owed: AtomicBool::new(is_owed),
            wake: Notify::new(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn installed(&self) -> Option<Installed> {
        self.known().installed.clone()
    }
}

/// Names of certificates and what is known of them, for pages and programs.
pub(crate) type AcmeStatuses = BTreeMap<Arc<str>, AcmeStatus>;
