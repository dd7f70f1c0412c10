//! Publishing, and delivering what was published.
//!
//! ```text
//! written, no position --number--> position > cursor --deliver--> position <= cursor --> purged
//!   (order of inserts)              (order of delivery)   |
//!                                                         +--> retry ... --> delivered
//!                                                         `--> dead letter after `max_tries`,
//!                                                              or after `max_wait_seconds`
//! ```
//!
//! Invariants:
//! - Positions are given after the commit, in one place at a time (the lock of `outbox_head`), and in
//!   the order of the inserts. A cursor over the order of the inserts would skip an event whose
//!   transaction commits after a later one; and one over the horizon of running transactions
//!   would wait for the longest of them anywhere in the cluster.
//! - A transaction that publishes while it holds the lock of the subject's row does so after the
//!   previous one has committed: a statement that sees the second event sees the first, too, which
//!   was inserted first. So positions follow the order of each subject.
//! - A replica delivers to a consumer only while it has the lease of the cursor, and moves the cursor
//!   only if it still has it. One that stalls can deliver an event once more, never too early:
//!   the next holder of the lease begins at the same cursor.
//! - No connection to Postgres is held during a request to a consumer.
//! - An event at which the consumer fails with 500 becomes a dead letter only if the consumer has
//!   applied another one since it was published, or once it is `max_wait_seconds` old. A consumer with a
//!   missing grant fails at every event, and nothing is wrong with them.

mod metrics;
mod round;
mod send;
mod store;
mod stream;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32},
    },
    time::Duration,
};

use quartet_common::clock::Clock;
use quartet_db::{Rounds, rounds};
use quartet_jobs::{Job, Runner};
use quartet_telemetry::{current_request, metrics::Metrics};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;

use crate::{
    dead_letters,
    event::{MAX_DATA_BYTES, NewEvent},
    settings::Delivery,
};
use metrics::{ConsumerMetrics, OutboxMetrics};
use stream::Stream;
use url::Url;

const PURGE_BATCH: i64 = 1000;

/// The outbox of a service. Clones share everything.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

struct Inner {
    db: PgPool,
    clock: Clock,
    source: String,
    delivery: Delivery,
    client: reqwest::Client,
    metrics: OutboxMetrics,
    targets: Vec<ConsumerTarget>,
}

/// Why nothing was delivered to a consumer. The next run tries again.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// Says nothing about the events: none counts as tried.
    #[error("{consumer} does not accept events now: {reason}")]
    Away {
        consumer: &'static str,
        reason: String,
    },
}

/// A consumer, as the dispatcher of this replica knows it.
struct ConsumerTarget {
    name: &'static str,
    job: &'static str,
    route: Route,
    wake: Arc<Notify>,
    series: ConsumerMetrics,
    /// Events per request: fewer after a refused batch, to find the one that it was refused for.
    limit: AtomicU32,
    /// When the consumer has applied an event of this replica, in milliseconds.
    applied_at: AtomicI64,
}

/// How events reach a consumer.
enum Route {
    Http(Url),
    /// For the outbox, the stream is the only consumer.
    Nats(Box<Stream>),
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbox")
    }
}

/// An event that is stored, if its transaction commits.
#[must_use = "wake the dispatcher after the commit"]
#[derive(Debug)]
pub struct PublishedEvent(Outbox);

impl PublishedEvent {
    /// Has the event delivered now. Without this, the next poll of the dispatcher finds it.
    pub fn wake(self) {
        for target in &self.0.0.targets {
            target.wake.notify_one();
        }
    }
}

impl Outbox {
    /// The outbox of `service`, in the schema that the connections of `db` use.
    ///
    /// # Errors
    /// When no client for HTTP can be created.
    pub fn new(
        service: &str,
        delivery: Delivery,
        db: PgPool,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(delivery.request_timeout_seconds))
            .redirect(reqwest::redirect::Policy::none())
            // Events name users, and consumers are services of this system.
            .no_proxy()
            .build()?;
        let metrics = OutboxMetrics::register(metrics, delivery.max_wait_seconds);
        let source = format!("/v1/{service}");
        let target = |(name, job, route)| ConsumerTarget {
            name,
            job,
            route,
            wake: Arc::default(),
            series: metrics.series(name),
            limit: AtomicU32::new(delivery.batch_events),
            applied_at: AtomicI64::new(i64::MIN),
        };
        let timeout = Duration::from_secs(delivery.request_timeout_seconds);
        let nats = delivery.nats.iter().map(|nats| {
            let stream = Stream::new(nats.clone(), &source, timeout);
            ("nats", "events_nats", Route::Nats(Box::new(stream)))
        });
        let http = delivery.consumers.iter();
        let http = http.map(|it| (it.name, it.job, Route::Http(it.url.clone())));
        let targets = nats.chain(http).map(target).collect();
        Ok(Self(Arc::new(Inner {
            db,
            clock,
            source,
            delivery,
            client,
            metrics,
            targets,
        })))
    }

    /// Stores an event in the transaction `tx`, which also does what the event is about.
    ///
    /// # Errors
    /// When the database fails, or the data is longer than 16 KiB.
    pub async fn publish(
        &self,
        tx: &mut PgConnection,
        event: NewEvent,
    ) -> Result<PublishedEvent, sqlx::Error> {
        if event.data.to_string().len() > MAX_DATA_BYTES {
            let text = format!("the data of an event is longer than {MAX_DATA_BYTES} bytes");
            return Err(sqlx::Error::Encode(text.into()));
        }
        let clock = &self.0.clock;
        let trace = current_request().map(|request| request.trace.header());
        let trace = trace.as_ref().and_then(|value| value.to_str().ok());
        store::insert(tx, clock.uuid_v7(), &event, clock.now(), trace).await?;
        self.0.metrics.published.inc();
        Ok(PublishedEvent(self.clone()))
    }

    /// Starts one job per consumer, so that one that is away keeps no other waiting, and the purge.
    pub fn start(&self, runner: &mut Runner) {
        let period = Duration::from_millis(self.0.delivery.poll_interval_ms);
        for (index, target) in self.0.targets.iter().enumerate() {
            let this = self.clone();
            let job = Job::periodic(target.job, period, move |run| {
                let this = this.clone();
                async move { this.0.deliver(index, Some(&run)).await }
            });
            runner.start(job.immediately().wake_on(Arc::clone(&target.wake)));
        }
    }

    /// Delivers to every consumer until nothing is due.
    ///
    /// # Errors
    /// When the database or a consumer fails; the other consumers have still been served.
    pub async fn deliver_once(&self) -> Result<(), DeliveryError> {
        let mut outcome = Ok(());
        for index in 0..self.0.targets.len() {
            let delivered = self.0.deliver(index, None).await;
            outcome = outcome.and(delivered);
        }
        outcome
    }

    /// Deletes events that are delivered for longer than `retention_seconds`, dead letters after 30
    /// days, and without consumers what has waited for `max_wait_seconds`. `stopping` ends it between
    /// two rounds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge(&self, stopping: &(dyn Fn() -> bool + Sync)) -> Result<(), sqlx::Error> {
        let (now, delivery) = (self.0.clock.now(), &self.0.delivery);
        let before = |seconds| now - Duration::from_secs(seconds);
        let (delivered, unwanted) = (
            before(delivery.retention_seconds),
            before(delivery.max_wait_seconds),
        );
        let rounds = Rounds {
            db: &self.0.db,
            limit: PURGE_BATCH,
            stopping,
        };
        let dead = now - dead_letters::KEPT;
        rounds!(rounds, |db, limit| store::purge_dead(db, dead, limit));
        let targets = self.0.targets.iter();
        let consumers: Vec<&str> = targets.map(|target| target.name).collect();
        let consumers = &consumers[..];
        rounds!(rounds, |db, limit| store::purge(
            db, consumers, delivered, limit
        ));
        // Without consumers, no cursor says what is delivered.
        if consumers.is_empty() {
            let events = rounds!(rounds, |db, limit| store::purge_unwanted(
                db, unwanted, limit
            ));
            if events > 0 {
                tracing::warn!(events, "events without a consumer deleted");
            }
        }
        Ok(())
    }

    /// What operators should know, for `/ready`.
    pub fn notices(&self) -> Vec<String> {
        if self.0.targets.is_empty() {
            return vec!["no consumer is configured: events are kept".to_owned()];
        }
        let dead = self.0.targets.iter().filter_map(|target| {
            let count = target.series.backlog.dead.get();
            let name = target.name;
            (count > 0).then(|| format!("{name}: {count} dead letters"))
        });
        dead.collect()
    }
}
