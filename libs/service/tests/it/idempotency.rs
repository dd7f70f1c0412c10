use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, middleware::from_fn_with_state, routing::post};
use chrono::{TimeZone, Utc};
use quartet_auth::jwt::JwtVerifier;
use quartet_common::{clock::Clock, problem::Problem};
use quartet_service::idempotency::{Idempotency, erase, idempotent, purge};
use quartet_testing::{
    Issuer, TestDatabase,
    server::{Gate, RunningServer, start},
};
use serde_json::Value;
use sqlx::PgPool;
use tokio_util::task::TaskTracker;

struct World {
    running: Option<RunningServer>,
    done: Arc<AtomicUsize>,
    gate: Gate,
    pool: PgPool,
    clock: Clock,
    issuer: Issuer,
    verifier: JwtVerifier,
    _database: TestDatabase,
}

async fn world() -> World {
    let database = TestDatabase::empty("core").await;
    let pool = PgPool::connect(&database.url()).await.unwrap();
    let mut owner = database.connect_as_owner().await;
    let ddl = include_str!("../../src/idempotency.sql");
    sqlx::raw_sql(ddl).execute(&mut owner).await.unwrap();
    let clock = Clock::manual(Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap());
    let issuer = Issuer::new(clock.clone());
    let verifier = JwtVerifier::new(&issuer.settings(issuer.serve().await), clock.clone()).unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let gate = Gate::default();
    let mut world = World {
        running: None,
        done,
        gate,
        pool,
        clock,
        issuer,
        verifier,
        _database: database,
    };
    world.running = Some(world.replica(vec![[7; 32]]).await);
    world
}

impl World {
    async fn replica(&self, hash_keys: Vec<[u8; 32]>) -> RunningServer {
        let Self {
            done,
            gate,
            pool,
            clock,
            verifier,
            ..
        } = self;
        let state = Idempotency {
            db: pool.clone(),
            clock: clock.clone(),
            verifier: verifier.clone(),
            hash_keys,
            time_limit: Duration::from_secs(20),
            detached: TaskTracker::new(),
        };
        let (count, count_failed) = (Arc::clone(done), Arc::clone(done));
        let inside = gate.clone();
        let router = Router::new()
            .route(
                "/make",
                post(move || async move {
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    (
                        reqwest::StatusCode::CREATED,
                        [("location", "/made")],
                        number.to_string(),
                    )
                }),
            )
            .route(
                "/fail",
                post(move || async move {
                    count_failed.fetch_add(1, Ordering::SeqCst);
                    Problem::internal(std::io::Error::other("broken"))
                }),
            )
            .route("/echo", post(|body: String| async move { body }))
            .route("/wait", post(move || async move { inside.pass().await }))
            .route_layer(from_fn_with_state(state, idempotent));
        start(router, |_| {}).await
    }

    async fn post(&self, path: &str, key: &str, body: &str) -> reqwest::Response {
        self.request(path, key, body).send().await.unwrap()
    }

    fn request(&self, path: &str, key: &str, body: &str) -> reqwest::RequestBuilder {
        reqwest::Client::new()
            .post(self.running.as_ref().unwrap().url(path))
            .header("idempotency-key", key)
            .body(body.to_owned())
    }
}

#[tokio::test]
async fn the_same_request_is_done_once_and_answered_the_same() {
    let world = world().await;
    let first = world.post("/make", "k1", "a").await;
    assert_eq!(first.status(), 201);
    let second = world.post("/make", "k1", "a").await;
    assert_eq!(second.status(), 201);
    assert_eq!(second.headers()["location"], "/made");
    assert_eq!(second.headers()["idempotency-replayed"], "true");
    assert_eq!(first.text().await.unwrap(), second.text().await.unwrap());
    assert_eq!(world.done.load(Ordering::SeqCst), 1);

    let other = world.post("/make", "k1", "b").await;
    assert_eq!(other.status(), 422);
    let problem: Value = other.json().await.unwrap();
    assert_eq!(problem["code"], "idempotency_key_reused");
    assert_eq!(problem["errors"][0]["parameter"], "idempotency-key");

    let token = world.issuer.token("usr_1");
    let other_caller = world
        .request("/make", "k1", "a")
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(
        other_caller.text().await.unwrap(),
        "1",
        "keys of callers never meet"
    );
}

/// A replica before a change of the key and one after it, side by side.
#[tokio::test]
async fn requests_are_recognized_after_a_change_of_the_hash_key() {
    let world = world().await;
    let before = world.post("/make", "k", "a").await.text().await.unwrap();
    let rotated = world.replica(vec![[8; 32], [7; 32]]).await;
    let post = |body: &'static str| {
        let request = reqwest::Client::new().post(rotated.url("/make"));
        request.header("idempotency-key", "k").body(body).send()
    };
    let again = post("a").await.unwrap();
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.text().await.unwrap(), before);
    assert_eq!(post("b").await.unwrap().status(), 422);
    assert_eq!(world.done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_kept_response_is_sealed() {
    let world = world().await;
    let first = world.post("/echo", "k", "ada@example.com").await;
    assert_eq!(first.text().await.unwrap(), "ada@example.com");
    let stored: Vec<u8> = sqlx::query_scalar("SELECT body FROM idempotency_keys")
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert!(!stored.windows(3).any(|part| part == b"ada"), "{stored:?}");
    let again = world.post("/echo", "k", "ada@example.com").await;
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.text().await.unwrap(), "ada@example.com");
}

#[tokio::test]
async fn a_hundred_at_once_do_the_work_once() {
    let world = world().await;
    let all = (0..100).map(|_| world.request("/make", "race", "a").send());
    let mut created = 0;
    for response in futures_util::future::join_all(all).await {
        let response = response.unwrap();
        match response.status().as_u16() {
            201 => created += 1,
            409 => assert_eq!(response.headers()["retry-after"], "5"),
            status => panic!("{status}"),
        }
    }
    assert!(created >= 1);
    assert_eq!(world.done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_request_in_flight_is_distinguished_from_a_finished_one() {
    let world = world().await;
    let waiting = tokio::spawn(world.request("/wait", "k", "").send());
    world.gate.entered.notified().await;
    let second = world.post("/wait", "k", "").await;
    assert_eq!(second.status(), 409);
    let problem: Value = second.json().await.unwrap();
    assert_eq!(problem["code"], "request_in_flight");
    world.gate.leave.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    assert_eq!(world.post("/wait", "k", "").await.status(), 200);
}

#[tokio::test]
async fn server_errors_are_not_kept_and_old_answers_are_forgotten() {
    let world = world().await;
    assert_eq!(world.post("/fail", "k", "").await.status(), 500);
    assert_eq!(world.post("/fail", "k", "").await.status(), 500);
    assert_eq!(world.done.load(Ordering::SeqCst), 2);

    world.post("/make", "old", "a").await;
    world.clock.advance(chrono::Duration::hours(25));
    let mut db = quartet_db::write(&world.pool).await.unwrap();
    let now = world.clock.now();
    assert_eq!(purge(&mut db, now, 100).await.unwrap(), 1);
    let again = world.post("/make", "old", "other body").await;
    assert_eq!(again.status(), 201);
}

#[tokio::test]
async fn the_keys_of_a_caller_are_erased_in_bounded_steps() {
    let world = world().await;
    for key in ["a", "b", "c"] {
        world.post("/make", key, "a").await;
    }
    let owner = "SELECT DISTINCT principal FROM idempotency_keys";
    let owner: String = sqlx::query_scalar(owner)
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert_eq!(erase(&world.pool, "another", 2).await.unwrap(), 0);
    for erased in [2, 1, 0] {
        assert_eq!(erase(&world.pool, &owner, 2).await.unwrap(), erased);
    }
}

#[tokio::test]
async fn wrong_keys_are_named() {
    let world = world().await;
    for key in ["", &"x".repeat(256)] {
        let response = world.post("/make", key, "a").await;
        assert_eq!(response.status(), 400);
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["errors"][0]["parameter"], "idempotency-key");
    }
    assert_eq!(world.done.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn two_keys_are_refused() {
    let world = world().await;
    for second in ["k1", "k2"] {
        let request = world.request("/make", "k1", "a");
        let response = request.header("idempotency-key", second).send().await;
        let response = response.unwrap();
        assert_eq!(response.status(), 400);
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["errors"][0]["parameter"], "idempotency-key");
    }
    assert_eq!(world.done.load(Ordering::SeqCst), 0);
}

/// A login with the expired token of the session before: the handler reads no token.
#[tokio::test]
async fn a_token_that_is_not_accepted_has_no_part_in_a_public_request() {
    let world = world().await;
    let expired = world.issuer.token("usr_1");
    world.clock.advance(chrono::Duration::days(1));
    for (key, authorization) in [
        ("k1", format!("Bearer {expired}")),
        ("k2", "Bearer nonsense".to_owned()),
        ("k3", "Basic YTpi".to_owned()),
    ] {
        for replayed in [false, true] {
            let request = world.request("/make", key, "a");
            let request = request.header("authorization", &authorization);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 201, "{authorization}");
            let header = response.headers().contains_key("idempotency-replayed");
            assert_eq!(header, replayed, "{authorization}");
        }
    }
    assert_eq!(world.done.load(Ordering::SeqCst), 3);
}
