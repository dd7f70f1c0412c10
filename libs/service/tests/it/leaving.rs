//! Clients that leave, processes that die, claims that are lost.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, middleware::from_fn_with_state, routing::post};
use chrono::{TimeDelta, TimeZone, Utc};
use quartet_auth::jwt::JwtVerifier;
use quartet_common::{clock::Clock, problem::Problem};
use quartet_service::idempotency::{Idempotency, IdempotencyKey, WholeResponse, idempotent};
use quartet_testing::{
    Issuer, TestDatabase,
    server::{Gate, RunningServer, start},
};
use reqwest::{Response, StatusCode};
use sqlx::PgPool;
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

/// What several replicas share.
struct World {
    clock: Clock,
    verifier: JwtVerifier,
    url: String,
    pool: PgPool,
    _database: TestDatabase,
}

struct Replica {
    running: RunningServer,
    /// Before the transaction of the work.
    before: Gate,
    /// After its commit.
    after: Gate,
}

#[derive(Clone)]
struct Work {
    pool: PgPool,
    before: Option<Gate>,
    after: Option<Gate>,
}

/// Where a replica stops until the test opens the gate.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Before,
    After,
    Nowhere,
}

async fn work(
    State(work): State<Work>,
    idempotency_key: IdempotencyKey,
) -> Result<WholeResponse, Problem> {
    let reply = idempotency_key.reply(|id: &i64| WholeResponse::json(StatusCode::CREATED, [], id));
    if let Some(gate) = work.before {
        gate.pass().await;
    }
    let mut tx = quartet_db::begin(&work.pool)
        .await
        .map_err(quartet_db::problem)?;
    let insert = "INSERT INTO works DEFAULT VALUES RETURNING id";
    let id: i64 = sqlx::query_scalar(insert)
        .fetch_one(&mut *tx)
        .await
        .map_err(quartet_db::problem)?;
    reply
        .keep(&mut tx, &id)
        .await
        .map_err(quartet_db::problem)?;
    tx.commit().await.map_err(quartet_db::problem)?;
    if let Some(gate) = work.after {
        gate.pass().await;
    }
    Ok(reply.answer(&id))
}

/// Work whose response the layer keeps.
async fn aside(State(work): State<Work>) -> StatusCode {
    if let Some(gate) = work.before {
        gate.pass().await;
    }
    StatusCode::CREATED
}

impl World {
    async fn new() -> Self {
        let database = TestDatabase::empty("core").await;
        let pool = PgPool::connect(&database.url()).await.unwrap();
        let mut owner = database.connect_as_owner().await;
        let ddl = include_str!("../../src/idempotency.sql");
        sqlx::raw_sql(ddl).execute(&mut owner).await.unwrap();
        let works = "CREATE TABLE works (id bigint GENERATED ALWAYS AS IDENTITY)";
        sqlx::raw_sql(works).execute(&mut owner).await.unwrap();
        let clock = Clock::manual(Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap());
        let issuer = Issuer::new(clock.clone());
        let settings = issuer.settings(issuer.serve().await);
        Self {
            verifier: JwtVerifier::new(&settings, clock.clone()).unwrap(),
            clock,
            url: database.url(),
            pool,
            _database: database,
        }
    }

    /// A replica that runs on `runtime`, or on that of the test.
    async fn replica(
        &self,
        stop: Stop,
        time_limit: Duration,
        runtime: Option<&Runtime>,
    ) -> Replica {
        let (before, after) = (Gate::default(), Gate::default());
        let (url, clock, verifier) = (self.url.clone(), self.clock.clone(), self.verifier.clone());
        let (first, second) = (before.clone(), after.clone());
        let run = async move {
            let pool = PgPool::connect(&url).await.unwrap();
            let state = Idempotency {
                db: pool.clone(),
                clock,
                verifier,
                hash_keys: vec![[7; 32]],
                time_limit,
                detached: TaskTracker::new(),
            };
            let work_state = Work {
                pool,
                before: (stop == Stop::Before).then_some(first),
                after: (stop == Stop::After).then_some(second),
            };
            let panics = post(async || -> StatusCode { panic!("on purpose") });
            let router = Router::new()
                .route("/work", post(work))
                .route("/aside", post(aside))
                .with_state(work_state)
                .route("/panic", panics)
                .route_layer(from_fn_with_state(state, idempotent));
            start(router, |_| {}).await
        };
        let running = match runtime {
            Some(runtime) => runtime.spawn(run).await.unwrap(),
            None => run.await,
        };
        Replica {
            running,
            before,
            after,
        }
    }

    async fn normal(&self, stop: Stop) -> Replica {
        self.replica(stop, Duration::from_secs(20), None).await
    }

    async fn works(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM works")
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }
}

impl Replica {
    async fn post(&self, path: &str) -> Response {
        reqwest::Client::new()
            .post(self.running.url(path))
            .header("idempotency-key", "k")
            .send()
            .await
            .unwrap()
    }

    /// Sends the request and leaves once the handler has come to `gate`.
    async fn post_and_leave(&self, gate: &Gate) {
        tokio::select! {
            _ = self.post("/work") => panic!("the gate is closed"),
            () = gate.entered.notified() => {}
        }
    }
}

fn retry_after(response: &Response) -> u64 {
    let value = &response.headers()["retry-after"];
    value.to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_request_whose_client_leaves_is_finished() {
    let world = World::new().await;
    let replica = world.normal(Stop::Before).await;
    replica.post_and_leave(&replica.before).await;
    let second = replica.post("/work").await;
    assert_eq!(second.status(), 409, "still running");
    assert!((1..=5).contains(&retry_after(&second)));

    replica.before.leave.notify_one();
    let mut again = replica.post("/work").await;
    while again.status() == 409 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        again = replica.post("/work").await;
    }
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(world.works().await, 1);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_undone_and_frees_its_key() {
    let world = World::new().await;
    let limit = Duration::from_millis(200);
    let slow = world.replica(Stop::Before, limit, None).await;
    assert_eq!(slow.post("/work").await.status(), 503);
    assert_eq!(world.works().await, 0);
    let fast = world.normal(Stop::Nowhere).await;
    assert_eq!(fast.post("/work").await.status(), 201);
}

#[tokio::test]
async fn a_panic_frees_the_key() {
    let world = World::new().await;
    let replica = world.normal(Stop::Nowhere).await;
    for _ in 0..2 {
        assert_eq!(replica.post("/panic").await.status(), 500);
    }
}

#[test]
fn work_that_was_committed_by_a_dead_process_is_not_repeated() {
    let test = Runtime::new().unwrap();
    test.block_on(async {
        let world = World::new().await;
        let process = Runtime::new().unwrap();
        let dying = world
            .replica(Stop::After, Duration::from_secs(20), Some(&process))
            .await;
        dying.post_and_leave(&dying.after).await;
        process.shutdown_background();

        let replica = world.normal(Stop::Nowhere).await;
        let again = replica.post("/work").await;
        assert_eq!(again.status(), 201, "at once");
        assert_eq!(again.headers()["idempotency-replayed"], "true");
        assert_eq!(world.works().await, 1);
    });
}

#[test]
fn the_key_of_a_dead_process_is_free_when_retry_after_says_so() {
    let test = Runtime::new().unwrap();
    test.block_on(async {
        let world = World::new().await;
        let process = Runtime::new().unwrap();
        let dying = world
            .replica(Stop::Before, Duration::from_secs(20), Some(&process))
            .await;
        dying.post_and_leave(&dying.before).await;
        process.shutdown_background();

        let replica = world.normal(Stop::Nowhere).await;
        world.clock.advance(TimeDelta::milliseconds(1500));
        let refused = replica.post("/work").await;
        assert_eq!((refused.status().as_u16(), retry_after(&refused)), (409, 4));
        world.clock.advance(TimeDelta::seconds(4));
        assert_eq!(replica.post("/work").await.status(), 201);
        assert_eq!(world.works().await, 1);
    });
}

/// The same where the response is kept after the work, not with it.
#[tokio::test]
async fn the_response_of_a_lost_claim_is_not_sent() {
    let world = Arc::new(World::new().await);
    let late = Arc::new(world.normal(Stop::Before).await);
    let waiting = tokio::spawn({
        let late = Arc::clone(&late);
        async move { late.post("/aside").await }
    });
    late.before.entered.notified().await;
    // As another replica would, whose clock is ahead.
    let other = "UPDATE idempotency_keys SET claim = gen_random_uuid()";
    sqlx::query(other).execute(&world.pool).await.unwrap();
    late.before.leave.notify_one();
    assert_eq!(waiting.await.unwrap().status(), 409);
}

/// A replica that could not renew its claim, because it was suspended or had no database.
#[tokio::test]
async fn work_under_a_lost_claim_is_undone() {
    let world = Arc::new(World::new().await);
    let late = Arc::new(world.normal(Stop::Before).await);
    let waiting = tokio::spawn({
        let late = Arc::clone(&late);
        async move { late.post("/work").await }
    });
    late.before.entered.notified().await;
    world.clock.advance(TimeDelta::seconds(6));
    let other = world.normal(Stop::Nowhere).await;
    assert_eq!(other.post("/work").await.status(), 201);

    late.before.leave.notify_one();
    assert_eq!(waiting.await.unwrap().status(), 409);
    assert_eq!(world.works().await, 1);
    let replayed = late.post("/work").await;
    assert_eq!(replayed.headers()["idempotency-replayed"], "true");
}
