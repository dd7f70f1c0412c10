//! A publisher and a consumer in one database, which have nothing else in common.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use http::StatusCode;
use quartet_common::clock::Clock;
use quartet_events::{
    ApplyError, Consumer, Delivery, Endpoint, Event, Inbox, NewEvent, Outbox, Signer,
};
use quartet_telemetry::metrics::Metrics;
use quartet_testing::TestDatabase;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use tokio::net::TcpListener;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const MAX_TRIES: u32 = 3;
const TIMEOUT: Duration = Duration::from_secs(20);
const TABLES: [&str; 3] = [
    include_str!("../../outbox.sql"),
    include_str!("../../inbox.sql"),
    "CREATE TABLE subjects (id text PRIMARY KEY, last bigint NOT NULL DEFAULT 0);
     CREATE TABLE effects (subject text NOT NULL, number bigint NOT NULL, expected bigint NOT NULL)",
];

pub(crate) struct Place {
    pub(crate) database: TestDatabase,
    pub(crate) db: PgPool,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let database = TestDatabase::empty("core").await;
        let mut owner = database.connect_as_owner().await;
        for tables in TABLES {
            sqlx::raw_sql(tables).execute(&mut owner).await.unwrap();
        }
        let db = PgPool::connect(&database.url()).await.unwrap();
        Self {
            database,
            db,
            clock: Clock::manual(DateTime::<Utc>::from(SystemTime::now())),
            metrics: Metrics::new("test"),
        }
    }

    pub(crate) fn outbox(&self, consumer: SocketAddr) -> Outbox {
        self.outbox_with(consumer, |_| {})
    }

    pub(crate) fn outbox_with(
        &self,
        consumer: SocketAddr,
        change: impl FnOnce(&mut Delivery),
    ) -> Outbox {
        let mut delivery = delivery(consumer);
        change(&mut delivery);
        let (db, clock) = (self.db.clone(), self.clock.clone());
        Outbox::new("core", delivery, db, clock, &self.metrics).unwrap()
    }

    /// A consumer on a loopback port.
    pub(crate) async fn consumer(&self, consumer: Counting) -> Served {
        let inbox = self.inbox(consumer);
        Served::start(inbox.router()).await
    }

    pub(crate) fn inbox(&self, consumer: Counting) -> Inbox {
        let signer = Signer::new(&SECRET.into());
        let (db, clock) = (self.db.clone(), self.clock.clone());
        Inbox::new(db, clock, signer, &Metrics::new("consumer"), consumer)
    }

    /// Publishes the next event of a subject, in the transaction that counts it.
    pub(crate) async fn publish(&self, outbox: &Outbox, subject: &str) -> i64 {
        let mut tx = quartet_db::begin(&self.db).await.unwrap();
        let number = next(&mut tx, subject).await;
        let published = outbox
            .publish(&mut tx, event(subject, number))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        published.wake();
        number
    }

    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.db).await.unwrap()
    }

    /// The numbers of the effects of a subject, in their order.
    pub(crate) async fn effects(&self, subject: &str) -> Vec<i64> {
        sqlx::query_scalar("SELECT number FROM effects WHERE subject = $1 ORDER BY ctid")
            .bind(subject)
            .fetch_all(&self.db)
            .await
            .unwrap()
    }

    /// Asserts that every published event had its effect once, and in the order of its subject.
    pub(crate) async fn assert_all_once_in_order(&self) {
        let disordered = self
            .number("SELECT count(*) FROM effects WHERE number <> expected")
            .await;
        assert_eq!(disordered, 0, "effects out of order");
        let wrong = self
            .number(
                "SELECT count(*) FROM subjects AS s WHERE s.last <> (
                     SELECT count(*) FROM effects AS e WHERE e.subject = s.id)",
            )
            .await;
        assert_eq!(wrong, 0, "subjects with too few or too many effects");
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.clock.advance(TimeDelta::seconds(seconds));
    }

    pub(crate) fn metric(&self, start: &str) -> String {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("{start} in {text}"));
        line.rsplit(' ').next().unwrap().to_owned()
    }
}

pub(crate) fn delivery(consumer: SocketAddr) -> Delivery {
    Delivery {
        signer: Signer::new(&SECRET.into()),
        nats: None,
        consumers: vec![Endpoint {
            name: "media",
            job: "events_media",
            url: format!("http://{consumer}/").parse().unwrap(),
        }],
        poll_interval_ms: 60_000,
        request_timeout_seconds: 5,
        batch_events: 10,
        batch_bytes: 48 * 1024,
        max_tries: MAX_TRIES,
        max_wait_seconds: 30 * 86_400,
        retention_seconds: 3600,
    }
}

/// Locks the subject, as every transaction does that publishes its events.
pub(crate) async fn next(tx: &mut PgConnection, subject: &str) -> i64 {
    sqlx::query_scalar(
        "INSERT INTO subjects (id, last) VALUES ($1, 1)
         ON CONFLICT (id) DO UPDATE SET last = subjects.last + 1 RETURNING last",
    )
    .bind(subject)
    .fetch_one(tx)
    .await
    .unwrap()
}

pub(crate) fn event(subject: &str, number: i64) -> NewEvent {
    NewEvent {
        kind: "subject.counted",
        subject: subject.to_owned(),
        data: json!({ "number": number }),
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, waiting).await.unwrap();
}

/// Writes a row per event, and what it should have been.
#[derive(Clone, Default)]
pub(crate) struct Counting {
    /// Subjects whose events are rejected, or cause a panic.
    pub(crate) broken: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
    /// Called in the transaction of the effect.
    pub(crate) inside: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Counting {
    pub(crate) fn broken(subject: &'static str, how: &'static str) -> Self {
        let this = Self::default();
        this.broken.lock().unwrap().push((subject, how));
        this
    }
}

impl Consumer for Counting {
    fn kinds(&self) -> &'static [&'static str] {
        &["subject.counted"]
    }

    fn apply<'a>(
        &'a self,
        db: &'a mut PgConnection,
        event: &'a Event,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        let broken = self.broken.lock().unwrap().clone();
        let how = broken
            .into_iter()
            .find(|(subject, _)| *subject == event.subject)
            .map(|(_, how)| how);
        Box::pin(async move {
            sqlx::query(
                "INSERT INTO effects SELECT $1, $2,
                     1 + (SELECT coalesce(max(number), 0) FROM effects WHERE subject = $1)",
            )
            .bind(&event.subject)
            .bind(event.data["number"].as_i64())
            .execute(&mut *db)
            .await?;
            if let Some(inside) = &self.inside {
                inside();
            }
            match how {
                Some("panic") => panic!("a bug"),
                Some("constraint") => {
                    let broken = sqlx::query("INSERT INTO effects VALUES (NULL, NULL, NULL)");
                    Ok(broken.execute(db).await.map(drop)?)
                }
                Some(_) => Err(ApplyError::Invalid("is not wanted")),
                None => Ok(()),
            }
        })
    }
}

/// A router on a loopback port, which can be made to fail.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<AtomicUsize>,
    /// The events of each request.
    pub(crate) seen: Arc<Mutex<Vec<Vec<Value>>>>,
    /// What is answered instead, before the request reaches the router.
    pub(crate) instead: Arc<Mutex<Option<StatusCode>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener, router)
    }

    pub(crate) fn start_on(listener: TcpListener, router: Router) -> Self {
        let (requests, seen, instead) =
            <(Arc<AtomicUsize>, Arc<Mutex<_>>, Arc<Mutex<_>>)>::default();
        let (counted, noted, answer) = (
            Arc::clone(&requests),
            Arc::clone(&seen),
            Arc::clone(&instead),
        );
        let look = move |request: Request, next: Next| {
            counted.fetch_add(1, Ordering::SeqCst);
            let (noted, answer) = (Arc::clone(&noted), *answer.lock().unwrap());
            async move { look(request, next, noted, answer).await }
        };
        let router = router.layer(from_fn(look));
        Self {
            address: listener.local_addr().unwrap(),
            requests,
            seen,
            instead,
            task: tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }),
        }
    }

    pub(crate) fn answer(&self, instead: Option<StatusCode>) {
        *self.instead.lock().unwrap() = instead;
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(
    request: Request,
    next: Next,
    noted: Arc<Mutex<Vec<Vec<Value>>>>,
    answer: Option<StatusCode>,
) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    let events = serde_json::from_slice(&bytes).unwrap_or_default();
    noted.lock().unwrap().push(events);
    match answer {
        Some(status) => status.into_response(),
        None => {
            next.run(Request::from_parts(parts, Body::from(bytes)))
                .await
        }
    }
}
